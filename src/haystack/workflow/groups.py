"""Inference jobs of several runs in one group (one job of the cluster, one start of a GPU machine).

A group fails as a whole, and with it the work of every run in it. So in a group the inference of a run that fails or
was cancelled ends well, with a marker in place of its predictions; the next stage of that run alone finds the marker,
removes it and fails with its message. A profile says that the job may share a group:

    groups: [stack_inference=inference]
    group-components: [inference=8]
    set-resources: [stack_inference:grouped=1]
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from haystack.errors import HaystackError
from haystack.loop import MARKER as CANCELLED
from haystack.workflow.remote import bucket

STAGE = "stack_inference"
MARKER = b"HAYSTACK: no prediction. "
"""first bytes of a file that stands for predictions that could not be made"""


class CancelledRunError(HaystackError):
    """The run was cancelled."""


class NoPredictionError(HaystackError):
    """The run's inference failed in a group; its own failure is recorded already."""


def refuse(snakemake: Any) -> None:
    """Stop an inference whose run was cancelled, and the stage after one that made no predictions.

    Earlier stages of a cancelled run are done (a group waits until all its runs are ready, and they are cheap); a run
    that is cancelled later ends where the loop would go on (`haystack.loop`).

    Raises
    ------
    CancelledRunError, NoPredictionError
    """
    run_id = getattr(snakemake.wildcards, "run_id", None)
    if run_id is None:
        return
    for path in map(Path, snakemake.input):
        if path.name == "predictions.h5ad" and (message := _marked(path)):
            path.unlink()
            if place := bucket():
                from haystack.gcp.storage import delete

                delete(f"{place}/results/runs/{run_id}/{path.parent.name}/{path.name}")
            raise NoPredictionError(message)
    cancelled = Path("results/runs") / run_id / CANCELLED
    if snakemake.rule == STAGE and cancelled.exists():
        raise CancelledRunError(f"the run was cancelled. Delete {cancelled} and start again to go on")


def leave_group(snakemake: Any, message: str) -> bool:
    """Write markers in place of the outputs if the job may share its group with other runs; whether it did."""
    if snakemake.rule != STAGE or not snakemake.resources.get("grouped"):
        return False
    for path in snakemake.output:
        Path(path).write_bytes(MARKER + message.encode())
    return True


def _marked(path: Path) -> str | None:
    with path.open("rb") as handle:
        start = handle.read(len(MARKER))
        return handle.read().decode(errors="replace") if start == MARKER else None
