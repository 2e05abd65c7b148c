// What the service says, as elements. Pure: data in, nodes out.
import { el, svg } from "./dom.js";

const STATUS = { pending: "Waiting", running: "Running", completed: "Completed", failed: "Failed", cancelled: "Cancelled" };
const PHASES = [
  ["query_analysis", "Understanding the question"],
  ["prompt_generation", "Choosing prompt cells"],
  ["inference", "Predicting"],
  ["evaluation", "Checking the evidence"],
  ["output_generation", "Writing the report"],
];
const CONTROLS = { synthetic_control: "generated controls", query_as_control: "the cells as they are" };

export function statusWord(status) {
  return STATUS[status] ?? status;
}

export function duration(seconds) {
  const minutes = seconds / 60;
  return minutes < 1 ? "less than a minute" : minutes < 90 ? `${Math.round(minutes)} min` : `${(minutes / 60).toFixed(1)} h`;
}

function score(value) {
  return value === null || value === undefined ? "not scored" : number(value);
}

function number(value) {
  return value === null || value === undefined ? "–" : value.toFixed(2).replace("-", "−");
}

// ---------------------------------------------------------------- preview

export function preview(found) {
  const out = [el("p", { class: "quote" }, marked(found.query, found.fields)), el("p", {}, found.message)];
  if (found.fields.length) {
    out.push(el("dl", { class: "facts" }, found.fields.map((field) => [
      el("dt", {}, field.label),
      el("dd", {}, field.value, field.id ? [" ", el("span", { class: "id muted" }, field.id)] : null),
    ])));
  }
  for (const item of found.ambiguities) {
    out.push(el("p", { class: "banner" }, `“${item.text}” could also mean ${item.alternatives.join(", or ")}.`));
  }
  for (const text of found.warnings) out.push(el("p", { class: "banner" }, text));
  if (found.not_understood.length) {
    out.push(el("p", { class: "hint" }, `Words that were not used: ${found.not_understood.join(", ")}`));
  }
  return out;
}

// The question with the words that were read as entities underlined.
function marked(text, fields) {
  const letters = [...text];
  const spans = fields.filter((field) => field.start !== null && field.end !== null).map((field) => [field.start, field.end]);
  spans.sort((a, b) => a[0] - b[0]);
  const out = [];
  let place = 0;
  for (const [start, end] of spans) {
    if (start < place) continue;
    out.push(letters.slice(place, start).join(""), el("mark", {}, letters.slice(start, end).join("")));
    place = end;
  }
  out.push(letters.slice(place).join(""));
  return out;
}

// ---------------------------------------------------------------- list

export function runRows(runs, filter, everybody = false) {
  if (!runs.length) {
    return el("p", { class: "muted" }, filter ? "None of your runs is in this state." : everybody ? "There are no runs." : "You have not asked anything yet.");
  }
  const head = [["Status"], ["Question"], ["Confidence"], ["Expected r", "num"], ["Genes up, down", "num"], ["Score", "num"], ["Asked"]];
  return el("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": everybody ? "Runs of everybody, a table" : "Your runs, a table" },
    el("table", { class: "runs" },
      el("thead", {}, el("tr", {}, head.map(([text, kind]) => el("th", { scope: "col", class: kind }, text)))),
      el("tbody", {}, runs.map((run) => row(run, everybody)))));
}

function row(run, everybody) {
  const changed = run.num_upregulated === null ? "–" : `${run.num_upregulated}, ${run.num_downregulated}`;
  const cell = (label, text) => el("td", { class: text === "–" ? "num none" : "num", "data-label": label }, text);
  return el("tr", {},
    el("td", {}, el("span", { class: `status ${run.status}` }, statusWord(run.status))),
    el("td", { class: "question" }, el("a", { href: `#/runs/${run.run_id}` }, run.query.length > 180 ? `${run.query.slice(0, 179)}…` : run.query),
      everybody ? el("span", { class: "muted owner" }, run.user_email) : null),
    el("td", { class: run.confidence ? null : "none" }, run.confidence ? confidence(run.confidence) : "–"),
    cell("expected r", number(run.expected_accuracy)),
    cell("genes up, down", changed),
    cell("score", number(run.current_score)),
    el("td", { class: "nowrap muted" }, when(run.created_at)));
}

function confidence(name) {
  const on = { high: 3, medium: 2, low: 1 }[name] ?? 0;
  return el("span", { class: "confidence" },
    el("span", { class: "pips", "aria-hidden": "true" }, [1, 2, 3].map((place) => el("i", { class: place <= on ? "on" : null }))), ` ${name}`);
}

// ---------------------------------------------------------------- admin

function when(text) {
  return el("time", { datetime: text }, new Date(text).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" }));
}

function plainTable(head, rows, none) {
  if (!rows.length) return el("p", { class: "muted" }, none);
  return el("div", { class: "scroll" }, el("table", { class: "runs" },
    el("thead", {}, el("tr", {}, head.map(([text, kind]) => el("th", { scope: "col", class: kind }, text)))),
    el("tbody", {}, rows.map((cells) => el("tr", {}, cells.map((cell, place) =>
      el("td", { class: head[place][1], "data-label": head[place][1] ? head[place][0] : null }, cell)))))));
}

export function usageRows(users) {
  return plainTable([["Person"], ["Runs", "num"], ["Active", "num"], ["GB", "num"], ["Last asked"]],
    users.map((user) => [user.user_email, String(user.runs), String(user.active), user.gb.toFixed(2), when(user.last)]), "Nobody has runs.");
}

export function auditRows(entries) {
  return plainTable([["When"], ["Who"], ["What"], ["About"]],
    entries.map((entry) => [when(entry.at), entry.user_email, entry.action, entry.about]), "Nothing on this page.");
}

// ---------------------------------------------------------------- tokens

export function tokenRows(tokens, revoke) {
  if (!tokens.length) return el("p", { class: "muted" }, "You have no tokens.");
  const day = (text) => el("time", { datetime: text }, new Date(text).toLocaleDateString(undefined, { dateStyle: "medium" }));
  return el("table", { class: "runs" },
    el("thead", {}, el("tr", {}, ["Token", "May", "Made", "Ends"].map((text) => el("th", { scope: "col" }, text)), el("td"))),
    el("tbody", {}, tokens.map((token) => {
      const end = el("button", { type: "button", "aria-label": `Revoke ${token.name}` }, "Revoke");
      end.addEventListener("click", () => revoke(token.id));
      return el("tr", {}, el("td", { class: "question" }, token.name), el("td", {}, token.scope === "read" ? "read" : "read and submit"),
        el("td", { class: "nowrap", "data-label": "made" }, day(token.created_at)), el("td", { class: "nowrap", "data-label": "ends" }, day(token.expires_at)), el("td", {}, end));
    })));
}

// ---------------------------------------------------------------- one run

export function phases(run) {
  const at = run.status === "completed" ? PHASES.length : PHASES.findIndex(([name]) => name === run.current_phase);
  const going = run.status === "running";
  return PHASES.map(([, label], place) => {
    const done = place < at;
    const here = going && place === at;
    const broken = run.status === "failed" && place === at;
    return el("li", { class: done ? "done" : broken ? "broken" : null, "aria-current": here ? "step" : null },
      label, el("span", { class: "unseen" }, done ? " (done)" : here ? " (now)" : broken ? " (failed here)" : ""));
  });
}

export function settingsList(run) {
  const named = new Set(["seed", "max_iterations", "score_threshold", "control_strategy"]);
  const rows = [["seed", run.seed], ["iterations at most", run.max_iterations], ["threshold", run.score_threshold],
    ["control", CONTROLS[run.control_strategy] ?? run.control_strategy],
    ...flat(run.settings, "").filter(([name]) => !named.has(name))];
  return el("dl", { class: "facts" }, rows.filter(([, value]) => value !== null && value !== undefined)
    .map(([name, value]) => [el("dt", {}, name), el("dd", {}, String(value))]));
}

function flat(value, name) {
  if (value === null || typeof value !== "object") return [[name, value]];
  return Object.entries(value).flatMap(([key, item]) => flat(item, name ? `${name}.${key}` : key));
}

export function scoreChart(run) {
  const points = run.grounding_scores.map((value, place) => ({ iteration: place + 1, value }));
  if (!points.length) return el("p", { class: "muted" }, "A score from 1 to 10 appears here after each iteration.");
  const threshold = run.score_threshold;
  const told = points.map((point) => `iteration ${point.iteration}: ${score(point.value)}`).join(", ");
  const limit = threshold === null ? "" : ` The run stops early at ${threshold}.`;
  return el("div", { class: "beside" },
    el("div", { class: "chart" }, drawing(run, points, threshold, `Score by iteration. ${told}.${limit}`)),
    el("table", { class: "scores" },
      el("caption", {}, `Composite score, 1 to 10; higher is better.${limit}`),
      el("thead", {}, el("tr", {}, el("th", { scope: "col" }, "Iteration"), el("th", { scope: "col", class: "num" }, "Score"))),
      el("tbody", {}, points.map((point) => el("tr", {}, el("th", { scope: "row" }, String(point.iteration)), el("td", { class: "num" }, score(point.value)))))));
}

function drawing(run, points, threshold, label) {
  const [width, height, left, right, top, bottom] = [640, 220, 36, 24, 16, 34];
  const last = Math.max(run.max_iterations ?? 1, points.length, 2);
  const x = (iteration) => left + 22 + ((width - left - right - 44) * (iteration - 1)) / (last - 1);
  const y = (value) => top + ((height - top - bottom) * (10 - value)) / 9;
  const scored = points.filter((point) => point.value !== null);
  return svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label },
    [1, 4, 7, 10].map((value) => [
      svg("line", { class: "axis", x1: left, x2: width - right, y1: y(value), y2: y(value) }),
      svg("text", { x: left - 10, y: y(value) + 4, "text-anchor": "end" }, String(value)),
    ]),
    Array.from({ length: last }, (_, place) => svg("text", { x: x(place + 1), y: height - 12, "text-anchor": "middle" }, String(place + 1))),
    threshold === null ? null : [
      svg("line", { class: "threshold", x1: left, x2: width - right, y1: y(threshold), y2: y(threshold) }),
      svg("text", { class: "threshold-label", x: width - right, y: y(threshold) - 6, "text-anchor": "end" }, `threshold ${threshold}`),
    ],
    svg("polyline", { class: "line", points: scored.map((point) => `${x(point.iteration)},${y(point.value)}`).join(" ") }),
    scored.map((point) => [
      svg("circle", { cx: x(point.iteration), cy: y(point.value), r: 5 }),
      svg("text", { class: "value", x: x(point.iteration), y: y(point.value) + (point.value > 8.5 ? 22 : -12), "text-anchor": "middle" }, number(point.value)),
    ]));
}

// ---------------------------------------------------------------- result

export function result(found) {
  const files = [
    [found.report_url, "Open the report", "primary"],
    [found.anndata_url, "Predicted cells (h5ad)", ""],
    [found.de_url, "Differential expression (csv)", ""],
    [found.enrichment_url, "Gene sets (csv)", ""],
    [found.log_url, "Run log (json)", ""],
  ].filter(([url]) => url);
  return el("section", { class: "card", "aria-labelledby": "result-title" },
    el("h2", { id: "result-title" }, "Result"),
    found.simulated ? el("p", { class: "banner" }, el("strong", {}, "Simulation. "), "The cells behind this come from a simulated atlas. The numbers say nothing about real cells.") : null,
    found.answer.map((text) => el("p", { class: "lede" }, text)),
    el("div", { class: "two" }, accuracy(found), trust(found)),
    found.cautions.length ? el("p", { class: "banner" }, el("strong", {}, "Interpret with caution. "), found.cautions.join(" ")) : null,
    el("ul", { class: "downloads" }, files.map(([url, label, kind]) =>
      el("li", {}, el("a", { class: `button ${kind}`, href: safe(url), rel: "noopener noreferrer", target: kind ? "_blank" : null, download: kind ? null : "" }, label, kind ? el("span", { class: "unseen" }, " (opens a new tab)") : null)))),
    el("div", { class: "two" },
      genes(`${counted(found.num_upregulated)}upregulated`, "up", "▲", found.top_upregulated, found.effects),
      genes(`${counted(found.num_downregulated)}downregulated`, "down", "▼", found.top_downregulated, found.effects),
      terms("Gene sets", found.enriched_pathways.map((item) => [item.term, item.direction, item.padj])),
      terms("Transcription factors", found.activated_tfs.map((item) => [item.name, item.direction, item.padj]))),
    scale(found), models(found.models), findings(found.findings),
    el("p", { class: "hint" }, `Compared with ${CONTROLS[found.control_strategy_effective] ?? "controls"}. P-values describe the model's sampling of generated cells, not variation between donors. Links hold for a limited time; reload the page for new ones.`));
}

function counted(n) {
  return n === null ? "Genes " : `${n} ${n === 1 ? "gene" : "genes"} `;
}

function accuracy(found) {
  const told = found.expected_accuracy;
  if (!told) return null;
  return el("div", {}, el("h3", {}, "Expected accuracy"),
    el("p", { class: "headline" }, told.r === null ? "cannot be estimated" : `r ${number(told.r)} (${number(told.low)} to ${number(told.high)})`),
    el("p", {}, told.sentence),
    el("p", { class: "hint" }, "r: Pearson correlation of predicted and measured log2 fold changes over the expressed genes."));
}

function trust(found) {
  if (!found.confidence) return null; // a run of an earlier version
  const reasons = found.confidence_reasons.filter((text) => text !== found.capped_by);
  return el("div", {}, el("h3", {}, "Confidence"),
    el("p", { class: "headline" }, confidence(found.confidence)),
    found.capped_by ? el("p", {}, el("strong", {}, "Capped by: "), found.capped_by) : null,
    el("ul", { class: "plain" }, [...reasons, ...(found.verdict_sentence ? [found.verdict_sentence] : [])].map((text) => el("li", {}, text[0].toUpperCase() + text.slice(1)))));
}

// The score beside what chance and unchanged cells reach.
function scale(found) {
  const rows = [["This prediction", found.grounding_score], ...Object.entries(found.nulls)];
  const draws = found.percentile === null ? "" : ` Above ${Number(found.percentile.toPrecision(3))} % of the random draws.`;
  return el("div", {}, el("h3", {}, "Composite score"),
    found.success
      ? el("table", { class: "scores" },
          el("caption", {}, `1 to 10; higher is better.${draws}`),
          el("tbody", {}, rows.filter(([, value]) => value !== null).map(([name, value]) =>
            el("tr", {}, el("th", { scope: "row" }, name), el("td", { class: "num" }, number(value))))))
      : el("p", {}, "No prediction could be scored: too little of the evidence could be evaluated."));
}

function models(rows) {
  if (!rows.length) return null;
  return el("details", {}, el("summary", {}, "Models and exams side by side"),
    el("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Models, a table" }, el("table", {},
      el("caption", {}, "Pearson r of predicted and measured log2 fold changes. A model that does not beat “Additive” adds nothing to the measured mean."),
      el("thead", {}, el("tr", {}, el("th", { scope: "col" }, "Model"), el("th", { scope: "col", class: "num" }, "r"), el("th", { scope: "col" }, "Estimated as"))),
      el("tbody", {}, rows.map((item) => el("tr", { class: item.own ? "own" : null },
        el("th", { scope: "row" }, item.name, el("br"), el("span", { class: "hint" }, item.what)),
        el("td", { class: "num" }, number(item.r)), el("td", {}, item.how)))))));
}

function findings(items) {
  if (!items.length) return null;
  return el("details", {}, el("summary", {}, "Findings on the design"),
    el("ul", { class: "plain" }, items.map((item) => el("li", {}, item.sentence))));
}

function safe(url) {
  const { protocol, host, pathname, search } = new URL(url, location.href);
  if (host === location.host) return pathname + search; // a proxy in front may have changed http to https
  return protocol === "https:" ? url : "#";
}

function genes(title, kind, sign, names, effects) {
  return el("div", {}, el("h3", {}, title),
    names.length
      ? el("ul", { class: "genes" }, names.slice(0, 20).map((name) => el("li", { class: `chip ${kind}` },
          el("span", { "aria-hidden": "true" }, `${sign} `), name, name in effects ? el("span", { class: "effect" }, ` ${number(effects[name])}`) : null)))
      : el("p", { class: "muted" }, "none"));
}

function terms(title, items) {
  return el("div", {}, el("h3", {}, title),
    items.length
      ? el("ul", { class: "plain" }, items.slice(0, 10).map(([name, direction, padj]) =>
          el("li", {}, name, el("span", { class: "muted" }, ` (${direction === "up" ? "higher" : "lower"}; adjusted p ${small(padj)})`))))
      : el("p", { class: "muted" }, "none"));
}

function small(value) {
  if (value === null || value === undefined) return "unknown";
  if (value === 0) return "below 10⁻³⁰⁰";
  if (value >= 0.001) return value.toFixed(3);
  const [digits, power] = value.toExponential(1).split("e-");
  return `${digits} × 10⁻${[...power].map((digit) => "⁰¹²³⁴⁵⁶⁷⁸⁹"[digit]).join("")}`;
}
