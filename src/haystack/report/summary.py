"""Many runs on one page: who finished, how well, and which gene sets they share."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from haystack.contracts import read_json
from haystack.contracts.failure import Failure
from haystack.contracts.runlog import PathwayHit, RunLog
from haystack.errors import ContractError
from haystack.files import write_text
from haystack.report.confidence import DESIGN_RULE, RULE
from haystack.report.design import run_accuracy
from haystack.report.template import asset, render
from haystack.report.words import REASONS, STAGES, number, p_value

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
HEAT_PATHWAYS = 25
"""gene sets in the heat map: those with the smallest padj in the most runs"""
HEAT_FULL = 10.0
"""-log10 padj that fills a cell of the heat map"""


@dataclass(frozen=True)
class Run:
    """A run of the table: finished (log), failed (failure) or pending (neither)."""

    run_id: str
    query: str
    log: RunLog | None = None
    failure: Failure | None = None
    page: str | None = None
    """of the run, relative to the summary; None where there is none"""

    @property
    def status(self) -> str:
        """Failed counts before completed: a failure file means that the last try went wrong."""
        if self.failure is not None:
            return "failed"
        return "completed" if self.log is not None else "pending"


@dataclass(frozen=True)
class HeatCell:
    """A gene set in a run: -log10 padj, signed by direction; None where it is not significant."""

    run_id: str
    term: str
    value: float | None
    label: str


def summarize_runs(runs: Sequence[tuple[str, str]], results_dir: Path, out_tsv: Path, out_html: Path) -> None:
    """Write one row per run, and the page with the heat map of runs x gene sets.

    Parameters
    ----------
    runs
        (run_id, question), in the order of the table of runs. Runs without files are pending; a broken file is a
        failure of its run, never of the summary.
    results_dir
        holds `runs/{run_id}/{run_id}_log.json` and, for failed runs, `runs/{run_id}/failure.json`.
    """
    found = [_read(run_id, query, Path(results_dir)) for run_id, query in runs]
    rows = [_row(run) for run in found]
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, delimiter="\t", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(out_tsv, text.getvalue())

    terms = _heat_terms(found)
    heat = [(run, [_heat_cell(run, term) for term in terms]) for run in found if run.log is not None]
    counts = {status: sum(run.status == status for run in found) for status in ("completed", "failed", "pending")}
    page = render(
        "summary.html.j2",
        scripts=[asset("summary.js")],
        runs=list(zip(found, rows, strict=True)),
        counts=counts,
        terms=terms,
        heat=[pair for pair in heat if any(cell.value is not None for cell in pair[1])],
        simulated=any(run.log is not None and run.log.simulated for run in found),
        rule=RULE if any(run.log and run.log.answer.verdict is None for run in found) else DESIGN_RULE,
        accuracy_of=run_accuracy,
        reasons=REASONS,
        stages=STAGES,
        heat_full=HEAT_FULL,
        number=number,
    )
    write_text(out_html, page)


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


def _heat_terms(runs: Sequence[Run]) -> list[str]:
    """Gene sets of the heat map: by the number of runs that have them, then by smallest padj, then by name."""
    found: dict[str, list[float]] = {}
    for run in runs:
        for term, hit in _strongest(run).items():
            found.setdefault(term, []).append(hit.padj)
    ranked = sorted(found, key=lambda term: (-len(found[term]), min(found[term]), term))
    return ranked[:HEAT_PATHWAYS]


def _strongest(run: Run) -> dict[str, PathwayHit]:
    """Gene set -> its hit with the smallest padj (a set may be hit by genes on both sides)."""
    hits: dict[str, PathwayHit] = {}
    for hit in run.log.answer.pathways if run.log is not None else []:
        if hit.term not in hits or hit.padj < hits[hit.term].padj:
            hits[hit.term] = hit
    return hits


def _heat_cell(run: Run, term: str) -> HeatCell:
    hit = _strongest(run).get(term)
    if hit is None:
        return HeatCell(run.run_id, term, None, "not significant")
    size = min(-math.log10(hit.padj), 300.0) if hit.padj > 0 else 300.0
    sign = 1.0 if hit.direction == "up" else -1.0
    side = "higher" if hit.direction == "up" else "lower"
    return HeatCell(run.run_id, term, sign * size, f"{side}, adjusted p {p_value(hit.padj)}")


def _digits(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _text(value: int | None) -> str:
    return "" if value is None else str(value)
