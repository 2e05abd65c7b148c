"""`haystack retrieve`."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from haystack.errors import ConfigError, RetrievalError

if TYPE_CHECKING:
    from haystack.contracts import Candidates, StructuredQuery


def add_commands(subparsers: argparse._SubParsersAction) -> None:
    """Add `haystack retrieve`."""
    parser = subparsers.add_parser("retrieve", help="find the cell sets that fit a question best, and why")
    parser.add_argument("question", help="in plain words")
    parser.add_argument("--top", type=int, default=10, help="cell sets to show; default: %(default)s")
    parser.add_argument("--config", type=Path, default=Path("config/config.yaml"), help="default: %(default)s")
    parser.add_argument(
        "--index", type=Path, default=Path("results/index"), help="folder with cell_sets.parquet; default: %(default)s"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run_retrieve)


def run_retrieve(args: argparse.Namespace) -> int:
    """Parse the question, find candidates in the index, print the best."""
    from haystack.config import load_settings, read_yaml
    from haystack.contracts import CELL_SETS, read_table
    from haystack.query import parse_question
    from haystack.retrieval.find import find_candidates
    from haystack.retrieval.holdout import apply_holdouts

    if args.top < 1:
        raise ConfigError(f"--top {args.top}: at least 1")
    path = args.index / "cell_sets.parquet"
    if not path.exists():
        raise RetrievalError(f"{path}: no such file; build the index first (haystack index build), or name its --index")
    settings = load_settings(read_yaml(args.config))
    query = parse_question(args.question, settings.query, offline=settings.offline)
    cell_sets = read_table(path, CELL_SETS)
    if settings.retrieval.exclude:
        cells = {path.parent.name: path for path in sorted(args.index.glob("*/cells.parquet"))}
        cell_sets = apply_holdouts(cell_sets, cells, settings.retrieval.exclude)
    candidates = find_candidates(query, cell_sets, settings)
    best = candidates.model_copy(update={"candidates": candidates.candidates[: args.top]})
    print(json.dumps(_plain(query, best), ensure_ascii=False, indent=2) if args.json else _readable(query, best))
    return 0


def _plain(query: StructuredQuery, found: Candidates) -> dict[str, Any]:
    data = found.model_dump(mode="json", include={"candidates", "n_untried", "counts"})
    return {"query": query.model_dump(mode="json"), **data}


def _readable(query: StructuredQuery, found: Candidates) -> str:
    counts = ", ".join(f"{name} {count}" for name, count in found.counts.items())
    lines = [f"{query.raw_query} ({query.task_type.value})", f"{found.n_untried} cell sets fit: {counts}"]
    for rank, item in enumerate(found.candidates, start=1):
        cell_set = item.cell_set
        labels = [cell_set.perturbation_name, cell_set.cell_type_name, cell_set.donor_id, cell_set.atlas]
        lines.append(
            f"{rank:3d}. {item.relevance_score:.2f}  {', '.join(label for label in labels if label)} "
            f"({cell_set.n_cells:,} cells, {cell_set.cell_set_id})"
        )
        lines += [f"     {reason}" for reason in item.rationale.split(" | ")]
        if item.control is None:
            lines.append("     control: none fits; the query cells would be the control")
        else:
            given_up = f", given up: {', '.join(item.control.steps)}" if item.control.steps else ", matched"
            lines.append(f"     control: {item.control.control_set.n_cells:,} cells{given_up}")
    return "\n".join(lines)
