"""Snakemake's records of finished and started jobs, kept beside the results.

Snakemake remembers on the coordinator's disk with which parameters and code a file was made, and which jobs were under
way. That disk goes with the coordinator. So a thread copies changed records into the bucket, and the next coordinator
starts with them: it reruns what an edit reaches and nothing else, makes again what was half done, and stops jobs that
its predecessor left running.
"""

from __future__ import annotations

import atexit
import json
import logging
import os
import threading
import time
import uuid
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from haystack.files import write_text
from haystack.gcp import storage
from haystack.gcp.patience import patience
from haystack.internals import RECORDS, record_name, recorded_output

log = logging.getLogger(__name__)

PLACE = ".haystack/records"
"""below the storage's prefix"""
EVERY = 2.0
"""seconds between two looks for changed records"""
MANY = 50
"""objects from which a start writes them as one"""

Stamp = tuple[int, int]


class Records:
    """The records below one `.snakemake`, and their copy in the bucket.

    The copy is a sequence of objects, each with the records that changed since the one before: a small upload however
    many there are. Names sort by time.
    """

    def __init__(self, folder: Path, prefix: str) -> None:
        self.folder = folder
        self.prefix = prefix
        self.place = f"{prefix}/{PLACE}"
        self._seen: dict[str, Stamp] = {}
        self._lock = threading.Lock()
        self._end = threading.Event()
        self._session = uuid.uuid4().hex[:8]

    def restore(self) -> dict[str, str]:
        """Write the bucket's records to this disk, over older ones; all of them, by path below `.snakemake`."""
        objects = storage.list_objects(f"{self.place}/")
        latest: dict[str, str | None] = {}
        for uri in objects:
            latest.update(json.loads(storage.read_bytes(uri)[0]))
        for path, text in latest.items():
            if text is None:
                (self.folder / path).unlink(missing_ok=True)
            else:
                write_text(self.folder / path, text)
        known = {path: text for path, text in latest.items() if text is not None}
        self._seen = {path: stamp for path, stamp in self._stamps().items() if path in known}
        if len(objects) > MANY:
            # Sorts after all that it holds and before what another coordinator may have written since.
            storage.write_bytes(objects[-1].removesuffix(".json") + "-all.json", _json(known))
            for uri in objects:
                storage.delete(uri)
        return known

    def distrust_unrecorded(self, known: Iterable[str]) -> list[str]:
        """Mark results without any record as incomplete, so that Snakemake makes them again; their addresses.

        A coordinator that was killed between a job's end and the next `save` leaves such a file, and nobody knows with
        which parameters it was made. Without any record (results copied into the bucket by hand) nothing is marked.
        """
        recorded = {recorded_output(path) for path in known}
        if not recorded:
            return []
        found = [uri for uri in storage.list_objects(f"{self.prefix}/results/") if uri not in recorded]
        for uri in found:
            write_text(self.folder / "incomplete" / record_name(uri), json.dumps({"external_jobid": None}))
        return found

    def save(self) -> int:
        """Copy what changed since the last call into the bucket; how many records that were."""
        with self._lock:
            stamps = self._stamps()
            changed: dict[str, str | None] = {}
            for path in stamps.keys() - {path for path, stamp in stamps.items() if self._seen.get(path) == stamp}:
                text = _read_whole(self.folder / path)
                if text is None:
                    stamps.pop(path)  # being written, or gone again: next time
                else:
                    changed[path] = text
            changed.update(dict.fromkeys(self._seen.keys() - stamps.keys()))
            if changed:
                storage.write_bytes(f"{self.place}/{time.time_ns():020d}-{self._session}.json", _json(changed))
            self._seen = stamps
            return len(changed)

    def keep(self) -> None:
        """Save until this process ends, and once more then."""
        thread = threading.Thread(target=self._keep, name="haystack-records", daemon=True)
        thread.start()

        def finish() -> None:
            self._end.set()
            thread.join(60)
            self._try_to_save()

        atexit.register(finish)

    def _keep(self) -> None:
        while not self._end.wait(EVERY):
            self._try_to_save()

    def _try_to_save(self) -> None:
        from haystack.errors import HaystackError

        try:
            self.save()
        except HaystackError as error:  # the next call saves what this one could not
            log.warning("Snakemake's records could not be saved yet. %s", error)

    def _stamps(self) -> dict[str, Stamp]:
        found = {}
        for name in RECORDS:
            for root, _, files in os.walk(self.folder / name):
                for file in files:
                    path = Path(root) / file
                    try:
                        stat = path.stat()
                    except FileNotFoundError:
                        continue
                    found[path.relative_to(self.folder).as_posix()] = (stat.st_mtime_ns, stat.st_size)
        return {path: stamp for path, stamp in found.items() if recorded_output(path).startswith(f"{self.prefix}/")}


def take_up_records(folder: Path, prefix: str, run_ids: Sequence[str]) -> None:
    """Start from the bucket's records, stop jobs that a dead coordinator left, and keep the records from now on.

    Parameters
    ----------
    folder : Path
        `.snakemake` of this coordinator.
    prefix : str
        gs://bucket/folder under which `results/` lies.
    run_ids : sequence of str
        runs of this coordinator. Only their jobs are stopped: others may belong to a coordinator that lives.
    """
    records = Records(folder, prefix)
    known = records.restore()
    records.distrust_unrecorded(known)
    under_way = {path: text for path, text in known.items() if path.startswith("incomplete/")}
    _stop_left_behind(under_way, tuple(f"{prefix}/results/runs/{run_id}/" for run_id in run_ids))
    records.keep()


def _stop_left_behind(under_way: dict[str, str], mine: tuple[str, ...]) -> None:
    from google.api_core import exceptions
    from google.cloud import batch_v1

    jobs = {
        json.loads(text).get("external_jobid")
        for path, text in under_way.items()
        if recorded_output(path).startswith(mine)
    }
    names = sorted(name for name in jobs if name and name.startswith("projects/"))
    if not names:
        return
    client = batch_v1.BatchServiceClient()
    for name in names:
        try:
            client.delete_job(name=name, retry=patience(300)).result(timeout=300)
            log.warning("Stopped %s, which an earlier coordinator of this run had started", name)
        except exceptions.NotFound:
            continue


def _read_whole(path: Path) -> str | None:
    """Text of a record; None while Snakemake is writing it."""
    try:
        text = path.read_text(encoding="utf-8")
        json.loads(text)
    except (FileNotFoundError, ValueError):
        return None
    return text


def _json(records: Mapping[str, str | None]) -> bytes:
    return json.dumps(records, sort_keys=True).encode()
