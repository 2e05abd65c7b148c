"""The report in a real browser: no error, nothing asked from the network, plots drawn, table sorts and filters."""

from __future__ import annotations

import csv
import io
import re

import pandas as pd
import pytest
from report_browser import CHROMIUM, Browser

from haystack.report import summarize_runs

pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")]
DRAWN = "[...document.querySelectorAll('.plot')].every(node => node.dataset.drawn)"
NASTY = ("<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "<b>bold</b>", "a&lt;b", '"quoted",x')
LOW_CONTRAST = """(() => {
  const rgb = text => text.match(/[\\d.]+/g).map(Number);
  const linear = value => value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
  const light = c => [0.2126, 0.7152, 0.0722].reduce((sum, weight, i) => sum + weight * linear(c[i] / 255), 0);
  const behind = node => {
    for (; node; node = node.parentElement) {
      const c = rgb(getComputedStyle(node).backgroundColor);
      if (c.length === 3 || c[3] > 0) return c;
    }
    return [255, 255, 255];
  };
  const found = new Set();
  for (const node of document.querySelectorAll('main *, header *, footer *')) {
    if (node.closest('svg, [aria-hidden=true], :disabled, .scale')) continue;
    if (![...node.childNodes].some(child => child.nodeType === 3 && child.data.trim())) continue;
    const [a, b] = [light(rgb(getComputedStyle(node).color)), light(behind(node))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) found.add(`${node.tagName}.${node.className} ${ratio.toFixed(2)}`);
  }
  return [...found];
})()"""
CUT_NOTES = """[...document.querySelectorAll('#genes caption, #genes td:last-child:not(:empty)')].filter(node => {
  const box = node.getBoundingClientRect(), frame = node.closest('.scroll').getBoundingClientRect();
  return box.width < 20 || box.left < frame.left - 1 || box.right > frame.right + 1;
}).map(node => node.textContent)"""
PRINTED_OVER = """(() => {
  const box = node => node.getBoundingClientRect();
  const values = [...document.querySelectorAll('#factors .bartext')];
  const others = [...document.querySelectorAll('#factors .ytick text, #factors .modebar')];
  if (values.length !== 5 || others.length < 5) return ['not drawn'];
  return values.filter(value => others.some(other => {
    const [a, b] = [box(value), box(other)];
    return a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom && b.width > 0;
  })).map(node => node.textContent);
})()"""
CUT_DOTS = """(() => {
  const frame = document.querySelector('#terms .gridlayer').closest('svg').querySelector('.plotclip rect');
  const [left, right] = [0, Number(frame.getAttribute('width'))];
  return [...document.querySelectorAll('#terms .points path')].filter(node => {
    const x = Number(node.getAttribute('transform').match(/[-\\d.]+/)[0]), half = node.getBBox().width / 2;
    return x - half < left || x + half > right;
  }).map(node => node.getAttribute('transform'));
})()"""
SHOWN_RUNS = """[...document.querySelectorAll('#runs tbody tr')].filter(row => !row.hidden)
  .map(row => ['run_demo', 'run_a'].find(name => row.cells[0].textContent.trim().startsWith(name)))"""


@pytest.fixture(scope="module")
def browser():
    with Browser() as started:
        yield started


def column(browser, position):
    selector = f"#genes tbody tr > :nth-child({position})"
    return browser.run(f"[...document.querySelectorAll('{selector}')].map(node => node.textContent)")


def numbers(texts):
    return [float(re.sub(r"[▲▼ ]", "", text).replace("−", "-")) for text in texts if text != "–"]


def set_field(browser, name, value):
    browser.run(
        f"(() => {{ const field = document.getElementById('{name}'); field.value = '{value}';"
        " field.dispatchEvent(new Event('input')); })()"
    )


def test_figures_follow_their_controls(browser, finish):
    browser.open(finish().file("report.html"))
    browser.wait(DRAWN)
    set_field(browser, "expression-kind", "matrix")
    browser.wait("!!document.querySelector('#expression .hm')")
    set_field(browser, "violin-gene", "MX1")
    browser.wait("document.querySelector('#violin .ytitle').textContent.startsWith('MX1')")
    for colour, traces in (("type", 2), ("donor", 3), ("gene", 1)):
        set_field(browser, "map-colour", colour)
        browser.wait(f"document.querySelectorAll('#map .scatterlayer .trace').length === {traces}")
    assert not browser.run("document.getElementById('map-gene').disabled")
    set_field(browser, "map-kind", "pca")
    browser.wait("document.querySelector('#map .xtitle').textContent.startsWith('PC1')")
    assert browser.run("document.querySelectorAll('#map .annotation-arrow-g').length") == 2
    assert browser.errors == []


@pytest.mark.parametrize("width", [1280, 390])
def test_no_errors_no_requests_all_plots(browser, finish, width):
    path = finish().file("report.html")
    browser.open(path, width)
    browser.wait(DRAWN)
    assert browser.errors == []
    assert browser.requests == [path.resolve().as_uri()]
    assert browser.run("document.querySelectorAll('.plot svg.main-svg').length") >= 4
    assert browser.run("document.querySelectorAll('#volcano .points path').length") > 20
    assert browser.run("document.querySelectorAll('#terms .points path').length") == 8
    assert browser.run("document.querySelectorAll('#factors .points path').length") == 5
    assert browser.run("document.querySelectorAll('#map .scatterlayer .trace').length") == 5
    assert browser.run("document.querySelectorAll('#violin .violinlayer .trace').length") == 5
    assert browser.run("document.querySelectorAll('.saving button').length") == 14
    assert browser.run("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("width", [1280, 390])
def test_nothing_of_the_tables_and_plots_is_cut_or_printed_over(browser, fresh, width):
    run = fresh()
    run.collect()
    terms = pd.read_csv(run.file("enrichment.csv"), keep_default_na=False)
    own = terms["is_best_prompt"]
    terms.loc[own & (terms["method"] == "ora"), "padj"] = [1e-22, 0.04, *[1.0] * 6]
    terms.loc[own & (terms["method"] == "ulm"), "statistic"] = [23.1, 16.2, 3.3, -0.6, -0.7]
    terms.to_csv(run.file("enrichment.csv"), index=False)
    run.render()
    browser.open(run.file("report.html"), width)
    browser.wait(DRAWN)
    set_field(browser, "kind", "expected")
    assert browser.run("document.querySelector('#genes').closest('.scroll').scrollWidth") <= browser.run(
        "document.querySelector('#genes').closest('.scroll').clientWidth"
    )
    assert browser.run(CUT_NOTES) == []
    assert browser.run(PRINTED_OVER) == []
    assert browser.run(CUT_DOTS) == []


def test_table_sorts(browser, finish):
    browser.open(finish().file("report.html"))
    assert column(browser, 1)[:2] != sorted(column(browser, 1))[:2]
    click = "document.querySelector('#genes button[data-key={}]').click()"
    browser.run(click.format("log2fc"))
    values = numbers(column(browser, 2))
    assert values == sorted(values, reverse=True)
    assert browser.run("document.querySelector('#genes [aria-sort=descending]').textContent") == "log2 change"
    browser.run(click.format("log2fc"))
    values = numbers(column(browser, 2))
    assert values == sorted(values)
    browser.run(click.format("gene"))
    assert column(browser, 1) == sorted(column(browser, 1))


def test_table_filters_and_pages(browser, finish):
    browser.open(finish().file("report.html"))
    assert len(column(browser, 1)) == 25
    browser.run("document.getElementById('next').click()")
    browser.run("document.getElementById('next').click()")
    assert len(column(browser, 1)) == 25
    set_field(browser, "find", "isg, mx1")
    assert sorted(column(browser, 1)) == ["ISG15", "ISG20", "MX1"]
    set_field(browser, "find", "")
    set_field(browser, "kind", "down")
    assert len(column(browser, 1)) == 3
    assert all(text.startswith("▼") for text in column(browser, 2))
    set_field(browser, "kind", "expected")
    assert sorted(column(browser, 1)) == ["ISG15", "MX1", "TP53"]
    set_field(browser, "kind", "all")
    set_field(browser, "change", "1.5")
    assert min(abs(value) for value in numbers(column(browser, 2))) >= 1.5
    set_field(browser, "change", "")
    set_field(browser, "limit", "0.05")
    assert len(column(browser, 1)) == 14
    set_field(browser, "find", "zzz")
    assert column(browser, 1) == ["No gene fits these filters."]


def test_csv_download_holds_what_is_shown(browser, finish):
    browser.open(finish(extra_genes=NASTY).file("report.html"))
    browser.run("""void (window.saved = new Promise(done => {
        URL.createObjectURL = blob => { blob.text().then(done); return 'blob:none'; };
        HTMLAnchorElement.prototype.click = function () { window.savedName = this.download; }; }))""")
    set_field(browser, "kind", "changed")
    browser.run("document.getElementById('download').dispatchEvent(new Event('click'))")
    rows = list(csv.DictReader(io.StringIO(browser.run("window.saved"))))
    assert browser.run("window.savedName") == "run_demo_genes.csv"
    assert len(rows) == 14
    assert set(NASTY) <= {row["gene"] for row in rows}
    assert all(row["is_de"] == "true" and abs(float(row["log2fc"])) > 0.5 for row in rows)


def test_foreign_text_is_shown_not_run(browser, finish):
    run = finish(extra_genes=NASTY, question="What? </script><script>alert(2)</script>", cell_type="<img src=x>")
    browser.open(run.file("report.html"))
    browser.wait(DRAWN)
    assert browser.errors == []
    assert browser.run("document.querySelectorAll('img, #genes b').length") == 0
    assert set(NASTY) <= set(column(browser, 1))
    labels = browser.run("[...document.querySelectorAll('#volcano .annotation-text')].map(node => node.textContent)")
    assert any(label.startswith("<script>") or label.startswith("<img") for label in labels)


@pytest.mark.parametrize("bend", [{"n_de": 0, "n_terms": 0}, {"n_prompts": 0, "scores": (None,)}, {"scores": (None,)}])
def test_thin_runs_draw_without_error(browser, finish, bend):
    browser.open(finish(**bend).file("report.html"))
    browser.wait(DRAWN)
    assert browser.errors == []


def test_prints(browser, finish, tmp_path):
    browser.open(finish().file("report.html"))
    browser.wait(DRAWN)
    browser.pdf(tmp_path / "report.pdf")
    assert (tmp_path / "report.pdf").read_bytes().startswith(b"%PDF")
    browser.run("window.dispatchEvent(new Event('beforeprint'))")
    assert browser.run("document.querySelector('#volcano svg').getBoundingClientRect().width") == 660
    browser.run("window.dispatchEvent(new Event('afterprint'))")
    browser.wait("document.querySelector('#volcano svg').getBoundingClientRect().width > 900")
    browser.send("Emulation.setEmulatedMedia", media="print")
    hidden = browser.run("getComputedStyle(document.querySelector('.controls')).display")
    browser.send("Emulation.setEmulatedMedia", media="")
    assert hidden == "none"


def test_text_has_contrast(browser, finish):
    """WCAG AA: 4.5 to 1 for every colour of text against what lies behind it."""
    browser.open(finish().file("report.html"))
    browser.wait(DRAWN)
    assert browser.run(LOW_CONTRAST) == []
    browser.run("document.querySelector('h1').style.color = '#bbbbbb'")
    assert [name for name in browser.run(LOW_CONTRAST) if name.startswith("H1")]


def test_summary_sorts_and_filters(browser, finish, tmp_path):
    folder = finish().folder.parents[1]
    summarize_runs([("run_demo", "B cells?"), ("run_a", "Later?")], folder, tmp_path)
    browser.open(tmp_path / "summary.html", 718)  # A4 between margins of 1 cm
    browser.send("Emulation.setEmulatedMedia", media="print")
    printed = browser.run("document.querySelector('#runs').getBoundingClientRect().right")
    browser.send("Emulation.setEmulatedMedia", media="")
    assert printed <= 718
    browser.open(tmp_path / "summary.html", 390)
    assert browser.errors == []
    assert browser.run("document.documentElement.scrollWidth") <= 390
    assert browser.run(SHOWN_RUNS) == ["run_demo", "run_a"]
    browser.run("document.querySelector('#runs th button').click()")
    assert browser.run(SHOWN_RUNS) == ["run_a", "run_demo"]
    set_field(browser, "find", "pending")
    assert browser.run(SHOWN_RUNS) == ["run_a"]
    assert browser.run("document.querySelectorAll('#heat tbody tr').length") == 0
    set_field(browser, "find", "")
    set_field(browser, "status", "completed")
    assert browser.run(SHOWN_RUNS) == ["run_demo"]
    assert browser.run("document.querySelector('#heat tbody th').textContent") == "run_demo"
    set_field(browser, "heat-kind", "sets")
    assert browser.run("document.querySelector('#heat thead th').title") == "Interferon alpha/beta signaling"
    set_field(browser, "accuracy", "0.99")
    assert browser.run(SHOWN_RUNS) == []
