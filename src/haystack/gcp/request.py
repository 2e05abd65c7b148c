"""What a coordinator is asked to do: a file in the bucket, because a job's description is small and shown to many."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from haystack.config import load_settings
from haystack.contracts.base import explain as explain_fields
from haystack.errors import ConfigError
from haystack.gcp import storage
from haystack.gcp.errors import GcpError, MissingObjectError
from haystack.gcp.names import COMPONENT_LABEL, RUN_LABEL
from haystack.gcp.settings import GcpSettings

LABEL_KEY = re.compile(r"[a-z][a-z0-9_-]{0,62}")
LABEL_VALUE = re.compile(r"[a-z0-9_-]{0,63}")


Machine = Literal["gpu", "cpu"]


class CoordinatorRequest(BaseModel):
    """The runs of one coordinator and their settings."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    coordinator: str
    """id of the coordinator: that of its run, or of a part of a table"""
    table: str
    """run table (tab-separated, with header), as in config/runs.tsv"""
    run_ids: list[str] = Field(min_length=1)
    """runs of the table, in its order"""
    config: dict[str, Any] = {}
    """settings laid over the image's config/config.yaml"""
    labels: dict[str, str] = {}
    """labels of its own, for bills and filters"""
    attempt: int = Field(default=1, ge=1)
    """submissions so far"""
    machine: Machine = "cpu"
    """gpu: the coordinator has the GPU itself and runs everything; cpu: every inference is a job on a GPU machine"""
    on_demand: bool = False
    """true: not on a spot machine, because one was taken away too often"""
    report: str | None = None
    """signed address of a service that is told how the coordinator is doing"""

    def without(self, run_id: str) -> CoordinatorRequest | None:
        """The same request without one run; None when no run is left."""
        left = [name for name in self.run_ids if name != run_id]
        if not left:
            return None
        header, *rows = self.table.splitlines()
        kept = [row for name, row in zip(self.run_ids, rows, strict=True) if name != run_id]
        return self.model_copy(update={"run_ids": left, "table": "\n".join([header, *kept]) + "\n"})


def single_request(
    run_id: str,
    query: str,
    config: Mapping[str, Any] | None,
    labels: Mapping[str, str] | None,
    report: str | None = None,
    machine: Machine = "cpu",
) -> CoordinatorRequest:
    """The request of one run, checked.

    Raises
    ------
    ConfigError
        for a wrong run id, question, setting or label, or a secret among the settings.
    """
    line = "\t".join([run_id, " ".join(query.split())])
    request = checked_request(run_id, f"run_id\tquery\n{line}\n", config, labels)
    return request.model_copy(update={"report": report, "machine": machine})


def checked_request(
    coordinator: str, table: str, config: Mapping[str, Any] | None, labels: Mapping[str, str] | None
) -> CoordinatorRequest:
    """A request for a table of runs, checked by the pipeline's own rules. Rows without a run_id get the usual one."""
    from haystack.run_table import read_runs

    given = json.loads(json.dumps(dict(config or {})))
    given.pop("runs", None)
    settings = load_settings(given, where=f"settings of {coordinator}")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "runs.tsv"
        path.write_text(table, encoding="utf-8")
        try:
            runs = read_runs(given, settings.model_copy(update={"runs": str(path)}))
        except ConfigError as error:
            raise ConfigError(str(error).replace(str(path), f"runs of {coordinator}")) from None
    _check_labels(labels or {})
    return CoordinatorRequest(
        coordinator=coordinator,
        table=_named(table, [run.run_id for run in runs]),
        run_ids=[run.run_id for run in runs],
        config=given,
        labels=dict(sorted((labels or {}).items())),
    )


def split_table(table: str, parts: int) -> list[str]:
    """The table as several ones of at most `parts` rows each."""
    lines = [line for line in table.removeprefix("\ufeff").splitlines() if line.strip() and not line.startswith("#")]
    if len(lines) < 2:
        raise ConfigError("the table of runs lists no run. Add a line with a query")
    header, rows = lines[0], lines[1:]
    return ["\n".join([header, *rows[at : at + parts]]) + "\n" for at in range(0, len(rows), parts)]


def request_uri(settings: GcpSettings, coordinator: str) -> str:
    """Where the request of a coordinator lies."""
    return f"{settings.root}/coordinators/{coordinator}.json"


def events_uri(settings: GcpSettings, coordinator: str) -> str:
    """Where a coordinator copies its event log: a line of JSON per event (see the logger plugin)."""
    return f"{settings.root}/coordinators/{coordinator}.events.jsonl"


def shared_uri(settings: GcpSettings) -> str:
    """The object that says which coordinator makes what all runs share."""
    return f"{settings.root}/coordinators/shared.lock"


def marker_uri(settings: GcpSettings, run_id: str) -> str:
    """The file that says that a run was cancelled."""
    return f"{settings.root}/results/runs/{run_id}/cancelled.json"


def write_request(settings: GcpSettings, request: CoordinatorRequest, generation: int | None = None) -> None:
    """Keep the request; with `generation`, only if nobody changed it in between."""
    data = json.dumps(request.model_dump(mode="json"), indent=2, ensure_ascii=False, allow_nan=False).encode()
    storage.write_bytes(
        request_uri(settings, request.coordinator), data, if_generation=generation, content_type="application/json"
    )


def read_request(uri: str) -> tuple[CoordinatorRequest, int]:
    """A request and its generation.

    Raises
    ------
    MissingObjectError
        when there is none.
    GcpError
        when it is not what `write_request` writes.
    """
    data, generation = storage.read_bytes(uri)
    try:
        return CoordinatorRequest.model_validate_json(data), generation
    except ValidationError as error:
        raise GcpError(f"{uri}: not a request for a coordinator: {explain_fields(error)}") from None


def request_of(settings: GcpSettings, run_id: str) -> CoordinatorRequest | None:
    """The request that a run is part of: its own, or that of its part of a table; None when never submitted."""
    try:
        return read_request(request_uri(settings, run_id))[0]
    except MissingObjectError:
        pass
    known = storage.list_objects(f"{settings.root}/coordinators/")
    for uri in (uri for uri in known if uri.endswith(".json")):
        request = read_request(uri)[0]
        if run_id in request.run_ids:
            return request
    return None


def _named(table: str, run_ids: Sequence[str]) -> str:
    """The table with every run id written out, so that a part of it names the same runs."""
    header, *rows = [line for line in table.removeprefix("\ufeff").splitlines() if line.strip() and line[0] != "#"]
    names = [name.strip() for name in header.split("\t")]
    at = names.index("run_id") if "run_id" in names else None
    if at is None:
        return "\n".join(["run_id\t" + header, *(f"{i}\t{row}" for i, row in zip(run_ids, rows, strict=True))]) + "\n"
    named = []
    for run_id, row in zip(run_ids, rows, strict=True):
        cells = row.split("\t")
        named.append("\t".join([*cells[:at], run_id, *cells[at + 1 :]]))
    return "\n".join([header, *named]) + "\n"


def _check_labels(labels: Mapping[str, str]) -> None:
    for key, value in labels.items():
        if key in {RUN_LABEL, COMPONENT_LABEL}:
            raise ConfigError(f"label '{key}' is set by HAYSTACK itself; choose another key")
        if not LABEL_KEY.fullmatch(key) or not LABEL_VALUE.fullmatch(value):
            raise ConfigError(
                f"label '{key}={value}': keys and values may hold lower-case letters, digits, '_' and '-', 63 at most; "
                "a key begins with a letter"
            )
