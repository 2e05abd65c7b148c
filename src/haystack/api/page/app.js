// The page of the run service. Everything that comes from outside is set as text, never as HTML.
import { auditRows, duration, phases, preview, result, runRows, scoreChart, settingsList, statusWord, tokenRows, usageRows } from "./views.js";
import { ApiError, call } from "./client.js";
import { clear, el, show } from "./dom.js";

const POLL = 15000;
const PREVIEW_PAUSE = 450;
const PAGE_SIZE = 10;
const ADMIN_PAGE = 20;
const $ = (id) => document.getElementById(id);
const state = { page: 1, filter: "", timer: null, previewTimer: null, previewAbort: null, route: 0, run: null, shown: null, heard: "", asked: null, key: null, stream: null, offer: {}, adminPage: 1 };

// ---------------------------------------------------------------- what is shown

function route() {
  clearTimeout(state.timer);
  state.route += 1;
  state.heard = "";
  state.stream?.close();
  state.stream = null;
  clear($("alert"));
  const [, kind, id] = (location.hash || "#/").split("/");
  const place = !kind ? "home" : kind === "runs" && /^run_[0-9a-f]{12}$/.test(id || "") ? "run" : ["tokens", "admin"].includes(kind) ? kind : "missing";
  for (const name of ["home", "run", "tokens", "admin", "missing"]) $(name).hidden = name !== place;
  if (place === "run") openRun(id);
  if (place === "home") openHome();
  if (place === "tokens") openTokens();
  if (place === "admin") openAdmin();
  if (place === "missing") document.title = "Not found - HAYSTACK";
  if (state.route > 1) $(`${place}-title`).focus();
}

function openHome() {
  document.title = "HAYSTACK";
  refreshList();
}

function openRun(id) {
  state.run = state.shown = null;
  document.title = "Run - HAYSTACK";
  for (const name of ["run-title", "run-line", "run-problem", "phases", "run-message", "scores", "result", "shared", "log-text", "settings-list", "reading-text"]) clear($(name));
  $("cancel").hidden = $("delete").hidden = true;
  refreshRun(id);
}

function problem(error) {
  clear($("alert"));
  const again = error instanceof ApiError && error.status === 401 ? el("a", { href: "login" }, "Sign in") : null;
  $("alert").append(el("div", { class: "banner bad" }, el("p", {}, error.message, again ? " " : null, again)));
}

function tell(text) {
  $("news").textContent = text;
}

function later(work) {
  clearTimeout(state.timer);
  state.timer = setTimeout(work, POLL);
}

// ---------------------------------------------------------------- who, and tokens

async function refreshMe() {
  try {
    const me = await call("GET", "/api/v1/me");
    $("who").textContent = me.user_email;
    $("to-tokens").hidden = me.via === "token";
    $("to-admin").hidden = !me.is_admin;
    $("sign-out").hidden = me.via !== "session";
  } catch {
    // the list says what is wrong
  }
}

// What cannot be had is said before anybody asks for it.
async function refreshOffer() {
  try {
    const offer = (state.offer = await call("GET", "/api/v1/service"));
    for (const name of ["literature", "llm"]) {
      $("ask").elements.namedItem(name).disabled = !offer[name];
      $(`${name}-note`).textContent = offer[name] ? "" : "This service does not offer it.";
    }
    const told = [];
    if (offer.usual_seconds) told.push(`A run usually takes ${duration(offer.usual_seconds)}.`);
    if (offer.quota_gb) told.push(`Your runs take ${offer.used_gb.toFixed(1)} of ${offer.quota_gb} GB.`);
    if (offer.keep_days) told.push(`Runs are deleted ${offer.keep_days} days after their end.`);
    $("offer").textContent = told.join(" ");
  } catch {
    // the list says what is wrong
  }
}

async function openAdmin() {
  document.title = "Admin - HAYSTACK";
  const mine = state.route;
  const page = `page=${state.adminPage}&page_size=${ADMIN_PAGE}`;
  try {
    const [runs, users, audit] = await Promise.all([`runs/?everybody=true&${page}`, "admin/users", `admin/audit?${page}`].map((path) => call("GET", `/api/v1/${path}`)));
    if (mine !== state.route) return;
    show($("all-runs"), runRows(runs.runs, "", true));
    show($("people"), usageRows(users.users));
    show($("audit"), auditRows(audit.entries));
    const pages = Math.max(1, Math.ceil(Math.max(runs.total, audit.total) / ADMIN_PAGE));
    $("admin-page").textContent = `Page ${state.adminPage} of ${pages}`;
    $("later-entries").disabled = state.adminPage <= 1;
    $("earlier-entries").disabled = state.adminPage >= pages;
  } catch (error) {
    if (mine === state.route) problem(error);
  }
}

async function signOut() {
  await fetch("logout", { method: "POST", redirect: "manual", credentials: "same-origin" });
  location.reload();
}

function openTokens() {
  document.title = "Tokens - HAYSTACK";
  $("here").textContent = location.origin;
  clear($("new-token"));
  refreshTokens();
}

async function refreshTokens() {
  try {
    show($("token-list"), tokenRows((await call("GET", "/api/v1/tokens")).tokens, revoke));
  } catch (error) {
    problem(error);
  }
}

async function makeToken(event) {
  event.preventDefault();
  const form = new FormData($("make-token"));
  const body = { name: form.get("name").trim(), scope: form.get("scope"), days: Number(form.get("days")) };
  try {
    const made = await call("POST", "/api/v1/tokens", body);
    $("new-token").replaceChildren(el("p", {}, "Copy it now, it is not shown again:"), el("p", {}, el("code", { class: "secret" }, made.token)));
    $("make-token").reset();
    refreshTokens();
  } catch (error) {
    problem(error);
  }
}

async function revoke(id) {
  try {
    await call("POST", `/api/v1/tokens/${id}/revoke`);
    tell("The token is revoked.");
  } catch (error) {
    problem(error);
  }
  refreshTokens();
}

// ---------------------------------------------------------------- the list

async function refreshList() {
  const mine = state.route;
  const params = new URLSearchParams({ page: state.page, page_size: PAGE_SIZE });
  if (state.filter) params.set("status", state.filter);
  try {
    const list = await call("GET", `/api/v1/runs/?${params}`);
    if (mine !== state.route) return;
    clear($("alert"));
    $("who").textContent = list.user_email;
    const pages = Math.max(1, Math.ceil(list.total / PAGE_SIZE));
    if (state.page > pages) {
      state.page = pages;
      return refreshList();
    }
    show($("runs"), runRows(list.runs, state.filter));
    $("pages").hidden = pages < 2;
    $("page-label").textContent = `Page ${state.page} of ${pages}`;
    $("newer").disabled = state.page <= 1;
    $("older").disabled = state.page >= pages;
  } catch (error) {
    if (mine !== state.route) return;
    problem(error);
  }
  later(refreshList);
}

function turn(by) {
  state.page += by;
  refreshList().then(() => tell($("page-label").textContent));
}

// ---------------------------------------------------------------- one run

async function refreshRun(id) {
  const mine = state.route;
  try {
    const run = await call("GET", `/api/v1/runs/${id}`);
    if (mine !== state.route) return;
    clear($("alert"));
    await takeRun(run, mine);
  } catch (error) {
    if (mine !== state.route) return;
    if (error instanceof ApiError && error.status === 404) {
      $("run").hidden = true;
      $("missing").hidden = false;
      document.title = "Not found - HAYSTACK";
      return;
    }
    problem(error);
    later(() => refreshRun(id));
  }
}

function isGoing(run) {
  return run.status === "pending" || run.status === "running";
}

async function takeRun(run, mine) {
  showRun(run);
  if (isGoing(run)) {
    follow(run.run_id, mine);
    return later(() => refreshRun(run.run_id));
  }
  clearTimeout(state.timer);
  state.stream?.close();
  if (run.status === "completed") await refreshResult(run.run_id, mine);
}

// Changes come as they happen; where no stream can be had, or it breaks, polling goes on by itself.
function follow(id, mine) {
  if (state.stream) return;
  state.stream = new EventSource(`/api/v1/runs/${id}/events`);
  state.stream.onmessage = (event) => {
    if (mine === state.route) takeRun(JSON.parse(event.data), mine).catch(problem);
  };
}

function showRun(run) {
  state.run = run;
  document.title = `${statusWord(run.status)}: ${run.query.slice(0, 60)} - HAYSTACK`;
  $("who").textContent = run.user_email;
  $("run-title").textContent = run.query;
  $("run-title").classList.toggle("long", run.query.length > 160);
  show($("run-line"), [
    el("span", { class: `status ${run.status}` }, statusWord(run.status)),
    el("span", {}, el("code", {}, run.run_id)),
    el("span", {}, "asked ", el("time", { datetime: run.created_at }, when(run.created_at))),
    took(run) ? el("span", {}, took(run)) : null,
  ]);
  show($("settings-list"), settingsList(run));
  show($("run-problem"), run.error_message
    ? el("div", { class: "banner bad" }, el("p", {}, el("strong", {}, "The run failed.")), el("p", {}, run.error_message))
    : null);
  show($("phases"), phases(run));
  $("run-message").textContent = run.message;
  if (state.shown !== run.status) $("course").open = run.status !== "completed"; // folded once there is a result
  state.shown = run.status;
  show($("scores"), scoreChart(run));
  $("cancel").hidden = !isGoing(run);
  $("delete").hidden = isGoing(run);
  $("sharing").hidden = run.status !== "completed";
  $("cancel").disabled = false;
  if (state.heard && state.heard !== run.message) tell(run.message);
  state.heard = run.message;
  refreshLog();
  refreshReading();
}

// How long it took, or has been going on.
function took(run) {
  const end = run.finished_at ?? (run.status === "running" ? new Date().toISOString() : null);
  if (!run.started_at || !end) return null;
  const long = duration(Math.max(0, new Date(end) - new Date(run.started_at)) / 1000);
  if (run.finished_at) return `took ${long}`;
  const usual = state.offer.usual_seconds;
  return `running for ${long}${usual ? `, usually ${duration(usual)}` : ""}`;
}

async function refreshReading() {
  if (!$("reading").open || !state.run) return;
  const id = state.run.run_id;
  try {
    const found = await call("GET", `/api/v1/runs/${id}/understood`);
    if (state.run?.run_id === id) show($("reading-text"), preview(found));
  } catch (error) {
    show($("reading-text"), el("p", { class: "muted" }, `${error.message[0].toUpperCase()}${error.message.slice(1)}.`));
  }
}

async function refreshLog() {
  if (!$("log").open || !state.run) return;
  const id = state.run.run_id;
  try {
    const found = await call("GET", `/api/v1/runs/${id}/log`);
    if (state.run?.run_id !== id) return;
    $("log-text").textContent = found.text || "Nothing yet.";
    $("log-text").scrollTop = $("log-text").scrollHeight;
  } catch (error) {
    $("log-text").textContent = error.message;
  }
}

// The same question and settings, in the form, to be changed and sent.
function askAgain() {
  const { query, settings, control_strategy } = state.run;
  const form = $("ask");
  const field = (name) => form.elements.namedItem(name);
  form.reset();
  $("query").value = query;
  field("control_strategy").value = control_strategy;
  for (const name of ["max_iterations", "score_threshold", "prompts_per_iteration", "seed"]) field(name).value = settings[name] ?? "";
  for (const [name, value] of Object.entries(settings.de ?? {})) {
    if (field(`de.${name}`)) field(`de.${name}`).value = value;
  }
  field("enrichment").checked = settings.enrichment?.enabled ?? true;
  field("literature").checked = settings.literature?.enabled ?? false;
  field("llm").checked = Boolean(settings.query?.llm);
  location.hash = "#/";
  refreshPreview();
}

async function refreshResult(id, mine) {
  const found = await call("GET", `/api/v1/runs/${id}/result`);
  if (mine === state.route) show($("result"), result(found));
}

async function share(event) {
  event.preventDefault();
  const days = Number(new FormData($("share")).get("days"));
  try {
    const made = await call("POST", `/api/v1/runs/${state.run.run_id}/share`, { days });
    show($("shared"), [el("p", {}, `This link ends ${when(made.expires_at)}:`), el("p", {}, el("code", { class: "secret" }, made.url))]);
  } catch (error) {
    problem(error);
  }
}

async function isSure(title, text, yes) {
  const dialog = $("sure");
  $("sure-title").textContent = title;
  $("sure-text").textContent = text;
  $("sure-yes").textContent = yes;
  dialog.returnValue = "no";
  dialog.showModal();
  await new Promise((done) => dialog.addEventListener("close", done, { once: true }));
  return dialog.returnValue === "yes";
}

async function remove() {
  if (!(await isSure("Delete this run?", "Its result, report and files are gone for good.", "Delete the run"))) return;
  try {
    await call("DELETE", `/api/v1/runs/${state.run.run_id}`);
    tell("The run is deleted.");
    location.hash = "#/";
    refreshOffer();
  } catch (error) {
    problem(error);
  }
}

async function cancel() {
  if (!(await isSure("Cancel this run?", "What is finished stays; the run will have no result, and it cannot be continued.", "Cancel the run"))) return;
  const id = state.run.run_id;
  $("cancel").disabled = true;
  try {
    showRun(await call("POST", `/api/v1/runs/${id}/cancel`));
    $("run-title").focus();
    clearTimeout(state.timer);
  } catch (error) {
    problem(error);
    refreshRun(id);
  }
}

function when(text) {
  return new Date(text).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" });
}

// ---------------------------------------------------------------- asking

function question() {
  return $("query").value.replace(/\s+/g, " ").trim();
}

function schedulePreview() {
  clearTimeout(state.previewTimer);
  state.previewTimer = setTimeout(refreshPreview, PREVIEW_PAUSE);
}

async function refreshPreview() {
  const query = question();
  state.previewAbort?.abort();
  const box = $("understood");
  if (query.length < 10) {
    show($("preview"), el("p", { class: "muted" }, "Write at least ten characters, and this shows what would be looked for."));
    box.setAttribute("aria-busy", "false");
    $("controls-note").hidden = true;
    return;
  }
  const abort = (state.previewAbort = new AbortController());
  box.setAttribute("aria-busy", "true");
  try {
    const body = { query, control_strategy: new FormData($("ask")).get("control_strategy") };
    const found = await call("POST", "/api/v1/runs/validate", body, abort.signal);
    show($("preview"), preview(found));
    $("controls-note").textContent = found.controls.message;
    $("controls-note").hidden = !found.controls.message;
    tell(found.message);
  } catch (error) {
    if (error.name === "AbortError") return;
    if (error.retryAfter && abort === state.previewAbort) {
      state.previewTimer = setTimeout(refreshPreview, error.retryAfter * 1000);
      return;
    }
    show($("preview"), el("p", { class: "error" }, error.message));
  }
  if (abort === state.previewAbort) box.setAttribute("aria-busy", "false");
}

function request() {
  const form = new FormData($("ask"));
  const body = { query: question(), control_strategy: form.get("control_strategy"), de: {} };
  for (const name of ["enrichment", "literature", "llm"]) body[name] = form.has(name);
  for (const [name, text] of form) {
    const value = String(text).trim();
    const input = $("ask").elements.namedItem(name);
    if (value === "" || !(input.type === "number" || name === "de.test")) continue;
    const item = input.type === "number" ? Number(value) : value;
    if (name.startsWith("de.")) body.de[name.slice(3)] = item;
    else body[name] = item;
  }
  if (Object.keys(body.de).length === 0) delete body.de;
  return body;
}

function fault(text, field = $("query")) {
  $("query-error").textContent = text;
  $("query-error").hidden = !text;
  $("query").toggleAttribute("aria-invalid", false);
  if (text && field === $("query")) $("query").setAttribute("aria-invalid", "true");
  if (text) field.focus();
}

function newKey() {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

async function submit(event) {
  event.preventDefault();
  fault("");
  if (question().length < 10) return fault("The question needs at least ten characters.");
  const wrong = [...$("ask").elements].find((item) => item.type === "number" && !item.checkValidity());
  if (wrong) {
    wrong.closest("details").open = true;
    return wrong.reportValidity();
  }
  $("submit").disabled = true;
  try {
    const asked = request();
    // Pressed again after a lost answer, the same request makes no second run.
    if (state.asked !== JSON.stringify(asked)) [state.asked, state.key] = [JSON.stringify(asked), newKey()];
    const run = await call("POST", "/api/v1/runs/", asked, undefined, state.key);
    state.asked = state.key = null;
    $("ask").reset();
    refreshPreview();
    tell("The run has been started.");
    location.hash = `#/runs/${run.run_id}`;
  } catch (error) {
    fault(error.message);
  } finally {
    $("submit").disabled = false;
  }
}

// ---------------------------------------------------------------- start

$("ask").addEventListener("submit", submit);
$("query").addEventListener("input", () => {
  fault("");
  schedulePreview();
});
for (const choice of document.getElementsByName("control_strategy")) choice.addEventListener("change", schedulePreview);
$("example").addEventListener("click", () => {
  $("query").value = $("example").textContent;
  $("query").focus();
  refreshPreview();
});
$("filter").addEventListener("change", () => {
  state.filter = $("filter").value;
  state.page = 1;
  refreshList();
});
$("newer").addEventListener("click", () => turn(-1));
$("older").addEventListener("click", () => turn(1));
$("cancel").addEventListener("click", cancel);
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault(); // the address after # is the route
  $("main").focus();
});
document.addEventListener("visibilitychange", () => {
  if (document.hidden) return clearTimeout(state.timer);
  if (!$("home").hidden) refreshList();
  else if (state.run && !$("run").hidden && isGoing(state.run)) refreshRun(state.run.run_id);
});
$("again").addEventListener("click", askAgain);
$("delete").addEventListener("click", remove);
$("log").addEventListener("toggle", refreshLog);
$("reading").addEventListener("toggle", refreshReading);
for (const [button, by] of [["later-entries", -1], ["earlier-entries", 1]]) {
  $(button).addEventListener("click", () => {
    state.adminPage += by;
    openAdmin();
  });
}
$("sign-out").addEventListener("click", signOut);
$("share").addEventListener("submit", share);
$("make-token").addEventListener("submit", makeToken);
window.addEventListener("hashchange", route);
refreshMe();
refreshOffer();
route();
