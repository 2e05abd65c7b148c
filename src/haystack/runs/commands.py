"""`haystack runs`: the table of runs, and the runs of the service."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from haystack.errors import ConfigError
from haystack.runs.service_commands import add_run_actions


def add_commands(subparsers: argparse._SubParsersAction) -> None:
    """Add `haystack runs` and its actions."""
    parser = subparsers.add_parser("runs", help="runs: submit, watch, fetch and cancel them; make many at once")
    actions = parser.add_subparsers(metavar="action", required=True)
    add_run_actions(actions)
    _add_expand(actions)


def _add_expand(actions: argparse._SubParsersAction) -> None:
    parser = actions.add_parser(
        "expand",
        help="a list of perturbations becomes rows of config/runs.tsv",
        description="One question per cell type and perturbation. Perturbations are those named, those of a "
        "file, those that an atlas shows, or, with --type alone, those of the knowledge tables.",
    )
    parser.add_argument("--cell-type", action="append", required=True, help="whose response is asked for; repeatable")
    parser.add_argument("--perturbation", action="append", default=[], help="a name; repeatable")
    parser.add_argument("--list", type=Path, help="a text file with one name per line")
    parser.add_argument("--atlas", help="all perturbations that this atlas shows (needs the index)")
    parser.add_argument("--type", choices=("cytokine", "drug", "genetic"), help="only this kind of perturbation")
    parser.add_argument(
        "--index", type=Path, default=Path("results/index"), help="folder with cell_sets.parquet; default: %(default)s"
    )
    parser.add_argument(
        "--question",
        help="template of the question, with {cell_types} (plural) or {cell_type} (as given), and {perturbation}",
    )
    parser.add_argument("--out", type=Path, help="append the rows to this table; default: print them")
    parser.set_defaults(run=run_expand)


def run_expand(args: argparse.Namespace) -> int:
    """Print the rows, or add them to a table; name on stderr what was left out."""
    from haystack.runs.expand import QUESTION, atlas_perturbations, expand, known_perturbations, read_list, write_rows

    named = args.perturbation + (read_list(args.list) if args.list else [])
    if named and (args.atlas or args.type):
        raise ConfigError("--atlas and --type choose among known perturbations: leave out --perturbation and --list")
    if not named:
        if not (args.atlas or args.type):
            raise ConfigError("which perturbations? Give --perturbation, --list, --atlas or --type")
        named = atlas_perturbations(args.atlas, args.index, args.type) if args.atlas else known_perturbations(args.type)
    found = expand(named, args.cell_type, args.question or QUESTION)
    for question, reason in found.left_out.items():
        print(f"left out: {question} ({reason})", file=sys.stderr)
    if not found.rows:
        raise ConfigError("no question is left")
    if args.out is None:
        print("\n".join("\t".join(row) for row in [("run_id", "query"), *found.rows]))
    else:
        added = write_rows(found.rows, args.out)
        print(f"{args.out}: {added} rows added, {len(found.rows) - added} were there already", file=sys.stderr)
    return 0
