"""Summary page of many runs: status, scores, and shared genes and gene sets."""

from __future__ import annotations

import csv
import io
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import yaml
from markupsafe import Markup

from haystack.contracts import read_json
from haystack.contracts.failure import Failure
from haystack.contracts.runlog import PathwayHit, RunLog
from haystack.errors import ContractError
from haystack.files import write_text
from haystack.report.confidence import DESIGN_RULE, RULE
from haystack.report.design import run_accuracy
from haystack.report.template import asset, render
from haystack.report.words import REASONS, STAGES, number

COLUMNS = (
    "run_id",
    "query",
    "status",
    "expected_accuracy",
    "expected_accuracy_low",
    "expected_accuracy_high",
    "composite_value",
    "percentile",
    "best_null",
    "confidence",
    "capped_by",
    "verdict",
    "expected_r",
    "termination",
    "iterations",
    "n_de",
    "n_up",
    "n_down",
    "top_up",
    "top_down",
    "top_pathways",
    "simulated",
    "failed_rule",
    "failed_iteration",
    "failure",
    "log",
)
TOP = 5
HEAT_COLUMNS = 30
"""genes and gene sets in the heat maps: those found in the most runs, then the strongest"""
HEAT_FULL = {"sets": 10.0, "genes": 3.0}
"""-log10 adjusted p and log2 fold change that fill a cell of the heat map"""


@dataclass(frozen=True)
class Run:
    """A run of the table: finished (log), failed (failure) or pending (neither)."""

    run_id: str
    query: str
    log: RunLog | None = None
    failure: Failure | None = None
    page: str | None = None
    """page of the run relative to the summary; None if there is none"""

    @property
    def status(self) -> str:
        """A failure file takes precedence over a log, because the last attempt failed."""
        if self.failure is not None:
            return "failed"
        return "completed" if self.log is not None else "pending"


@dataclass(frozen=True)
class StageCost:
    """What one stage took over all runs, from `benchmark:` of its rule."""

    stage: str
    jobs: int
    median: float
    """seconds on the clock"""
    longest: float
    total: float
    peak_mib: float | None
    """of memory; None where every job ended before it was measured"""


def summarize_runs(runs: Sequence[tuple[str, str]], results_dir: Path, out_dir: Path | None = None) -> list[Path]:
    """Write `summary.tsv` (a row per run), `summary.html` and `versions.yml` (package -> its versions in these runs).

    Parameters
    ----------
    runs
        (run_id, question), in the order of the table of runs. Runs without files are pending; a broken file is a
        failure of its run, never of the summary.
    results_dir
        holds `runs/{run_id}/{run_id}_log.json` and, for failed runs, `runs/{run_id}/failure.json`.
    out_dir
        for the three files; `results_dir` by default.

    Returns
    -------
    list of Path
        the three files.
    """
    folder = Path(out_dir or results_dir)
    paths = [folder / name for name in ("summary.tsv", "summary.html", "versions.yml")]
    results = [_read(run_id, query, Path(results_dir)) for run_id, query in runs]
    rows = [_row(run) for run in results]
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, delimiter="\t", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(paths[0], text.getvalue())

    counts = {status: sum(run.status == status for run in results) for status in ("completed", "failed", "pending")}
    # By expected accuracy, the best first; then those without one, failed and pending runs, in the table's order.
    shown = sorted(zip(results, rows, strict=True), key=lambda pair: _rank(*pair))
    script = Markup().join(map(asset, ("pager.js", "summary.js")))
    page = render(
        "summary.html.j2",
        scripts=[script],
        script=script,
        runs=shown,
        counts=counts,
        heat=heat_maps([run for run, _ in shown]),
        simulated=any(run.log is not None and run.log.simulated for run in results),
        rule=RULE if any(run.log and run.log.answer.verdict is None for run in results) else DESIGN_RULE,
        accuracy_of=run_accuracy,
        reasons=REASONS,
        stages=STAGES,
        costs=stage_costs([run.log for run in results if run.log is not None]),
        number=number,
    )
    write_text(paths[1], page)
    write_text(paths[2], yaml.safe_dump(versions([run.log for run in results if run.log is not None])))
    return paths


def stage_costs(logs: Sequence[RunLog]) -> list[StageCost]:
    """Time and memory of each measured stage, the costliest first."""
    by_stage = defaultdict(list)
    for log in logs:
        for item in log.timing.stages:
            by_stage[item.stage].append(item)
    found = []
    for stage, items in by_stage.items():
        seconds = [item.seconds for item in items]
        peaks = [item.max_rss_mib for item in items if item.max_rss_mib is not None]
        found.append(
            StageCost(stage, len(items), median(seconds), max(seconds), sum(seconds), max(peaks, default=None))
        )
    return sorted(found, key=lambda cost: (-cost.total, cost.stage))


def versions(logs: Sequence[RunLog]) -> dict[str, list[str]]:
    """Package (also Python, platform and our own code) -> every version of it that made one of the runs."""
    found: dict[str, set[str]] = defaultdict(set)
    for log in logs:
        for name, version in log.versions.items():
            found[name].add(version)
    return {name: sorted(found[name]) for name in sorted(found)}


def _read(run_id: str, query: str, results_dir: Path) -> Run:
    folder = results_dir / "runs" / run_id
    log_path, failure_path = folder / f"{run_id}_log.json", folder / "failure.json"
    try:
        failure = read_json(failure_path, Failure) if failure_path.exists() else None
        log = read_json(log_path, RunLog) if log_path.exists() else None
    except ContractError as error:
        broken = Failure(run_id=run_id, rule="summarize_runs", error_type="ContractError", message=str(error))
        return Run(run_id, query, failure=broken)
    name = f"{run_id}_{'failure' if failure else 'report'}.html"
    page = f"runs/{run_id}/{name}" if (folder / name).exists() else None
    return Run(run_id, query, log=log, failure=failure, page=page)


def _row(run: Run) -> dict[str, str]:
    row = dict.fromkeys(COLUMNS, "")
    row |= {"run_id": run.run_id, "query": _one_line(run.query), "status": run.status}
    if run.failure is not None:
        row |= {
            "failed_rule": run.failure.rule,
            "failed_iteration": _text(run.failure.iteration),
            "failure": _one_line(run.failure.message),
            "log": run.failure.log or "",
        }
    elif run.log is not None:
        answer = run.log.answer
        reason = run.log.iterations[-1].decision.reason
        accuracy = run_accuracy(run.log)
        row |= {
            "expected_accuracy": _digits(accuracy.r if accuracy else None),
            "expected_accuracy_low": _digits(accuracy.low if accuracy else None),
            "expected_accuracy_high": _digits(accuracy.high if accuracy else None),
            "composite_value": "" if answer.composite_value is None else f"{answer.composite_value:.3f}",
            "percentile": "" if answer.percentile is None else f"{answer.percentile:.1f}",
            "best_null": "" if answer.best_null is None else f"{answer.best_null:.3f}",
            "confidence": answer.confidence,
            "capped_by": answer.capped_by or "",
            "verdict": answer.verdict.value if answer.verdict else "",
            "expected_r": "" if answer.expected_r is None else f"{answer.expected_r:.3f}",
            "termination": reason.value if reason else "",
            "iterations": str(len(run.log.iterations)),
            "n_de": str(answer.n_de),
            "n_up": str(answer.n_up),
            "n_down": str(answer.n_down),
            "top_up": ";".join(answer.top_up[:TOP]),
            "top_down": ";".join(answer.top_down[:TOP]),
            "top_pathways": ";".join(_one_line(hit.term) for hit in answer.pathways[:TOP]),
            "simulated": str(run.log.simulated).lower(),
        }
    return row


def _rank(run: Run, row: dict[str, str]) -> tuple[int, float]:
    accuracy = row["expected_accuracy"]
    return (0, -float(accuracy)) if accuracy else ({"completed": 1, "failed": 2, "pending": 3}[run.status], 0.0)


def heat_maps(runs: Sequence[Run]) -> dict[str, dict[str, Any]]:
    """`genes` (log2 fold change) and `sets` (-log10 adjusted p, negative for downregulated genes) of every run.

    Each has the columns, the value of the darkest colour, and per run one value per column (None: not called or not
    significant).
    """
    tables: dict[str, dict[str, dict[str, float]]] = {"genes": {}, "sets": {}}
    for run in runs:
        if run.log is not None and run.status == "completed":
            tables["genes"][run.run_id] = run.log.answer.effects
            tables["sets"][run.run_id] = _signed(run.log.answer.pathways)
    maps = {}
    for kind, table in tables.items():
        strength: dict[str, list[float]] = {}
        for values in table.values():
            for name, value in values.items():
                strength.setdefault(name, []).append(abs(value))
        columns = sorted(strength, key=lambda name: (-len(strength[name]), -max(strength[name]), name))[:HEAT_COLUMNS]
        rows = {
            run_id: [_shown(values[name]) if name in values else None for name in columns]
            for run_id, values in table.items()
            if columns
        }
        maps[kind] = {"columns": columns, "full": HEAT_FULL[kind], "rows": rows}
    return maps


def _signed(hits: Sequence[PathwayHit]) -> dict[str, float]:
    """Gene set -> signed -log10 of its smallest adjusted p (a set may be hit by genes of both directions)."""
    signed: dict[str, float] = {}
    for hit in hits:
        size = min(-math.log10(hit.padj), 300.0) if hit.padj > 0 else 300.0
        if size > abs(signed.get(hit.term, 0.0)):
            signed[hit.term] = size if hit.direction == "up" else -size
    return signed


def _shown(value: float) -> float:
    """A number of the heat map, with the digits that it shows."""
    return round(value, 1 if abs(value) < 9.95 else 0)


def _digits(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _text(value: int | None) -> str:
    return "" if value is None else str(value)
