"""Report and summary by keyboard alone, with real key events: every control is reached, seen, operated and left."""

from __future__ import annotations

import pytest
from report_browser import CHROMIUM, Browser

from haystack.report import summarize_runs

pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")]
DRAWN = "[...document.querySelectorAll('.plot')].every(node => node.dataset.drawn)"
# Whatever reacts to a mouse: controls of the page, and those that plotly draws.
CONTROLS = """(() => {
  const shown = node => node.checkVisibility({ visibilityProperty: true }) && node.getClientRects().length > 0;
  const all = 'a[href], button, input, select, summary, .legendtoggle, [tabindex]';
  window.controls = [...document.querySelectorAll(all)].filter(node => shown(node) && !node.disabled);
  window.left = {};
  return window.controls.map(node => `${node.tagName} ${node.id || node.className} ${node.textContent.slice(0, 30)}`);
})()"""
# Position of the focused control, whether it lies in the window, and whether its focus can be seen.
STOP = """(() => {
  const node = document.activeElement, box = node.getBoundingClientRect(), style = getComputedStyle(node);
  if (node === document.body || node === document.documentElement) return null;
  const inside = box.bottom > 0 && box.top < innerHeight && box.right > 0 && box.left < innerWidth && box.width > 0;
  const ring = style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 1;
  return { at: window.controls.indexOf(node), tag: node.tagName, seen: inside && ring, kind: node.type || '' };
})()"""
# Activations are counted and stopped, so that the page stays as it is while every control is tried.
COUNT = """(() => {
  window.activated = 0;
  for (const type of ['click', 'input', 'mousedown']) window.addEventListener(type, event => {
    window.activated += 1; event.preventDefault(); event.stopImmediatePropagation(); }, true);
  for (const node of document.querySelectorAll('details')) node.open = true;
})()"""


@pytest.fixture(scope="module")
def browser():
    with Browser() as started:
        # Without motion the page has scrolled to the focused control by the time that the test looks at it.
        still = [{"name": "prefers-reduced-motion", "value": "reduce"}]
        started.send("Emulation.setEmulatedMedia", media="", features=still)
        yield started


@pytest.fixture
def summary(finish, tmp_path):
    runs = [("run_demo", "B cells?"), ("run_a", "Later?")]
    summarize_runs(runs, finish().folder.parents[1], tmp_path)
    return tmp_path / "summary.html"


def walk(browser, key, shift=False):
    """Stops of the focus, from one end of the page until it leaves the page or begins again."""
    stops = []
    while len(stops) < 2000:
        browser.press(key, shift=shift)
        stop = browser.run(STOP)
        if stops and (stop is None or stop["at"] == stops[0]["at"]):
            return stops
        stops += [stop] if stop else []
    raise AssertionError(f"the focus does not leave the page: {stops[-5:]}")


def focus(browser, selector):
    """Reach a control by Tab, as a reader does."""
    browser.run("document.activeElement.blur(); getSelection().removeAllRanges()")
    for _ in range(2000):
        browser.press("Tab")
        if browser.run(f"document.activeElement.matches({selector!r})"):
            return
    raise AssertionError(f"never reached: {selector}")


def check(browser, page):
    browser.open(page)
    browser.wait(DRAWN)
    browser.run("for (const node of document.querySelectorAll('details')) node.open = true; void 0")
    names = browser.run(CONTROLS)
    stops = walk(browser, "Tab")
    reached = [stop["at"] for stop in stops]
    assert [name for at, name in enumerate(names) if at not in reached] == []
    assert len(set(reached)) == len(reached)
    assert [names[stop["at"]] for stop in stops if not stop["seen"]] == []
    assert [stop["at"] for stop in walk(browser, "Tab", shift=True)] == reached[::-1]
    return names


@pytest.mark.parametrize("page", ["report", "summary"])
def test_tab_reaches_every_control_and_leaves_it(browser, finish, summary, page):
    names = check(browser, finish().file("report.html") if page == "report" else summary)
    assert len(names) > (100 if page == "report" else 15)


@pytest.mark.parametrize("page", ["report", "summary"])
def test_enter_space_and_arrows_operate_every_control(browser, finish, summary, page):
    browser.open(finish().file("report.html") if page == "report" else summary)
    browser.wait(DRAWN)
    browser.run(COUNT)
    names = browser.run(CONTROLS)
    keys = {"A": ["Enter"], "BUTTON": ["Enter", "Space"], "SUMMARY": ["Enter", "Space"], "rect": ["Enter", "Space"]}
    keys |= {"SELECT": ["ArrowDown"], "INPUT": ["1"]}
    for _ in names:
        browser.press("Tab")
        stop = browser.run(STOP)
        for key in keys.get(stop["tag"], []):
            browser.run("window.activated = 0")
            browser.press(key)
            if names[stop["at"]].startswith("SELECT") and browser.run("document.activeElement.length") < 2:
                continue
            assert browser.run("window.activated") >= 1, (names[stop["at"]], key)
        assert browser.run(STOP)["at"] == stop["at"]


def test_keys_do_what_the_mouse_does(browser, finish):
    browser.open(finish().file("report.html"))
    browser.wait(DRAWN)
    browser.press("Tab")
    browser.press("Enter")
    assert browser.run("location.hash") == "#main"
    focus(browser, "#find")
    browser.press("m")
    browser.press("x")
    assert browser.run("[...document.querySelectorAll('#genes tbody th')].map(node => node.textContent)") == ["MX1"]
    focus(browser, "#expression-kind")
    browser.press("ArrowDown")
    browser.wait("!!document.querySelector('#expression .hm')")
    focus(browser, "#map .legendtoggle")
    browser.press("Space")
    browser.wait("document.querySelector('#map').data[0].visible === 'legendonly'")
    assert browser.run("document.querySelector('#map .legendtoggle').ariaPressed") == "false"
    focus(browser, "#sets summary")
    browser.press("Enter")
    assert browser.run("document.querySelector('#sets details').open")
    assert browser.errors == []


def test_the_last_page_keeps_the_focus(browser, finish):
    browser.open(finish().file("report.html"))
    focus(browser, "#next")
    pages = int(browser.run("document.getElementById('shown').textContent").rsplit(" ", 1)[1])
    for _ in range(pages - 1):
        browser.press("Space")
    assert browser.run("document.activeElement.id") == "previous"
    for _ in range(pages - 1):
        browser.press("Enter")
    assert browser.run("document.activeElement.id") == "next"
