"""Functions called by the scripts of rules."""

from __future__ import annotations

import json
import logging
import os
import sys
import tempfile
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any

from haystack.errors import HaystackError
from haystack.loop import MARKER as CANCELLED
from haystack.workflow.deployment import check_environment
from haystack.workflow.ends import no_space
from haystack.workflow.remote import forget_failure, keep_beside_results, results_root, storage_prefix

RESERVE = 32_768
"""bytes that a stage keeps back for its last words"""


class CancelledRunError(HaystackError):
    """The run was cancelled."""


@contextmanager
def script_logging(snakemake: Any) -> Iterator[logging.Logger]:
    """Log to the rule's log file; write a failure there and to the run's `failure.json`.

    A HaystackError is logged as one message; other errors keep their traceback, for a bug report.
    """
    logger = logging.getLogger("haystack")
    Path(snakemake.log[0]).write_text("")
    handler = logging.FileHandler(snakemake.log[0], encoding="utf-8")  # appends, as the resident model does
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    logging.captureWarnings(True)
    reserve = None
    try:
        reserve = _reserve(Path(snakemake.log[0]).parent)
        check_environment()
        _refuse_cancelled(snakemake)
        yield logger
    except HaystackError as error:
        logger.error("%s", error)
        _record_failure(snakemake, type(error).__name__, str(error))
        sys.exit(1)
    except Exception as error:
        if reserve is not None:
            reserve.close()
        full = no_space(error, Path(str(snakemake.output[0])) if snakemake.output else Path())
        logger.error("%s", full or traceback.format_exc())
        _record_failure(snakemake, type(error).__name__, full or f"unexpected {type(error).__name__}: {error}")
        if full:
            print(f"haystack: {full}", file=sys.stderr)
            sys.exit(1)
        raise
    else:
        _clear_failure(snakemake)
    finally:
        if reserve is not None:
            reserve.close()
        root.removeHandler(handler)
        handler.close()
        keep_beside_results(snakemake.log[0])


def record_killed(rule: str, wildcards: Any, log: Any, message: str) -> None:
    """Say in the log and in the run's failure.json why a stage was killed, since it could not."""
    path = str(log[0]) if log else ""  # a rule of another workflow may have none
    if path:
        with Path(path).open("a", encoding="utf-8") as handle:
            handle.write(f"{message}\n")
    _record_failure(SimpleNamespace(rule=rule, wildcards=wildcards, log=[path]), "KilledError", message)
    if path:
        keep_beside_results(Path(path))


def _reserve(folder: Path) -> IO[bytes]:
    """A few blocks of disk, given back when the file is closed: a disk that is full has room for its log then."""
    reserve = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(reserve.fileno(), 0, RESERVE)
    return reserve


def _refuse_cancelled(snakemake: Any) -> None:
    """Stop the inference of a cancelled run. Earlier stages are cheap; later ones end with the loop."""
    run_id = getattr(snakemake.wildcards, "run_id", None)
    cancelled = Path(f"results/runs/{run_id}") / CANCELLED
    if snakemake.rule == "stack_inference" and cancelled.exists():
        raise CancelledRunError(f"the run was cancelled. Delete {cancelled} and start again to resume")


def benchmarks(snakemake: Any) -> Path:
    """The folder with the benchmark files of the job's run; under default storage they are downloaded first."""
    folder = results_root(snakemake.output[0]) / "results/benchmarks"
    if prefix := storage_prefix():
        from haystack.storage import store

        names = (f"/{snakemake.wildcards.run_id}.tsv", f"/{snakemake.wildcards.run_id}.iter_")
        place = f"{prefix}/results/benchmarks/"
        for address in store(prefix).list(place):
            if any(name in address for name in names):
                store(prefix).download(address, folder / address.removeprefix(place))
    return folder


def _failure_path(snakemake: Any) -> Path | None:
    run_id = getattr(snakemake.wildcards, "run_id", None)
    return Path("results/runs") / run_id / "failure.json" if run_id else None


def _record_failure(snakemake: Any, error_type: str, message: str) -> None:
    from haystack.contracts import write_json
    from haystack.contracts.failure import Failure

    path = _failure_path(snakemake)
    if path is None:
        return
    iteration = getattr(snakemake.wildcards, "iteration", None)
    write_json(
        path,
        Failure(
            run_id=snakemake.wildcards.run_id,
            rule=snakemake.rule,
            iteration=int(iteration) if iteration else None,
            error_type=error_type,
            message=message,
            log=str(snakemake.log[0]),
        ),
    )
    keep_beside_results(path)


def _clear_failure(snakemake: Any) -> None:
    path = _failure_path(snakemake)
    if path:
        forget_failure(path, snakemake.rule)
    if path and path.exists() and json.loads(path.read_text(encoding="utf-8")).get("rule") == snakemake.rule:
        path.unlink()
