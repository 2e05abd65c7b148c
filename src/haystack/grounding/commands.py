"""`haystack ground` and `haystack validate`: score any two sets of cells, without the pipeline."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from haystack.config import Settings
    from haystack.contracts import PromptGrounding


def add_commands(subparsers: argparse._SubParsersAction) -> None:
    """Add the subcommands."""
    ground = subparsers.add_parser(
        "ground",
        help="score two sets of cells (raw counts) for a question",
        description="Score perturbed against control cells for a question: predictions of any model, or observed data.",
    )
    ground.add_argument("--perturbed", type=Path, required=True, help="h5ad with raw counts in X")
    ground.add_argument("--control", type=Path, required=True, help="h5ad with raw counts in X")
    ground.add_argument("--question", required=True, help="the question in plain words, as in config/runs.tsv")
    ground.add_argument("--config", type=Path, help="YAML with settings (default: the built-in ones)")
    ground.add_argument("--json", action="store_true", help="print the whole grounding as JSON")
    ground.set_defaults(run=run_ground)
    validate = subparsers.add_parser(
        "validate",
        help="compare predicted with observed cells by the field's metrics",
        description="Compare predicted and observed perturbed cells, each against control cells (raw counts).",
    )
    validate.add_argument("--predicted", type=Path, required=True, help="h5ad, predicted perturbed cells")
    validate.add_argument("--observed", type=Path, required=True, help="h5ad, measured perturbed cells (the truth)")
    validate.add_argument("--control", type=Path, required=True, help="h5ad, measured control cells of the truth")
    validate.add_argument("--predicted-control", type=Path, help="h5ad, predicted control cells, if there are any")
    validate.add_argument(
        "--reference", type=Path, help="h5ad, perturbed cells of another cell type, for the baselines"
    )
    validate.add_argument("--reference-control", type=Path, help="h5ad, control cells of that cell type")
    validate.add_argument(
        "--other",
        type=Path,
        action="append",
        default=[],
        help="h5ad, the same cells under another perturbation; give two or more to score what is specific to this one",
    )
    validate.add_argument("--config", type=Path, help="YAML with settings (default: the built-in ones)")
    validate.add_argument("--json", action="store_true", help="print everything as JSON")
    validate.set_defaults(run=run_validate)


def run_ground(args: argparse.Namespace) -> int:
    """Print the grounding of two files."""
    from haystack.contracts import to_json
    from haystack.grounding.compare import ground

    found = ground(args.question, args.perturbed, args.control, _settings(args.config))
    print(to_json(found), end="") if args.json else print(_summary(found))
    return 0


def run_validate(args: argparse.Namespace) -> int:
    """Print the metrics of predicted against observed cells."""
    from haystack.grounding.compare import validate

    report = validate(
        args.predicted,
        args.observed,
        args.control,
        predicted_control=args.predicted_control,
        reference=args.reference,
        reference_control=args.reference_control,
        others=args.other,
        settings=_settings(args.config),
    )
    print(json.dumps(report, indent=2, allow_nan=False) if args.json else _table(report))
    return 0


def _settings(path: Path | None) -> Settings:
    from haystack.config import Settings, load_settings, read_yaml

    return load_settings(read_yaml(path)) if path else Settings()


def _summary(found: PromptGrounding) -> str:
    shown = "not evaluated" if found.composite_value is None else f"{found.composite_value:.1f} of 10"
    exact = "" if found.composite_value is None else f" ({found.composite_value:.2f}, percentile {found.percentile})"
    lines = [f"composite  {shown}{exact}", f"DE genes   {found.n_de} ({found.n_up} up, {found.n_down} down)"]
    for name, part in found.components.items():
        lines.append(f"{name:24} {'-' if part.score is None else f'{part.score:.1f}':>5}  {part.reason or ''}".rstrip())
    for name, value in found.nulls.items():
        lines.append(f"null {name:19} {'-' if value is None else f'{value:.1f}':>5}")
    return "\n".join([*lines, *(f"note: {note}" for note in found.notes)])


def _table(report: dict) -> str:
    lines = []
    for convention, rows in report["conventions"].items():
        lines.append(f"{convention}")
        names = list(next(iter(rows.values())))
        lines.append(" ".join([f"{'':22}", *(f"{name[:18]:>18}" for name in names)]))
        for label, values in rows.items():
            shown = ["-" if values[name] is None else f"{values[name]:.3f}" for name in names]
            lines.append(" ".join([f"{label:22}", *(f"{value:>18}" for value in shown)]))
        lines.append("")
    return "\n".join([*lines, *(f"note: {note}" for note in report["notes"])])
