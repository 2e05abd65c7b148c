"""Run the scripts of rules as forks of one process that has already imported the libraries.

Starting Python and imports used most of a stage's CPU time (docs/performance.md). A local job is therefore forked
by the standard library's fork server, which has imported the libraries and read the common tables once
(`haystack.workflow.preload`) and runs nothing itself. Every stage keeps its own process, log, benchmark and exit code.
Jobs with their own environment (conda, containers) and jobs on other machines start as usual.
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from multiprocessing.connection import wait
from multiprocessing.context import ForkServerProcess
from multiprocessing.process import BaseProcess
from types import ModuleType
from typing import TYPE_CHECKING, Any

from haystack.workflow.ends import killed
from haystack.workflow.resident import ResidentModel
from haystack.workflow.scripts import record_killed

if TYPE_CHECKING:
    from haystack.workflow.plan import Plan

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")
"""environment variables that limit the threads of numeric libraries"""

LOST = 255
"""what multiprocessing says of a process whose fork server is gone"""

_starting = threading.Lock()


def warm_scripts(workflow: Any, plan: Plan) -> None:
    """Run the scripts of this Snakemake's own jobs warm.

    Parameters
    ----------
    workflow
        Snakemake's workflow. One with environments for its rules (`--sdm`) is left as it is.
    plan
        says whether torch is worth importing: for a neural model.
    """
    from haystack.inference.resident import SOCKET
    from haystack.internals import replace_script_start
    from haystack.specs import MODELS

    if "forkserver" not in multiprocessing.get_all_start_methods() or workflow.deployment_settings.deployment_method:
        return
    model = MODELS.get(plan.settings.model.kind)
    modules = ["haystack.workflow.preload", *(["torch"] if model.gpu else [])]
    multiprocessing.get_context("forkserver").set_forkserver_preload(modules)
    if workflow.scheduler is not None:  # no dry run
        # Now, while nobody else reads the environment: uploads of a storage copy it in threads of their own.
        from multiprocessing.forkserver import ensure_running

        with _one_thread():
            ensure_running()
    resident = ResidentModel(start_process, workflow.resource_settings.cores or 1) if model.gpu else None

    def start_job(script: str, threads: int, variables: Mapping[str, str]) -> BaseProcess:
        if resident and resident.serves(script, threads):
            variables = {**variables, SOCKET: resident.address()}
        return start(script, threads, variables)

    replace_script_start(start_job, _record_killed)


def _record_killed(script: Any, code: int, peak: float | None) -> None:
    message = killed(code, peak, script.resources.get("mem_mb"))
    record_killed(script.rulename, script.wildcards, script.log, message)


def start(script: str, threads: int, variables: Mapping[str, str]) -> BaseProcess:
    """Start a script as a fork of the warm process.

    Parameters
    ----------
    script
        path of a Python file, relative to the current folder or absolute.
    threads
        how many threads numeric libraries may use.
    variables
        environment variables beside those of this process.

    Returns
    -------
    process
        started; its `pid`, `join` and `exitcode` are those of the script. Its exit code is 1 for an exception, which it
        has printed.
    """
    environment = {**os.environ, **variables, **dict.fromkeys(THREADS, str(threads))}
    return start_process(_run, (script, threads, os.getcwd(), environment), script)


def start_process(target: Callable[..., None], arguments: tuple[Any, ...], name: str) -> BaseProcess:
    """Start a function as a fork of the warm process."""
    for pause in (0.1, 1.0, None):
        process = _Stage(target=target, args=arguments, name=name)
        try:
            with _starting, _without_main():
                process.start()
        except (EOFError, ConnectionError):  # somebody killed the fork server; once it is gone, a start makes another
            if pause is None:
                raise
            time.sleep(pause)
        else:
            break
    return process


class _Stage(ForkServerProcess):
    """A process whose exit code one thread reads at a time.

    The start of any process looks after all others (`multiprocessing.process._cleanup`). Two threads that read the exit
    code of one process from its pipe at the same time share its bytes, and the loser reports 255.
    """

    def join(self, timeout: float | None = None) -> None:
        """Wait for the end."""
        wait([self.sentinel], timeout)
        with _starting:
            super().join(0)

    @property
    def exitcode(self) -> int | None:
        """As of any process. One whose fork server was killed counts as killed: how it ends nobody can say."""
        code = super().exitcode
        return -signal.SIGKILL if code == LOST else code


@contextmanager
def _one_thread() -> Iterator[None]:
    """The fork server inherits this environment: a process with threads is not safe to fork."""
    before = {name: os.environ.get(name) for name in THREADS}
    os.environ.update(dict.fromkeys(THREADS, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextmanager
def _without_main() -> Iterator[None]:
    """A new process imports the main module of its parent: all of Snakemake, which no stage needs (0.5 CPU-s each)."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


def _run(script: str, threads: int, folder: str, environment: Mapping[str, str]) -> None:
    from threadpoolctl import threadpool_limits

    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(threads)
    sys.argv = [script]
    with threadpool_limits(threads):
        runpy.run_path(script, run_name="__main__")
