"""`haystack batch`."""

from __future__ import annotations

import argparse
import sys


def add_commands(subparsers: argparse._SubParsersAction) -> None:
    """Add `haystack batch`."""
    parser = subparsers.add_parser(
        "batch",
        help="work off a large table of runs in chunks",
        description="Works off config/runs.tsv in chunks, each with a Snakemake of its own, then writes "
        "results/summary.tsv and .html over all runs. May be stopped at any time; the same command goes on.",
        epilog="Arguments after -- go to Snakemake: haystack batch --chunk 50 -- --profile profiles/slurm",
    )
    parser.add_argument("--chunk", type=int, default=50, help="runs per Snakemake; default: %(default)s")
    parser.add_argument("snakemake", nargs="*", metavar="-- ARGUMENT", help="default: --profile profiles/local")
    parser.set_defaults(run=run_batch_command)


def run_batch_command(args: argparse.Namespace) -> int:
    """Work off the table; 0 if every run finished, 1 if some failed, 130 if it was stopped."""
    from haystack.workflow.batch import DEFAULT_ARGUMENTS, INTERRUPTED, run_batch

    outcome = run_batch(args.snakemake or DEFAULT_ARGUMENTS, args.chunk)
    total = len(outcome.finished) + len(outcome.failed)
    print(
        f"haystack batch: {len(outcome.finished)} of {total} runs finished; see results/summary.html", file=sys.stderr
    )
    if outcome.interrupted:
        print("haystack batch: stopped; the same command goes on", file=sys.stderr)
        return INTERRUPTED
    for run_id in outcome.failed[:20]:
        print(f"  failed: {run_id}", file=sys.stderr)
    if len(outcome.failed) > 20:
        print(f"  and {len(outcome.failed) - 20} more", file=sys.stderr)
    return 1 if outcome.failed else 0
