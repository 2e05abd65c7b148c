"""The page in a real browser: headless Chromium, the service on a real port."""

import importlib.util
import sys
from pathlib import Path

import httpx
import pytest

REPORT_BROWSER = Path(__file__).parents[1] / "unit/report/report_browser.py"
QUESTION = "How would lung fibroblasts respond to TGF-beta treatment?"
HOSTILE = "<img src=x onerror=\"document.title='owned'\"><script>alert(1)</script> NK cells & ibrutinib"


def _browser_module():
    spec = importlib.util.spec_from_file_location("haystack_tests_report_browser", REPORT_BROWSER)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


chromium = _browser_module()
pytestmark = [pytest.mark.slow, pytest.mark.skipif(chromium.CHROMIUM is None, reason="no Chromium on PATH")]


class Tab:
    """The page as a person uses it."""

    def __init__(self, browser, url):
        self.browser, self.url = browser, url

    def go(self, route="", width=1180, height=1000):
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 640}
        self.browser.send("Emulation.setDeviceMetricsOverride", **size)
        self.browser.send("Page.navigate", url="about:blank")
        self.browser.errors.clear()
        self.browser.requests.clear()
        self.browser.send("Page.navigate", url=f"{self.url}/{route}")
        self.wait("document.readyState === 'complete'")

    def run(self, expression):
        return self.browser.run(expression)

    def wait(self, expression):
        self.browser.wait(f"Boolean({expression})")

    def text(self, selector):
        return self.run(f"document.querySelector({selector!r}).innerText")

    def press(self, key, code, text=None):
        for kind in ("keyDown", "keyUp"):
            event = {"type": kind, "key": key, "windowsVirtualKeyCode": code}
            self.browser.send(
                "Input.dispatchKeyEvent", **event, **({"text": text} if text and kind == "keyDown" else {})
            )

    def type(self, text):
        self.browser.send("Input.insertText", text=text)


@pytest.fixture(scope="module")
def browser():
    with chromium.Browser() as started:
        yield started


@pytest.fixture
def here(start_live):
    """The service without sign-in: a browser has no proxy in front of it here."""
    return start_live(debug=True)


@pytest.fixture
def tab(browser, here):
    browser.send("Page.navigate", url=f"{here.url}/login?token={here.app.state.link.secret}")
    browser.wait("Boolean(document.querySelector('#runs p'))")
    return Tab(browser, here.url)


def test_a_question_from_preview_to_result_and_back(tab, here):
    tab.go()
    tab.wait("document.querySelector('#runs p')")
    tab.run("document.getElementById('query').focus()")
    tab.type(QUESTION)
    tab.wait("document.querySelector('#preview dl')")
    assert "fibroblast of lung CL:0002553" in tab.text("#preview")
    assert [*tab.run("[...document.querySelectorAll('#preview mark')].map(n => n.textContent)")] == [
        "lung fibroblasts",
        "TGF-beta",
    ]
    assert "matched" in tab.text("#controls-note")
    tab.run("document.querySelector('[value=query_as_control]').click()")
    tab.run("document.querySelector('details').open = true")
    tab.run("document.querySelector('[name=max_iterations]').value = '4'")
    tab.run("document.querySelector('[name=\"de.log2fc\"]').value = '0.8'")
    tab.run("document.querySelector('[name=enrichment]').click()")
    tab.run("document.getElementById('submit').click()")
    tab.wait("location.hash.startsWith('#/runs/run_')")
    tab.wait("document.getElementById('run-message').textContent")
    run_id = tab.run("location.hash").rpartition("/")[2]
    run = here.store.get(run_id)
    assert run.query == QUESTION
    assert run.control_strategy == "query_as_control"
    assert run.config["max_iterations"] == 4
    assert run.config["de"]["log2fc"] == 0.8
    assert "enrichment" in run.config
    assert tab.text("#run-title") == QUESTION
    assert "Waiting" in tab.text("#run-line")

    here.complete(run_id)
    tab.run("document.dispatchEvent(new Event('visibilitychange'))")
    tab.wait("document.querySelector('#result h2')")
    told = tab.text("#result")
    for said in (
        "the model predicts 9 upregulated genes",
        "r 0.41 (−0.05 to 0.63)",
        "medium",
        "Capped by: Distance",
        "Supported: its expected genes",
        "Interpret with caution. The thresholds are loose.",
        "9 genes upregulated",
        "3 genes downregulated",
        "CXCL10 3.25",
    ):
        assert said in told
    scores = tab.run("[...document.querySelectorAll('#result .scores tr')].map(n => n.innerText.replace(/\\s+/g, ' '))")
    assert scores == [
        "This prediction 7.84",
        "a prediction that changes nothing 1.18",
        "the same cells with shuffled labels 5.20",
    ]
    assert not tab.run("document.getElementById('course').open"), "the result comes first, the way to it is folded"
    tab.run("document.getElementById('course').open = true")
    assert "iteration 1: 4.25, iteration 2: 7.84" in tab.run(
        "document.querySelector('#scores svg').getAttribute('aria-label')"
    )
    rows = tab.run("[...document.querySelectorAll('#scores tbody tr')].map(n => n.innerText.replace(/\\s+/g, ' '))")
    assert rows == ["1 4.25", "2 7.84"]
    links = tab.run("[...document.querySelectorAll('.downloads a')].map(n => n.href)")
    assert len(links) == 5
    assert tab.run(f"fetch({links[1]!r}).then(r => r.status)") == 200
    tab.run("history.back()")
    tab.wait("document.querySelector('#runs table')")
    row = tab.run("document.querySelector('#runs tbody tr').innerText.replace(/\\s+/g, ' ')")
    assert row.startswith("Completed " + QUESTION + " medium 0.41 9, 3 7.84")
    assert tab.browser.errors == []
    assert all(url.startswith((here.url, "about:")) for url in tab.browser.requests), tab.browser.requests


def test_log_settings_and_asking_again(tab, here):
    with here.client(None) as client:
        run_id = here.submit(client, QUESTION, seed=7, max_iterations=3, de={"log2fc": 0.8}, enrichment=False)
    here.complete(run_id)
    tab.go(f"#/runs/{run_id}")
    tab.wait("document.querySelector('#result h2')")
    assert "took" in tab.text("#run-line")
    tab.run("document.getElementById('log').open = true")
    tab.wait("document.getElementById('log-text').textContent.includes('12 of 40 steps')")
    tab.run("document.getElementById('settings').open = true")
    settings = " ".join(tab.text("#settings-list").split())
    for said in ("iterations at most 3", "de.log2fc 0.8", "enrichment.enabled false"):
        assert said in settings
    tab.run("document.getElementById('again').click()")
    tab.wait("document.getElementById('query').value")
    body = "const f = document.getElementById('ask').elements;"
    assert tab.run(f"(() => {{ {body} return f.namedItem('query').value }})()") == QUESTION
    names = ["max_iterations", "seed", "de.log2fc"]
    assert tab.run(f"(() => {{ {body} return {names}.map(n => f.namedItem(n).value) }})()") == ["3", "7", "0.8"]
    assert not tab.run(f"(() => {{ {body} return f.namedItem('enrichment').checked }})()")
    tab.wait("document.querySelector('#preview dl')")


def test_dark_where_the_system_is_dark(tab):
    dark = [{"name": "prefers-color-scheme", "value": "dark"}]
    tab.browser.send("Emulation.setEmulatedMedia", media="", features=dark)
    try:
        tab.go()
        shades = [
            sum(int(part) for part in tab.run(f"getComputedStyle(document.body).{what}")[4:-1].split(","))
            for what in ("backgroundColor", "color")
        ]
        assert shades[0] < 150 < 600 < shades[1]
    finally:
        tab.browser.send("Emulation.setEmulatedMedia", media="", features=[])


def test_tokens_are_made_and_revoked_on_the_page(tab, here):
    tab.go()
    tab.wait("!document.getElementById('to-tokens').hidden")
    tab.run("document.getElementById('to-tokens').click()")
    tab.wait("document.querySelector('#token-list p')")
    tab.run("document.querySelector('[name=name]').value = '<b>my</b> scripts'")
    tab.run("document.getElementById('make-token').requestSubmit()")
    tab.wait("document.querySelector('#token-list td')")
    assert "<b>my</b> scripts" in tab.text("#token-list")
    secret = tab.text("#new-token code")
    how = f"{{credentials: 'omit', headers: {{Authorization: 'Bearer {secret}'}}}}"
    asked = f"fetch('/api/v1/me', {how}).then(r => r.status)"
    assert tab.run(asked) == 200
    tab.run("document.querySelector('#token-list button').click()")
    tab.wait("document.querySelector('#token-list p')")
    assert tab.run(asked) == 401
    tab.run("document.getElementById('sign-out').click()")
    tab.wait("document.querySelector('#alert a')")
    assert tab.run("document.querySelector('#alert a').href").endswith("/login")


def test_polls_every_15_seconds_while_a_run_is_active(tab, here):
    with here.client(None) as client:
        run_id = here.submit(client)
    tab.go()
    clock = """window.waits = []; const real = setTimeout;
        window.setTimeout = (f, ms) => { waits.push(ms); return ms > 9999 ? 0 : real(f, ms); }"""
    script = tab.browser.send("Page.addScriptToEvaluateOnNewDocument", source=clock)["identifier"]
    try:
        tab.go(f"#/runs/{run_id}")
        tab.wait("window.waits.includes(15000)")
        here.advance()
        here.see(run_id, "running", {"event": "stage_started", "stage": "stack_inference", "iteration": 1})
        tab.run("document.dispatchEvent(new Event('visibilitychange'))")
        tab.wait("document.querySelector('[aria-current=step]')")
        assert tab.text("[aria-current=step]").startswith("Predicting")
        assert "iteration 1" in tab.text("#run-message")
        tab.wait("document.getElementById('news').textContent.includes('Predicting')")
        here.complete(run_id)
        tab.run("waits.length = 0; document.dispatchEvent(new Event('visibilitychange'))")
        tab.wait("document.querySelector('#result h2')")
        assert 15000 not in tab.run("waits")
    finally:
        tab.browser.send("Page.removeScriptToEvaluateOnNewDocument", identifier=script)


def test_cancel_by_keyboard_asks_first(tab, here):
    with here.client(None) as client:
        run_id = here.submit(client)
    tab.go(f"#/runs/{run_id}")
    tab.wait("!document.getElementById('cancel').hidden")
    tab.run("document.getElementById('cancel').focus()")
    tab.press("Enter", 13, "\r")
    tab.wait("document.getElementById('sure').open")
    assert tab.run("document.activeElement.textContent") == "Keep it"
    tab.press("Escape", 27)
    tab.wait("!document.getElementById('sure').open")
    assert here.store.get(run_id).status == "pending"
    tab.run("document.getElementById('cancel').focus()")
    tab.press("Enter", 13, "\r")
    tab.wait("document.getElementById('sure').open")
    tab.press("Tab", 9)
    tab.press("Enter", 13, "\r")
    tab.wait("document.querySelector('#run-line .cancelled')")
    assert here.store.get(run_id).status == "cancelled"
    assert tab.run("document.getElementById('cancel').hidden")
    assert tab.run("document.activeElement.id") == "run-title"


def test_html_in_a_question_is_text(tab, here):
    with here.client(None) as client:
        run_id = here.submit(client, HOSTILE)
        here.advance()
        here.see(run_id, "failed", error_type="Error", error_message="<b onmouseover=alert(2)>bad</b>")
    tab.go()
    tab.wait("document.querySelector('#runs table')")
    assert HOSTILE in tab.text("#runs")
    tab.run(f"document.getElementById('query').value = {HOSTILE!r}")
    tab.run("document.getElementById('query').dispatchEvent(new Event('input'))")
    tab.wait("document.querySelector('#preview').innerText.includes('<script>')")
    tab.go(f"#/runs/{run_id}")
    tab.wait("document.querySelector('#run-problem p')")
    assert tab.text("#run-title") == HOSTILE
    assert "<b onmouseover=alert(2)>bad</b>" in tab.text("#run-problem")
    assert tab.run("document.querySelectorAll('main img, main script, main b[onmouseover]').length") == 0
    assert tab.run("document.title") != "owned"
    assert tab.browser.errors == []


def test_names_roles_and_focus(tab, here):
    tab.go()
    unnamed = """[...document.querySelectorAll('input, select, textarea, button, a')].filter(node =>
        !(node.labels?.length || node.textContent.trim() || node.getAttribute('aria-label'))).length"""
    assert tab.run(unnamed) == 0
    assert tab.run("document.documentElement.lang") == "en"
    assert tab.run("document.querySelectorAll('main').length") == 1
    assert tab.run("[...document.querySelectorAll('h1')].filter(n => n.checkVisibility()).length") == 1
    tab.press("Tab", 9)
    assert tab.run("document.activeElement.className") == "skip"
    tab.press("Enter", 13, "\r")
    assert tab.run("document.activeElement.id") == "main"
    tab.run("document.getElementById('ask').requestSubmit()")
    tab.wait("!document.getElementById('query-error').hidden")
    assert tab.run("document.activeElement.id") == "query"
    assert tab.run("document.getElementById('query').getAttribute('aria-invalid')") == "true"
    assert tab.run("document.getElementById('query').getAttribute('aria-describedby')").endswith("query-error")
    tree = tab.browser.send("Accessibility.getFullAXTree")["nodes"]
    roles = {node["role"]["value"] for node in tree if "role" in node}
    assert {"main", "banner", "textbox", "radio", "alert", "status"} <= roles


def test_a_phone_needs_no_sideways_scrolling(tab, here):
    with here.client(None) as client:
        run_id = here.submit(client, "W" * 300 + " NK cells")
    here.complete(run_id)
    for route, ready in (("", "#runs table"), (f"#/runs/{run_id}", "#result h2")):
        tab.go(route, width=360, height=740)
        tab.wait(f"document.querySelector({ready!r})")
        assert tab.run("document.documentElement.scrollWidth") <= 360


def test_changes_come_without_a_poll_and_ended_runs_are_deleted(tab, here):
    with here.client(None) as client:
        run_id = here.submit(client)
    never = "const real = setTimeout; window.setTimeout = (f, ms) => ms > 9999 ? 0 : real(f, ms)"
    script = tab.browser.send("Page.addScriptToEvaluateOnNewDocument", source=never)["identifier"]
    try:
        tab.go(f"#/runs/{run_id}")
        tab.wait("document.querySelector('#run-line .pending')")
        assert tab.run("document.getElementById('delete').hidden")
        here.complete(run_id)
        tab.wait("document.querySelector('#result h2')")
    finally:
        tab.browser.send("Page.removeScriptToEvaluateOnNewDocument", identifier=script)
    assert tab.run("document.getElementById('sharing').hidden") is False
    tab.run("document.querySelector('#sharing').open = true")
    tab.run("document.querySelector('#share button').click()")
    tab.wait("document.querySelector('#shared code')")
    assert httpx.get(tab.text("#shared code"), timeout=60, trust_env=False).status_code == 200
    tab.run("document.getElementById('delete').click()")
    tab.run("document.getElementById('sure-yes').click()")
    tab.wait("location.hash === '#/' && document.querySelector('#runs p')")
    assert here.store.list_runs().total == 0
    assert tab.browser.errors == []


def test_options_that_cannot_be_had_are_shown_as_such(browser, start_live):
    live = start_live(debug=True, offline=False, quota_gb=2)
    browser.send("Page.navigate", url=f"{live.url}/login?token={live.app.state.link.secret}")
    tab = Tab(browser, live.url)
    tab.wait("document.getElementById('llm-note').textContent === 'This service does not offer it.'")
    disabled = "[...document.querySelectorAll('#ask [type=checkbox]:disabled')].map(node => node.name)"
    assert tab.run(disabled) == ["llm"]
    assert "0.0 of 2 GB" in tab.text("#offer")


def test_admins_see_everybodys_runs_and_what_was_done(browser, start_live):
    live = start_live(debug=True, admins=["developer@localhost"])
    with live.client(None) as mine:
        theirs = live.submit(mine)
    live.complete(theirs)
    browser.send("Page.navigate", url=f"{live.url}/login?token={live.app.state.link.secret}")
    tab = Tab(browser, live.url)
    tab.wait("!document.getElementById('to-admin').hidden")
    tab.run("document.getElementById('to-admin').click()")
    tab.wait("document.querySelector('#audit td')")
    assert "developer@localhost" in tab.text("#all-runs")
    assert "0.30" in tab.text("#people")
    told = tab.text("#audit")
    for said in ("sign in", "by link", "submit", theirs):
        assert said in told
    assert tab.text("#admin-page") == "Page 1 of 1"


def test_unknown_runs_and_lost_connections_are_told(tab, here):
    tab.go("#/runs/run_0123456789ab")
    tab.wait("!document.getElementById('missing').hidden")
    assert "not yours" in tab.text("#missing")
    tab.go("#/runs/..%2f..%2fetc")
    tab.wait("!document.getElementById('missing').hidden")
    tab.go()
    tab.wait("document.querySelector('#runs p')")
    tab.run("window.fetch = () => Promise.reject(new TypeError('no network'))")
    tab.run("document.dispatchEvent(new Event('visibilitychange'))")
    tab.wait("document.querySelector('#alert .banner')")
    assert "does not answer" in tab.text("#alert")


def test_another_front_end(start_live, tmp_path, monkeypatch):
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "index.html").write_text("<h1>Ours</h1>")
    monkeypatch.setenv("FRONTEND_OUT_DIR", str(folder))
    live = start_live()
    with live.client(None) as client:
        assert client.get("/").text == "<h1>Ours</h1>"
        assert client.get("/app.js").status_code == 404
        assert client.get("/../haystack.sqlite").status_code == 404
