"""`haystack runs submit|list|status|result|cancel|delete`."""

from __future__ import annotations

import argparse
import getpass
import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from haystack.errors import MissingExtraError

if TYPE_CHECKING:
    from haystack.runs.client import Runs

STATUSES = ("pending", "running", "completed", "failed", "cancelled")
FINAL = STATUSES[2:]


def add_run_actions(actions: argparse._SubParsersAction) -> None:
    """Add submit, list, status, result, cancel and delete to `haystack runs`."""
    submit = _action(actions, "submit", "ask a question", run_submit)
    submit.add_argument("query", help="the question")
    submit.add_argument(
        "--control-strategy",
        choices=("synthetic_control", "query_as_control"),
        help="which cells the prediction is compared with",
    )
    submit.add_argument("--max-iterations", type=int, help="1 to 10")
    submit.add_argument("--score-threshold", type=float, help="1 to 10")
    submit.add_argument("--prompts-per-iteration", type=int, help="1 to 20")
    submit.add_argument("--seed", type=int, help="random seed")
    submit.add_argument("--llm", action="store_true", help="a language model may help to understand the question")
    submit.add_argument("--literature", action="store_true", help="search papers")
    submit.add_argument("--no-enrichment", action="store_true", help="skip gene sets and TF activity")
    submit.add_argument("--wait", action="store_true", help="wait until the run ends; start it if no service does")
    listed = _action(actions, "list", "list your runs, newest first", run_list)
    listed.add_argument("--status", choices=STATUSES, help="only runs with this status")
    listed.add_argument("--page", type=int, default=1, help="default 1")
    listed.add_argument("--page-size", type=int, default=20, help="runs per page, default 20")
    for name, help_text, run in (
        ("status", "show the status of a run", run_status),
        ("result", "show the result of a completed run", run_result),
        ("cancel", "stop a run", run_cancel),
        ("delete", "delete an ended run with its files", run_delete),
    ):
        _action(actions, name, help_text, run).add_argument("run_id", help="as printed by submit and list")


def _action(actions: argparse._SubParsersAction, name: str, help_text: str, run: Any) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = actions.add_parser(
        name,
        help=help_text,
        description=f"{help_text[0].upper()}{help_text[1:]}: of a service (--url), or of the store of this folder.",
    )
    parser.add_argument("--url", default=os.environ.get("HAYSTACK_URL"), help="address of the service (HAYSTACK_URL)")
    parser.add_argument(
        "--header", action="append", default=[], help="'Name: value', sent to it; a token goes into HAYSTACK_TOKEN"
    )
    parser.add_argument("--user", help="whose runs, in the local store; default: who is logged in, at localhost")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)
    return parser


@contextmanager
def needs_service(needed_for: str) -> Iterator[None]:
    """Turn a package of the extra `api` that is absent into a message with the command that installs it."""
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("haystack"):
            raise
        raise MissingExtraError("api", needed_for) from None


@contextmanager
def _runs(args: argparse.Namespace) -> Iterator[Runs]:
    with needs_service("`haystack runs`"):
        from haystack.runs.client import LocalRuns, RemoteRuns

        if args.url:
            yield RemoteRuns(args.url, args.header)
            return
        from haystack.runs.service import open_service
        from haystack.runs.settings import load_service_settings

        service = open_service(load_service_settings())
    try:
        yield LocalRuns(service, args.user or f"{getpass.getuser()}@localhost")
    finally:
        service.close()


def run_submit(args: argparse.Namespace) -> int:
    """Record a question; with --wait until it has ended."""
    names = ("query", "control_strategy", "max_iterations", "score_threshold", "prompts_per_iteration", "seed")
    request = {name: getattr(args, name) for name in names if getattr(args, name) is not None}
    request |= {"llm": args.llm, "literature": args.literature, "enrichment": not args.no_enrichment}
    with _runs(args) as runs:
        run = runs.submit(request)
        if args.wait:
            run = _wait(runs, run, quiet=args.json)
    _print(args, run, f"{run['run_id']}  {run['status']}  {_message(run)}")
    if not (args.wait or args.url or args.json):
        print("A service over this folder starts it (haystack serve), or submit with --wait.", file=sys.stderr)
    return 0 if run["status"] not in {"failed", "cancelled"} else 1


def _message(run: dict[str, Any]) -> str:
    """Where a run is; of a failed one, why it failed."""
    return f"{run['message']} {run.get('error_message') or ''}".rstrip()


def _wait(runs: Runs, run: dict[str, Any], quiet: bool) -> dict[str, Any]:
    """Look until the run has ended; in a local store, look after it too, unless a service does."""
    from haystack.runs.client import LocalRuns

    if isinstance(runs, LocalRuns):
        runs.service.start()
    last = ""
    while run["status"] not in FINAL:
        if run["message"] != last and not quiet:
            print(f"{run['run_id']}: {run['message']}", file=sys.stderr, flush=True)
        last = run["message"]
        time.sleep(0.5 if isinstance(runs, LocalRuns) else 5)
        run = runs.status(run["run_id"])
    return run


def run_list(args: argparse.Namespace) -> int:
    """One line per run."""
    with _runs(args) as runs:
        found = runs.list(args.page, args.page_size, args.status)
    lines = [f"{run['run_id']}  {run['status']:9}  {_trust(run):24}  {run['query']}" for run in found["runs"]]
    _print(args, found, "\n".join([*lines, f"{len(lines)} of {found['total']} runs"]))
    return 0


def _trust(run: dict[str, Any]) -> str:
    """Class, expected accuracy and score of a run, as far as they are known."""
    accuracy, score = run.get("expected_accuracy"), run.get("current_score")
    told = [run.get("confidence"), accuracy and f"r {accuracy:.2f}", score and f"score {score:.2f}"]
    return ", ".join(text for text in told if text) or "-"


def run_status(args: argparse.Namespace) -> int:
    """Show the status of a run."""
    with _runs(args) as runs:
        run = runs.status(args.run_id)
    lines = [f"{run['run_id']}: {_message(run)}", run["query"]]
    lines += [f"  iteration {number}: {_number(score)}" for number, score in enumerate(run["grounding_scores"], 1)]
    _print(args, run, "\n".join(lines))
    return 0


def _number(score: float | None) -> str:
    return "not scored" if score is None else f"score {score:.2f}"


def run_result(args: argparse.Namespace) -> int:
    """Show the result of a completed run."""
    with _runs(args) as runs:
        found = runs.result(args.run_id)
    from haystack.runs.models import RunResult
    from haystack.runs.views import result_lines

    names = set(RunResult.model_fields)
    told = result_lines(RunResult.model_validate({name: found[name] for name in names & found.keys()}))
    rows = {
        "ended because": found["termination_reason"],
        "up": ", ".join(found["top_upregulated"][:10]),
        "down": ", ".join(found["top_downregulated"][:10]),
        "gene sets": ", ".join(f"{hit['term']} ({hit['direction']})" for hit in found["enriched_pathways"][:5]),
        "TFs": ", ".join(f"{hit['name']} ({hit['direction']})" for hit in found["activated_tfs"][:10]),
        "report": found["report_url"],
        "cells": found["anndata_url"],
        "log": found["log_url"],
        "tables": " ".join(found[name] for name in ("de_url", "enrichment_url") if found[name]),
    }
    _print(args, found, "\n".join([*told, *(f"{name + ':':15}{value}" for name, value in rows.items())]))
    return 0


def run_cancel(args: argparse.Namespace) -> int:
    """Stop a run."""
    with _runs(args) as runs:
        run = runs.cancel(args.run_id)
    _print(args, run, f"{run['run_id']}  {run['status']}")
    return 0


def run_delete(args: argparse.Namespace) -> int:
    """Delete an ended run with its files."""
    with _runs(args) as runs:
        runs.delete(args.run_id)
    _print(args, {"run_id": args.run_id, "deleted": True}, f"{args.run_id}  deleted")
    return 0


def _print(args: argparse.Namespace, data: dict[str, Any], text: str) -> None:
    print(json.dumps(data, ensure_ascii=False, allow_nan=False) if args.json else text)
