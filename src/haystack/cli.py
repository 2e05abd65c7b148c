"""The `haystack` command. Each package brings its own subcommands in `commands.py`."""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import logging
import sys
from collections.abc import Sequence

from haystack import __version__
from haystack.cli_help import explain
from haystack.errors import HaystackError

COMMANDS = (
    "query",
    "ontology",
    "atlas",
    "retrieval",
    "inference",
    "grounding",
    "report",
    "runs",
    "workflow",
    "profiles",
    "gcp",
    "api",
)
"""packages (or modules) with subcommands, in the order of the data"""


def build_parser() -> argparse.ArgumentParser:
    """All subcommands."""
    parser = argparse.ArgumentParser(
        prog="haystack",
        description="Closed-loop single-cell prediction with STACK. The pipeline itself is started by snakemake.",
    )
    parser.add_argument("--version", action="version", version=f"haystack {__version__}")
    parser.add_argument("-v", "--verbose", action="store_true", help="say what is being done, on stderr")
    subparsers = parser.add_subparsers(metavar="command")
    for name in COMMANDS:
        module = f"haystack.{name}.commands"
        importlib.import_module(module).add_commands(subparsers)
    explain(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command. Errors that a user can act on are one message on stderr, exit code 1."""
    parser = build_parser()
    args = parser.parse_args(argv)
    if not hasattr(args, "run"):
        parser.print_help()
        return 0
    logging.basicConfig(level=logging.INFO if args.verbose else logging.WARNING, format="%(levelname)s: %(message)s")
    try:
        return int(args.run(args))
    except HaystackError as error:
        print(f"haystack: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        return 0


if __name__ == "__main__":
    sys.exit(main())
