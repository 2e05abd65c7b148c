"""`haystack batch` and `haystack debug`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path


def add_commands(subparsers: argparse._SubParsersAction) -> None:
    """Add `haystack batch` and `haystack debug`."""
    parser = subparsers.add_parser(
        "batch",
        help="process a large table of runs in chunks",
        description="Process config/runs.tsv in chunks, each with its own Snakemake, then write "
        "results/summary.tsv and .html over all runs. Stop it at any time; the same command resumes.",
        epilog="Arguments after -- go to Snakemake: haystack batch --chunk 50 -- --profile profiles/slurm",
    )
    parser.add_argument("--chunk", type=int, default=50, help="runs per Snakemake; default: %(default)s")
    parser.add_argument("snakemake", nargs="*", metavar="-- ARGUMENT", help="default: --profile profiles/local")
    parser.set_defaults(run=run_batch_command)
    parser = subparsers.add_parser(
        "debug",
        help="run one rule in this process, for breakpoints",
        description="Run the script of a rule in this process, with the files and settings that Snakemake would pass: "
        "python -m pdb -m haystack.cli debug ground_predictions --run ID --iteration 1. In a notebook: "
        "haystack.workflow.debug.mock_snakemake. The rule's inputs must exist; its outputs are written.",
    )
    parser.add_argument("rule", help="name of a rule, such as ground_predictions")
    parser.add_argument("--run", dest="run_id", metavar="ID", help="run_id of the table of runs")
    parser.add_argument("--iteration", help="number of the iteration, from 1")
    parser.add_argument("--atlas", help="name of an atlas, for rules of one atlas")
    parser.add_argument("--configfile", type=Path, help="settings that override config/config.yaml")
    parser.add_argument("--show", action="store_true", help="print input, output and settings without running")
    parser.set_defaults(run=run_debug)


def run_debug(args: argparse.Namespace) -> int:
    """Run the rule, or print its files and settings."""
    from haystack.workflow.debug import mock_snakemake, run_script

    wildcards = {name: getattr(args, name) for name in ("run_id", "iteration", "atlas")}
    job = mock_snakemake(args.rule, args.configfile, **{name: value for name, value in wildcards.items() if value})
    if args.show:
        for name in ("input", "output", "params", "log"):
            print(f"{name}:", *(f"  {key or ''}: {value}" for key, value in getattr(job, name)._allitems()), sep="\n")
        return 0
    run_script(job)
    return 0


def run_batch_command(args: argparse.Namespace) -> int:
    """Run the table; 0 if every run finished, 1 if some failed, 130 if stopped."""
    from haystack.workflow.chunks import DEFAULT_ARGUMENTS, INTERRUPTED, run_batch

    outcome = run_batch(args.snakemake or DEFAULT_ARGUMENTS, args.chunk)
    total = len(outcome.finished) + len(outcome.failed)
    print(
        f"haystack batch: {len(outcome.finished)} of {total} runs finished; see results/summary.html", file=sys.stderr
    )
    if outcome.interrupted:
        print("haystack batch: stopped; the same command resumes", file=sys.stderr)
        return INTERRUPTED
    for run_id in outcome.failed[:20]:
        print(f"  failed: {run_id}", file=sys.stderr)
    if len(outcome.failed) > 20:
        print(f"  and {len(outcome.failed) - 20} more", file=sys.stderr)
    return 1 if outcome.failed else 0
