"""`haystack serve`."""

from __future__ import annotations

import argparse

from haystack.runs.service_commands import needs_service


def add_commands(subparsers: argparse._SubParsersAction) -> None:
    """Add `haystack serve`."""
    parser = subparsers.add_parser(
        "serve",
        help="run the web service",
        description="Settings come from the environment (HAYSTACK_...) and config/service.yaml; see docs/service.md.",
    )
    parser.add_argument("--host", help="address to listen on (HAYSTACK_HOST)")
    parser.add_argument("--port", type=int, help="port (HAYSTACK_PORT)")
    parser.add_argument(
        "--debug",
        action="store_true",
        help="for you on this machine: sign in by a printed link (HAYSTACK_DEBUG)",
    )
    parser.set_defaults(run=run_serve)


def run_serve(args: argparse.Namespace) -> int:
    """Serve until interrupted."""
    with needs_service("The web service"):
        from haystack.api import serve
        from haystack.runs.settings import load_service_settings

    given = {"host": args.host, "port": args.port, "debug": args.debug or None}
    serve(load_service_settings(**{name: value for name, value in given.items() if value is not None}))
    return 0
