"""`haystack reproduce`."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_commands(subparsers: argparse._SubParsersAction) -> None:
    """Add `reproduce`."""
    parser = subparsers.add_parser(
        "reproduce",
        help="repeat a run from its log and compare",
        description="Repeat a run from its {run_id}_log.json in a folder of its own, and compare: outputs by checksum, "
        "decisions by value, composite scores within 0.3. Exit code 0 if decisions and scores are the same.",
    )
    parser.add_argument("log", type=Path, help="{run_id}_log.json of the run")
    parser.add_argument("--folder", type=Path, help="where to repeat it (default: results/reproduce/{run_id})")
    parser.add_argument("--cores", type=int, default=2, help="cores that Snakemake may use (default: 2)")
    parser.set_defaults(run=_reproduce)


def _reproduce(args: argparse.Namespace) -> int:
    from haystack.report.reproduce import reproduce

    name = args.log.name.removesuffix("_log.json").removesuffix(".json")
    folder = args.folder or Path("results") / "reproduce" / name
    found = reproduce(args.log, Path.cwd(), folder, args.cores)
    print(f"repeated in {found.folder}")
    print(f"{len(found.identical)} outputs have equal bytes, {len(found.different)} differ")
    for title, lines in (
        ("differs", [": ".join(filter(None, (item, found.details.get(item)))) for item in found.different]),
        ("decision", found.decisions),
        ("composite", found.composites),
        ("surroundings", found.environment),
    ):
        for line in lines:
            print(f"  {title}: {line}")
    print("same decisions, composites within 0.3" if found.same else "NOT the same answer")
    return 0 if found.same else 1
