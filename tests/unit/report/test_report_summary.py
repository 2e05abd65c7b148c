"""One page for many runs."""

from __future__ import annotations

import csv
import json
import re
import shutil
import statistics
from types import SimpleNamespace

import pandas as pd
import pytest
import yaml

from haystack.contracts import write_json
from haystack.contracts.failure import Failure
from haystack.report import summarize_runs
from haystack.report.summary import COLUMNS


@pytest.fixture
def results(finish, tmp_path):
    """A finished run, a failed, a pending one, one with a broken log, one without DE genes."""
    folder = tmp_path / "results"
    for bend in ({}, {"run_id": "run_flat", "n_de": 0, "n_terms": 0, "scores": (2.0,), "simulated": False}):
        run = finish(**bend)
        shutil.copytree(run.folder, folder / "runs" / run.options.run_id)
    write_json(
        folder / "runs" / "run_bad" / "failure.json",
        Failure(
            run_id="run_bad",
            rule="retrieve_cells",
            iteration=1,
            error_type="RetrievalError",
            message="no\tcell set\nfits <script>alert(1)</script>",
            log="logs/runs/run_bad/retrieve_cells.1.log",
        ),
    )
    broken = folder / "runs" / "run_broken"
    broken.mkdir()
    (broken / "run_broken_log.json").write_text("{")
    return folder


RUNS = [
    ("run_demo", "How would B cells\nrespond to\tIFN-beta?"),
    ("run_bad", "What about <b>T cells</b>?"),
    ("run_wait", "Later?"),
    ("run_flat", "Nothing?"),
    ("run_broken", "Broken?"),
]


def summarize(results):
    summarize_runs(RUNS, results)
    with (results / "summary.tsv").open(newline="") as handle:
        rows = list(csv.DictReader(handle, delimiter="\t"))
    return {row["run_id"]: row for row in rows}, (results / "summary.html").read_text()


def test_every_run_has_a_row(results):
    rows, _ = summarize(results)
    assert list(rows) == [run_id for run_id, _ in RUNS]
    assert {run_id: row["status"] for run_id, row in rows.items()} == {
        "run_demo": "completed",
        "run_bad": "failed",
        "run_wait": "pending",
        "run_flat": "completed",
        "run_broken": "failed",
    }
    assert all(list(row) == list(COLUMNS) for row in rows.values())


def test_numbers_of_a_finished_run(results):
    row = summarize(results)[0]["run_demo"]
    assert row["query"] == "How would B cells respond to IFN-beta?"
    assert (row["composite_value"], row["percentile"]) == ("7.800", "97.5")
    assert (row["confidence"], row["termination"], row["iterations"]) == ("high", "threshold_reached", "2")
    assert (row["n_de"], row["n_up"], row["n_down"]) == ("14", "11", "3")
    assert len(row["top_up"].split(";")) == 5
    assert row["top_pathways"].startswith("Interferon alpha/beta signaling;")
    assert row["simulated"] == "true"
    assert row["failure"] == ""


def test_failures_say_why(results):
    rows, html = summarize(results)
    assert rows["run_bad"]["failed_rule"] == "retrieve_cells"
    assert rows["run_bad"]["failure"] == "no cell set fits <script>alert(1)</script>"
    assert rows["run_bad"]["log"] == "logs/runs/run_bad/retrieve_cells.1.log"
    assert "not whole JSON" in rows["run_broken"]["failure"]
    assert "<script>alert" not in html
    assert "<b>T cells</b>" not in html
    assert "Failed while finding prompt cells (iteration 1)" in html


def test_a_failure_wins_over_an_older_log(results):
    write_json(
        results / "runs" / "run_demo" / "failure.json",
        Failure(run_id="run_demo", rule="render_report", error_type="ContractError", message="broken"),
    )
    assert summarize(results)[0]["run_demo"]["status"] == "failed"


def test_heat_maps_hold_called_genes_and_significant_sets(results):
    html = summarize(results)[1]
    heat = json.loads(re.search(r'id="summary-data">(.*?)</script>', html, re.DOTALL)[1])
    sets, genes = heat["sets"], heat["genes"]
    assert dict(zip(sets["columns"], sets["rows"]["run_demo"], strict=True))["Interferon alpha/beta signaling"] == 8
    assert "Gene set number 5" not in sets["columns"]
    assert set(sets["rows"]["run_flat"]) == {None}
    de = pd.read_csv(results / "runs/run_demo/run_demo_de.csv").query("is_best_prompt").set_index("gene")
    values = dict(zip(genes["columns"], genes["rows"]["run_demo"], strict=True))
    assert values["ISG15"] == pytest.approx(de.loc["ISG15", "log2fc"], abs=0.006)
    assert set(values) == set(de.index[de["is_de"]])


def test_runs_are_ranked_by_expected_accuracy(results, monkeypatch):
    accuracy = {"run_demo": 0.4, "run_flat": 0.7}
    monkeypatch.setattr(
        "haystack.report.summary.run_accuracy",
        lambda log: SimpleNamespace(r=accuracy[log.run_id], low=0.1, high=0.9),
    )
    html = summarize(results)[1]
    ranked = re.findall(r'<tr data-run="(\w+)" data-status="(\w+)">', html)
    assert [run for run, _ in ranked] == ["run_flat", "run_demo", "run_bad", "run_broken", "run_wait"]


def test_only_simulated_runs_are_marked(results):
    rows, html = summarize(results)
    assert rows["run_flat"]["simulated"] == "false"
    assert html.count('<span class="tag">simulation</span>') == 1


def test_links_lead_to_pages_that_exist(results):
    html = summarize(results)[1]
    links = re.findall(r'href="(runs/[^"]*)"', html)
    assert links == ["runs/run_demo/run_demo_report.html", "runs/run_flat/run_flat_report.html"]
    assert all((results / link).exists() for link in links)


def test_no_runs_at_all(tmp_path):
    table, page, versions = (path.read_text() for path in summarize_runs([], tmp_path))
    assert table == "\t".join(COLUMNS) + "\n"
    assert "No run has a called gene or a significant gene set yet" in page
    assert "Time and memory" not in page
    assert yaml.safe_load(versions) == {}


def test_time_memory_and_versions_over_all_runs(results):
    path = results / "runs/run_flat/run_flat_log.json"
    log = json.loads(path.read_text())
    log["versions"]["numpy"] = "0.1"
    log["timing"]["stages"] = [
        {"stage": "stack_inference", "iteration": i, "seconds": seconds, "max_rss_mib": peak}
        for i, (seconds, peak) in enumerate([(60.0, 100.0), (1.0, None), (8.0, 900.0)], 1)
    ]
    path.write_text(json.dumps(log))
    other = json.loads((results / "runs/run_demo/run_demo_log.json").read_text())
    _, page = summarize(results)
    seconds = [s["seconds"] for s in (*log["timing"]["stages"], *other["timing"]["stages"])
               if s["stage"] == "stack_inference"]  # fmt: skip
    [row] = [row for row in re.findall(r"<tr>.*?</tr>", page) if "generating cells" in row]
    cells = re.findall(r"<td[^>]*>([^<]*)</td>", row)
    expected = [f"{statistics.median(seconds):.1f}", "60.0", f"{sum(seconds) / 60:.1f}", "900"]
    assert cells == [str(len(seconds)), *expected]
    versions = yaml.safe_load((results / "versions.yml").read_text())
    assert versions["numpy"] == sorted({"0.1", other["versions"]["numpy"]})
    assert versions["python"] == [other["versions"]["python"]]
