"""The process of one local run: prepares what all runs share, runs Snakemake, writes down how it ended.

`python -m haystack.runs.runner FOLDER LOCK` is started by the local backend, which already holds the run's lock and
hands it on as the open file LOCK. The kernel drops the lock with the last process of the run, so "is it alive" needs no
guess.
"""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from haystack.files import write_text
from haystack.runs.memory import Watch, memory_limit, oom_kills
from haystack.runs.processes import Identity

SPEC, PROCESS, EXIT, CANCELLED, LOCK, OUTPUT = (
    "spec.json",
    "process.json",
    "exit.json",
    "cancelled",
    "run.lock",
    "output.log",
)
"""files of a run's folder"""


def main(folder: Path, lock: int) -> int:
    """Do one attempt at a run. Nothing is done where it has ended or was cancelled already."""
    write_text(folder / PROCESS, json.dumps(_identity()))
    # The canceller writes its mark first and then looks for process.json: one of the two sees the other.
    if (folder / CANCELLED).exists() or (folder / EXIT).exists():
        return 0
    spec = json.loads((folder / SPEC).read_text(encoding="utf-8"))
    kills = oom_kills()
    with (folder / OUTPUT).open("ab") as output, Watch() as watch:
        output_from = output.tell()
        stage, code = _work(spec, lock, output)
    ended = {"stage": stage, "returncode": code, "finished_at": datetime.now(UTC).isoformat()}
    ended |= {"output_from": output_from, "out_of_memory": oom_kills() > kills}
    ended |= {"peak_bytes": watch.peak, "limit_bytes": memory_limit()}
    write_text(folder / EXIT, json.dumps(ended))
    return 0


def _identity() -> dict[str, Any]:
    identity = Identity.of(os.getpid())
    assert identity is not None
    return identity.plain()


def _work(spec: dict[str, Any], lock: int, output: Any) -> tuple[str, int]:
    """Stage that ended it (prepare or run), and its exit code."""
    shared = spec["shared"]
    with Path(shared["lock"]).open("a") as handle:
        index = handle.fileno()

        def start(command: list[str], folder: str) -> int:
            # The child keeps the locks open: they hold while anything of the run lives, even if this process is killed.
            return subprocess.run(
                command,
                cwd=folder,
                env={**os.environ, **spec["environment"]},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                pass_fds=(lock, index),
                check=False,
            ).returncode

        # Runs read the shared index together; who makes it anew waits until none reads it, and is alone.
        fcntl.flock(index, fcntl.LOCK_SH)
        while not _is_prepared(shared):
            fcntl.flock(index, fcntl.LOCK_UN)
            fcntl.flock(index, fcntl.LOCK_EX)
            if not _is_prepared(shared):
                code = start(shared["command"], shared["folder"])
                if code:
                    return "prepare", code
                write_text(shared["mark"], shared["fingerprint"])
            fcntl.flock(index, fcntl.LOCK_UN)
            fcntl.flock(index, fcntl.LOCK_SH)
        return "run", start(spec["command"], spec["folder"])


def _is_prepared(shared: dict[str, Any]) -> bool:
    mark = Path(shared["mark"])
    return mark.exists() and mark.read_text(encoding="utf-8") == shared["fingerprint"]


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), int(sys.argv[2])))
