"""Runs as child processes of this machine, which outlive the service."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from haystack.errors import HaystackError
from haystack.files import first_text, write_text
from haystack.report.words import STAGES
from haystack.runs.backend import KILLED, OUT_OF_MEMORY, BackendError, Observation, State
from haystack.runs.events import read_events
from haystack.runs.folders import EVENTS, Folders
from haystack.runs.models import FILES, FileName, RunRecord
from haystack.runs.outcome import Outcome, read_failure, read_outcome, read_structured_query
from haystack.runs.processes import Identity, end_session
from haystack.runs.runner import CANCELLED, EXIT, LOCK, OUTPUT, PROCESS
from haystack.runs.settings import ServiceSettings
from haystack.specs import BackendSpec

SECRET_VARIABLES = (
    *("HAYSTACK_DATABASE_URL", "HAYSTACK_MAIL__", "HAYSTACK_SIGNING_SECRET", "HAYSTACK_TOKEN"),
    *("HAYSTACK_OIDC_CLIENT_SECRET", "HAYSTACK_PROXY_SECRET"),
)
"""beginnings of environment variables that no pipeline needs to see"""
RUNNER = ("-m", "haystack.runs.runner")
TAIL = 16 * 1024
"""bytes of a run's output that are shown"""
MARK = "HAYSTACK_RUN_FOLDER"
"""variable that every process of a run carries"""
ERROR_HEAD = re.compile(r"(?P<kind>\w+(Error|Exception))( in file .*, line \d+)?:\s*(?P<rest>.*)$")
"""how Snakemake begins to tell of an error"""
SIGNAL = re.compile(r"died with <Signals\.(?P<name>SIG\w+): \d+>|exit (status|code):? (?P<code>1[2-9]\d)\b")
"""how Python tells of a process that a signal ended; a shell adds 128 to its number"""
RULE = re.compile(r"[Ee]rror in rule (\w+)")


class LocalBackend:
    """Starts the pipeline as child processes.

    Parameters
    ----------
    settings
        of the service.
    """

    name = "local"

    def __init__(self, settings: ServiceSettings) -> None:
        self.settings = settings
        self.folders = Folders(settings)
        self.limit: int | None = settings.max_concurrent_runs
        self.node: str | None = _node(settings.work_dir)
        self._children: dict[str, subprocess.Popen[bytes]] = {}

    def submit(self, run: RunRecord) -> str | None:
        """Prepare the run's folder."""
        try:
            self.folders.prepare(run)
        except HaystackError as error:
            raise BackendError(str(error)) from None
        except OSError as error:
            raise BackendError(f"the run's folder cannot be written: {error}") from None
        return None

    def start(self, run: RunRecord) -> str:
        """Start the runner, unless the run's lock says that one is alive."""
        folder = self.folders.run(run.run_id)
        name = f"local:{run.run_id}"
        with self._lock(folder, tries=50) as lock:
            if lock is None or (folder / EXIT).exists() or (folder / CANCELLED).exists():
                return name
            # Jobs of an earlier start may have outlived its Snakemake; beside them the run must not go on.
            self._end(folder, kill=True)
            try:
                self._children[run.run_id] = subprocess.Popen(
                    [sys.executable, *RUNNER, str(folder), str(lock)],
                    cwd=folder,
                    env={**_environment(), MARK: str(folder)},
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    pass_fds=(lock,),
                    start_new_session=True,
                )
            except OSError as error:
                raise BackendError(f"the run's process cannot be started: {error}") from None
        return name

    def begin_look(self) -> None:
        """Nothing: each run has files of its own."""

    def observe(self, run: RunRecord) -> Observation:
        """Its events, and whether its lock is still held."""
        self._reap(run.run_id)
        folder = self.folders.run(run.run_id)
        # First the lock, then what it left: a run that ends in between is seen as running once more, never as lost.
        alive = self._is_locked(folder)
        events, read = read_events(folder / EVENTS, run.events_read, run.run_id)
        told: dict[str, Any] = {"events": events, "events_read": read}
        if alive:
            return Observation("running", **told)
        if not (folder / EXIT).exists():
            return Observation("lost", **told)
        ended = json.loads((folder / EXIT).read_text(encoding="utf-8"))
        if ended["returncode"] == 0:
            return Observation("succeeded", **told)
        kind, message = self._why(run.run_id, ended)
        state: State = "killed" if kind in {OUT_OF_MEMORY, KILLED} else "failed"
        return Observation(state, **told, error_type=kind, error_message=message)

    def told(self, run: RunRecord, status: str) -> Observation:
        """Files say it all."""
        return self.observe(run)

    def forget_end(self, run: RunRecord) -> None:
        """Remove the note on how it ended."""
        (self.folders.run(run.run_id) / EXIT).unlink(missing_ok=True)

    def outcome(self, run: RunRecord) -> Outcome:
        """From the run's log."""
        outputs: dict[str, str] = {name: str(path) for name in FILES if (path := self.locate(run, name)) is not None}
        return read_outcome(run.run_id, lambda name: self.locate(run, name), outputs)

    def structured_query(self, run: RunRecord) -> dict[str, Any] | None:
        """query.json, once it is there."""
        return read_structured_query(self.folders.results(run.run_id) / "query.json")

    def cancel(self, run: RunRecord) -> bool:
        """Ask at first, end by force when asked again."""
        folder = self.folders.run(run.run_id)
        if not folder.is_dir():
            return True
        asked = (folder / CANCELLED).exists()
        if not asked:
            write_text(folder / CANCELLED, "")
        left = self._end(folder, kill=asked)
        self._reap(run.run_id)
        return left == 0 and not self._is_locked(folder)

    def size(self, run: RunRecord) -> int | None:
        """Of its own folder, without what all runs share."""
        files = (Path(at) / name for at, _, names in os.walk(self.folders.run(run.run_id)) for name in names)
        return sum(file.lstat().st_blocks * 512 for file in files if os.path.lexists(file))

    def delete(self, run: RunRecord) -> None:
        """The folder; links in it are not followed."""
        with suppress(FileNotFoundError):
            shutil.rmtree(self.folders.run(run.run_id))

    def log_tail(self, run: RunRecord) -> str:
        """The last lines of its output."""
        try:
            with (self.folders.run(run.run_id) / OUTPUT).open("rb") as handle:
                handle.seek(0, os.SEEK_END)
                whole = handle.tell() <= TAIL
                handle.seek(max(0, handle.tell() - TAIL))
                text = handle.read().decode("utf-8", "replace")
            return text if whole else text.partition("\n")[2]
        except FileNotFoundError:
            return ""

    def locate(self, run: RunRecord, name: FileName) -> Path | None:
        """A result file on this machine."""
        path = self.folders.results(run.run_id) / FILES[name].format(run_id=run.run_id)
        return path if path.is_file() else None

    # -- inside ----------------------------------------------------------------------------------------------------

    @contextmanager
    def _lock(self, folder: Path, tries: int = 1) -> Iterator[int | None]:
        """The run's lock, or None where its process holds it. Tries, 10 ms apart: another look lasts no longer."""
        descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            yield descriptor if _taken(descriptor, tries) else None
        finally:
            os.close(descriptor)

    def _is_locked(self, folder: Path) -> bool:
        if not folder.is_dir():
            return False
        with self._lock(folder) as lock:
            return lock is None

    def _end(self, folder: Path, *, kill: bool) -> int:
        """Signal what is left of a run; how many processes that was."""
        leader = _process(folder)
        return end_session(leader, f"{MARK}={folder}", kill=kill) if leader else 0

    def _reap(self, run_id: str) -> None:
        child = self._children.get(run_id)
        if child is not None and child.poll() is not None:
            self._children.pop(run_id, None)

    def _killed(self, run_id: str, ended: dict[str, Any]) -> tuple[str, str] | None:
        """Kind of error and message of a run that a signal ended; None for any other."""
        path, code = self.folders.run(run_id) / OUTPUT, int(ended["returncode"])
        said = path.read_bytes()[ended.get("output_from", 0) :].decode(errors="replace") if path.exists() else ""
        found = list(SIGNAL.finditer(said))
        number = -code if code < 0 else _signal(found[-1]) if found else None
        if number is None:
            return None
        # Snakemake names the rule below its error, or above, as threads have it.
        rules = (RULE.findall(said[found[-1].end() :]) or RULE.findall(said)[-1:]) if found else []
        who = f"{STAGES.get(rules[0], rules[0])} ({rules[0]})" if rules else "the pipeline"
        name = signal.Signals(number).name
        if number != signal.SIGKILL:
            return "Signal", f"{who} was ended by {name}"
        peak, limit = (f"{ended.get(name, 0) / 2**30:.1f} GiB" for name in ("peak_bytes", "limit_bytes"))
        took = f"The run took at least {peak} at once, and this machine has {limit}"
        if ended.get("out_of_memory"):
            return OUT_OF_MEMORY, f"{who} was killed ({name}): the kernel ended it for want of memory. {took}"
        return KILLED, f"{who} was killed ({name}), by an operator or for want of memory. {took}"

    def _why(self, run_id: str, ended: dict[str, Any]) -> tuple[str, str]:
        """Kind of error and message: what the failed script said, else the end of what Snakemake said."""
        failure = read_failure(self.folders.results(run_id) / "failure.json")
        if failure is not None:
            return failure.error_type, failure.message
        killed = self._killed(run_id, ended)
        if killed is not None:
            return killed
        folder = self.folders.run(run_id)
        path = folder / OUTPUT
        text = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
        kind, message = _last_words(text)
        return kind, message or f"Snakemake ended with code {ended['returncode']} ({ended['stage']})"


def _signal(told: re.Match[str]) -> int | None:
    """Number of the signal."""
    if told["name"]:
        return int(getattr(signal, told["name"], 0)) or None
    number = int(told["code"]) - 128
    return number if number in set(signal.Signals) else None


def _taken(descriptor: int, tries: int) -> bool:
    for number in range(tries):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if number + 1 < tries:
                time.sleep(0.01)
        else:
            return True
    return False


def _last_words(text: str, limit: int = 2000) -> tuple[str, str]:
    """Kind and message of the last error that Snakemake printed, without the places in the code."""
    lines = text.splitlines()
    heads = [(number, match) for number, line in enumerate(lines) if (match := ERROR_HEAD.match(line))]
    if not heads:
        return "WorkflowError", "\n".join(line for line in lines[-5:] if line.strip())[:limit]
    number, match = heads[-1]
    message = [match["rest"] or ""]
    for line in lines[number + 1 :]:
        if line.startswith('  File "') or not line.strip():
            break
        message.append(line.rstrip())
    return match["kind"], "\n".join(line for line in message if line)[:limit]


def _process(folder: Path) -> Identity | None:
    try:
        return Identity.read(json.loads((folder / PROCESS).read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith(SECRET_VARIABLES)}


def _node(work_dir: Path) -> str:
    """Name of the folder in which the runs live; it stays with the folder."""
    work_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    return first_text(work_dir / "node", uuid.uuid4().hex)


SPEC = BackendSpec(name="local", title="processes of this machine", open=LocalBackend, order=10)
