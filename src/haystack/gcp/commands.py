"""`haystack gcp`: coordinators on Google Batch."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from haystack.errors import ConfigError

if TYPE_CHECKING:
    from haystack.gcp.client import CoordinatorClient, JobState

WATCH_EVERY = 30.0
"""seconds between two looks of `watch`"""


def add_commands(subparsers: argparse._SubParsersAction) -> None:
    """Add `haystack gcp submit`, `status`, `watch`, `cancel` and `coordinate`."""
    parser = subparsers.add_parser("gcp", help="run on Google Cloud: submit, watch and cancel coordinators")
    actions = parser.add_subparsers(metavar="action", required=True)
    submit = actions.add_parser(
        "submit", help="start coordinators for a question or a table of runs, or resume stopped ones"
    )
    submit.add_argument("question", nargs="?", help="one question; its run id is printed")
    submit.add_argument("--run-id", help="id of that run; default: from the hash of the question")
    submit.add_argument("--table", type=Path, help="table of runs (as config/runs.tsv), spread over coordinators")
    submit.add_argument("--name", help="name of the table's coordinators; default: from its hash")
    submit.add_argument("--resume", metavar="ID", nargs="+", help="runs or coordinators to resume")
    submit.add_argument("--configfile", type=Path, help="settings that override those of the image")
    submit.add_argument(
        "--machine",
        choices=["gpu", "cpu"],
        help="gpu: coordinators have a GPU and run everything; cpu: every inference is a job on its own GPU machine. "
        "Default: gpu for a table, cpu for a question",
    )
    submit.add_argument(
        "--label", action="append", default=[], metavar="KEY=VALUE", help="label of the jobs, for billing"
    )
    submit.set_defaults(run=_submit)
    for name, function, text in (
        ("status", _status, "show the status of runs or coordinators"),
        ("watch", _watch, "wait until all have ended, resubmitting those that ran out of time"),
        ("cancel", _cancel, "stop coordinators and GPU jobs of runs, and mark the runs as cancelled"),
    ):
        action = actions.add_parser(name, help=text)
        action.add_argument("ids", nargs="+", metavar="ID", help="run, or coordinator")
        action.set_defaults(run=function)
    coordinate = actions.add_parser("coordinate", help="run a coordinator job; called by Google Batch")
    coordinate.add_argument("request", help="gs:// address of the request")
    coordinate.add_argument("--profile", default="profiles/gcp", help="default: %(default)s")
    coordinate.set_defaults(run=_coordinate)
    for action in actions.choices.values():
        action.add_argument("--settings", type=Path, help="settings file; default: config/gcp.yaml, if it is there")
        if action is not coordinate:
            action.add_argument("--json", action="store_true", help="print JSON")


def _client(args: argparse.Namespace) -> CoordinatorClient:
    from haystack.gcp.client import CoordinatorClient
    from haystack.gcp.settings import load_gcp_settings

    return CoordinatorClient(load_gcp_settings(args.settings))


def _submit(args: argparse.Namespace) -> int:
    if sum(bool(given) for given in (args.question, args.table, args.resume)) != 1:
        raise ConfigError('haystack gcp submit: give either a question ("How would ..."), --table FILE or --resume ID')
    client = _client(args)
    if args.resume:
        jobs = {name: client.resume(name) for name in args.resume}
    elif args.table:
        table = _table(args.table)
        jobs = client.submit_table(table, _config(args.configfile), _labels(args.label), args.name, args.machine)
    else:
        from haystack.run_table import run_identifier

        run_id = args.run_id or run_identifier(" ".join(args.question.split()), {})
        config, labels = _config(args.configfile), _labels(args.label)
        jobs = {run_id: client.submit(run_id, args.question, config, labels, machine=args.machine or "cpu")}
    if args.json:
        print(json.dumps(jobs, indent=2))
    else:
        for name, job in jobs.items():
            print(f"{name}\t{job}")
    return 0


def _status(args: argparse.Namespace) -> int:
    client = _client(args)
    _print([client.describe(name) for name in args.ids], args.json)
    return 0


def _watch(args: argparse.Namespace) -> int:
    """Exit code 0 when all succeeded."""
    from haystack.gcp.client import Status

    client = _client(args)
    said: dict[str, Any] = {}
    while True:
        states = [client.describe(name) for name in args.ids]
        changed = [state for state in states if said.get(state.run_id) != state.status]
        if not args.json:
            _print(changed, as_json=False)
        said.update({state.run_id: state.status for state in changed})
        for state in states:
            if state.status is Status.OUT_OF_TIME:
                client.resume(state.run_id)
        if all(state.status not in {Status.WAITING, Status.RUNNING, Status.OUT_OF_TIME} for state in states):
            if args.json:
                _print(states, as_json=True)
            return 0 if all(state.status is Status.SUCCEEDED for state in states) else 1
        time.sleep(WATCH_EVERY)


def _cancel(args: argparse.Namespace) -> int:
    client = _client(args)
    for name in args.ids:
        client.cancel(name)
    _print([client.describe(name) for name in args.ids], args.json)
    return 0


def _coordinate(args: argparse.Namespace) -> int:
    from haystack.gcp.coordinator import coordinate
    from haystack.gcp.settings import load_gcp_settings

    return coordinate(args.request, load_gcp_settings(args.settings), args.profile)


def _table(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (FileNotFoundError, IsADirectoryError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read as a table of runs ({error})") from None


def _config(path: Path | None) -> dict[str, Any]:
    """Settings of a file, with the atlases that it names by file put inside: the coordinator has only its image."""
    from haystack.config import read_yaml

    if path is None:
        return {}
    config = read_yaml(path)
    if isinstance(config.get("atlases"), str):
        config["atlases"] = read_yaml(Path(config["atlases"]))
    return config


def _labels(given: list[str]) -> dict[str, str]:
    labels = {}
    for text in given:
        key, equals, value = text.partition("=")
        if not equals:
            raise ConfigError(f"--label {text}: write KEY=VALUE")
        labels[key] = value
    return labels


def _print(states: list[JobState], as_json: bool) -> None:
    if as_json:
        print(json.dumps([_plain(state) for state in states], indent=2, allow_nan=False))
        return
    for state in states:
        when = state.ended or state.started or state.created
        parts = [state.run_id, str(state.status), when.isoformat(timespec="seconds") if when else "", state.message]
        print("\t".join(parts).rstrip())


def _plain(state: JobState) -> dict[str, Any]:
    times = {name: getattr(state, name) for name in ("created", "started", "ended")}
    return {
        **{name: getattr(state, name) for name in ("run_id", "job", "state", "message")},
        "status": str(state.status),
        **{name: when.isoformat() if when else None for name, when in times.items()},
    }
