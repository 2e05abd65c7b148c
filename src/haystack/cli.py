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

COMMANDS = {
    "query": ("parse",),
    "ontology": ("resolve", "resolve-file"),
    "atlas": ("index", "atlas"),
    "retrieval": ("retrieve",),
    "inference": ("model", "generate"),
    "grounding": ("ground", "validate"),
    "report": ("reproduce",),
    "runs": ("runs",),
    "workflow": ("batch", "debug"),
    "profiles": ("profile",),
    "gcp": ("gcp",),
    "api": ("serve",),
}
"""package (or module) -> its subcommands, in the order of the data"""


def build_parser(command: str | None = None) -> argparse.ArgumentParser:
    """All subcommands; of a known `command` only those of its package, so that the others are not imported."""
    parser = argparse.ArgumentParser(
        prog="haystack",
        description="Closed-loop single-cell prediction with STACK. The pipeline itself is started by snakemake.",
    )
    parser.add_argument("--version", action="version", version=f"haystack {__version__}")
    parser.add_argument("-v", "--verbose", action="store_true", help="say what is being done, on stderr")
    subparsers = parser.add_subparsers(metavar="command")
    owners = [name for name, commands in COMMANDS.items() if command in commands] or list(COMMANDS)
    for name in owners:
        module = f"haystack.{name}.commands"
        importlib.import_module(module).add_commands(subparsers)
    completion = subparsers.add_parser(
        "completion",
        help="print a script that completes commands and options with the Tab key",
        description="Print a completion script: source <(haystack completion bash), or the same line in ~/.bashrc.",
    )
    completion.add_argument(
        "shell", choices=("bash", "zsh", "tcsh", "fish", "powershell"), help="the shell that you use"
    )
    completion.set_defaults(run=lambda args: _print_completion(parser, args.shell))
    explain(parser)
    return parser


def _print_completion(parser: argparse.ArgumentParser, shell: str) -> int:
    import shtab

    print(shtab.complete(parser, shell))
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command. Errors that a user can act on are one message on stderr, exit code 1."""
    given = sys.argv[1:] if argv is None else list(argv)
    parser = build_parser(next((word for word in given if not word.startswith("-")), None))
    args = parser.parse_args(given)
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
