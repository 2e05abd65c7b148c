"""`haystack serve` and `haystack worker`."""

from __future__ import annotations

import argparse
import signal
import threading

from haystack.runs.service_commands import needs_service


def add_commands(subparsers: argparse._SubParsersAction) -> None:
    """Add `haystack serve` and `haystack worker`."""
    parser = subparsers.add_parser(
        "serve",
        help="run the web service",
        description="Run the web service. Settings come from the environment (HAYSTACK_...) and "
        "config/service.yaml; see docs/service.md.",
    )
    parser.add_argument("--host", help="address to listen on (HAYSTACK_HOST)")
    parser.add_argument("--port", type=int, help="port (HAYSTACK_PORT)")
    parser.add_argument(
        "--debug",
        action="store_true",
        help="print a link that signs in once, for use on this machine (HAYSTACK_DEBUG)",
    )
    parser.set_defaults(run=run_serve)
    worker = subparsers.add_parser(
        "worker",
        help="execute the runs of a web service in a separate process",
        description="Start and watch runs and send their mails, with the database and folder of a web service that has "
        "HAYSTACK_WATCH=false; see docs/service.md.",
    )
    worker.set_defaults(run=run_worker)


def run_serve(args: argparse.Namespace) -> int:
    """Serve until interrupted."""
    with needs_service("The web service"):
        from haystack.api import serve
        from haystack.runs.settings import load_service_settings

    given = {"host": args.host, "port": args.port, "debug": args.debug or None}
    serve(load_service_settings(**{name: value for name, value in given.items() if value is not None}))
    return 0


def run_worker(args: argparse.Namespace) -> int:
    """Look after runs until told to stop (SIGTERM, SIGINT); those under way go on, and are found again."""
    with needs_service("The worker"):
        from haystack.runs.service import open_service
        from haystack.runs.settings import load_service_settings

    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    with open_service(load_service_settings(watch=True)) as service:
        service.start()
        print("HAYSTACK: the worker looks after runs", flush=True)
        stop.wait()
    return 0
