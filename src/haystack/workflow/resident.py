"""The process that keeps the model while Snakemake runs (see `haystack.inference.resident`): its start and its end."""

from __future__ import annotations

import atexit
import logging
import os
import shutil
import socket
import tempfile
import threading
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path

from haystack.inference.resident import keep_model

log = logging.getLogger(__name__)

SCRIPT = "stack_inference.py"
"""end of the name of the script that asks: Snakemake runs a copy, `.snakemake/scripts/tmp3x.stack_inference.py`"""
LIVES = 3
"""ends of the process after which inferences do without it"""


class ResidentModel:
    """A fork of the warm process, started with the first inference, and again where it ends before its time.

    It serves one inference at a time. So it is for machines that run one at a time: those with a GPU, or with no more
    cores than one inference takes.

    Parameters
    ----------
    start
        starts a process from function, arguments and name.
    cores
        of this Snakemake.
    """

    def __init__(self, start: Callable[..., BaseProcess], cores: int) -> None:
        self.cores = cores
        self._fork = start
        self._lock = threading.Lock()
        self._folder: Path | None = None
        self._listener: socket.socket | None = None
        self._lives = LIVES

    def serves(self, script: str, threads: int) -> bool:
        """Whether this script is an inference that should ask the process."""
        return script.endswith(SCRIPT) and (gpus() > 0 or self.cores < 2 * threads)

    def address(self) -> str:
        """The path of the process's socket. Starts the process if it does not run yet."""
        with self._lock:
            if self._folder is None:
                # mkdtemp: a folder that only this user can enter, so nobody else reaches the socket
                self._folder = Path(tempfile.mkdtemp(prefix="haystack-"))
                self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
                self._listener.bind(str(self._folder / "model"))
                self._listener.listen(64)
                atexit.register(self.close)
                self._start()
            return str(self._folder / "model")

    def close(self) -> None:
        """End the process; inferences compute by themselves from now on."""
        with self._lock:
            self._lives = 0
            self._retire()
            if self._process.is_alive():
                self._process.terminate()

    def _start(self) -> None:
        self._process = self._fork(keep_model, (self._listener,), "resident model")
        threading.Thread(target=self._watch, args=(self._process,), daemon=True).start()

    def _watch(self, process: BaseProcess) -> None:
        process.join()
        with self._lock:
            if self._lives == 0:
                return
            self._lives -= 1
            log.warning("The process that keeps the model ended (exit code %s)", process.exitcode)
            # Inferences that wait for their turn are answered by the next process; without one, their connection ends.
            if self._lives:
                self._start()
            else:
                self._retire()

    def _retire(self) -> None:
        if self._listener is not None and self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._listener.close()
            self._listener = None


def gpus() -> int:
    """NVIDIA GPUs of this machine that this process may use, found without starting CUDA."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return len([name for name in visible.split(",") if name.strip() not in {"", "-1"}])
    return len(list(Path("/dev").glob("nvidia[0-9]*")))
