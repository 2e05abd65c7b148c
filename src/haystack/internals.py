"""Private names of Snakemake 9.27.0, its Google Batch executor 0.5.1, gseapy 1.3 and arc-stack 0.1.3 that we use.

They may go with any release. `tests/unit/workflow/test_internals.py` fails with the name that is gone; the nightly run
does so with the newest Snakemake. The links lead to the code that each is read from.
"""

from __future__ import annotations

import importlib.util
import logging
import signal
import sys
import threading
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from multiprocessing.process import BaseProcess
from pathlib import Path
from subprocess import CalledProcessError
from time import monotonic
from types import ModuleType, SimpleNamespace
from typing import Any, TextIO

log = logging.getLogger(__name__)

# -- files below .snakemake: https://github.com/snakemake/snakemake/blob/v9.27.0/src/snakemake/persistence/file.py ---

LOCKS = "locks/*.lock"
"""a running Snakemake's locks"""
RECORDS = ("metadata", "incomplete")
"""folders with a file per output: how it was made, or that it is being made"""
LONGEST_NAME = 255
"""characters of a file name on Linux"""


def record_name(output: str) -> str:
    """Name of the record of an output in one of RECORDS: its URL-safe base64, in parts where that is long."""
    name, size = urlsafe_b64encode(output.encode()).decode(), LONGEST_NAME - 1
    parts = [name[i : i + size] for i in range(0, len(name), size)]
    return "/".join([*("@" + part for part in parts[:-1]), parts[-1]])


def recorded_output(path: str) -> str:
    """The output that a record (its path below `.snakemake`) is about; empty if it is no record."""
    try:
        return urlsafe_b64decode("".join(part.removeprefix("@") for part in path.split("/")[1:])).decode()
    except ValueError:
        return ""


# -- words and handlers of the log: .../scheduling/job_scheduler.py and .../logging.py -------------------------------

RESTARTS = "Trying to restart job "
"""the record (then the job's number and a full stop) that follows a failed job which is tried again"""
GOES_ON = ("Shutting down", "Select jobs")
"""starts of records after which no failed job is tried again"""


def plain_handler(settings: Any, stream: TextIO) -> logging.Handler:
    """The handler that Snakemake would use by itself."""
    from snakemake.logging import ColorizingTextHandler, DefaultFilter, DefaultFormatter

    return ColorizingTextHandler(
        nocolor=settings.nocolor,
        stream=stream,
        formatter=DefaultFormatter(settings.quiet, settings.show_failed_logs),
        filter=DefaultFilter(
            settings.quiet, settings.debug_dag, settings.verbose, settings.dryrun, settings.printshellcmds
        ),
    )


# -- scheduler, workflow, jobs ---------------------------------------------------------------------------------------


def calm_scheduler(workflow: Any) -> None:
    """Let at most one timer wait to wake the scheduler.

    With its limit on jobs per second (on by default), Snakemake 9.27 starts a timer in every scheduling round, and each
    timer starts a round: after n jobs the scheduler looks over all jobs about n times a second, and the time of a
    batch grows with the square of its runs. One timer at a time keeps what they are for. Private names:
    `JobScheduler._schedule_reevalutation` and `_open_jobs`, since https://github.com/snakemake/snakemake/pull/3067.
    """
    scheduler: Any = getattr(workflow, "scheduler", None)
    if scheduler is None:  # a dry run
        return
    if not hasattr(scheduler, "_schedule_reevalutation") or not hasattr(scheduler, "_open_jobs"):
        log.warning("This Snakemake's scheduler is not the known one: tables of many runs may be slow")
        return
    waiting = threading.Lock()

    def schedule(delay: float) -> None:
        if waiting.acquire(blocking=False):
            timer = threading.Timer(delay, wake)
            timer.daemon = True
            timer.start()

    def wake() -> None:
        waiting.release()
        scheduler._open_jobs.release()

    scheduler._schedule_reevalutation = schedule


def replace_script_start(
    start: Callable[[str, int, dict[str, str]], BaseProcess], killed: Callable[[Any, int, float | None], None]
) -> None:
    """Let `start` run the Python scripts of jobs that this process runs itself.

    `killed(script, exit code, peak memory in MiB if known)` is called for one that a signal ended, unless it was
    cancelled by Snakemake (SIGTERM).

    Private names: `PythonScript.execute_script` (snakemake/script/__init__.py); `shell._processes` and `shell._lock`
    (snakemake/shell.py), through which a job is cancelled; `benchmarked` (snakemake/benchmark.py).
    """
    from snakemake.script import PythonScript
    from snakemake.shell import shell

    plain = PythonScript.execute_script

    def execute_script(self: Any, fname: str, edit: bool = False) -> None:
        if self.container_img or self.conda_env or self.env_modules or self.shadow_dir or edit:
            plain(self, fname, edit)
            return
        scratch = self.resources.get("tmpdir")
        names = ("TMPDIR", "TMP", "TEMPDIR", "TEMP")
        process = start(fname, int(self.threads), dict.fromkeys(names, scratch) if scratch else {})
        with shell._lock:
            shell._processes[self.jobid] = process
        with _measured(process.pid, self.bench_record):
            process.join()
        with shell._lock:
            shell._processes.pop(self.jobid, None)
        if process.exitcode and process.exitcode < 0 and process.exitcode != -signal.SIGTERM:
            killed(self, process.exitcode, getattr(self.bench_record, "max_rss", None))
        if process.exitcode:
            raise CalledProcessError(process.exitcode, f"{sys.executable} {fname}")

    PythonScript.execute_script = execute_script


@contextmanager
def _measured(pid: int | None, record: Any) -> Iterator[None]:
    """Fill the record of a rule's `benchmark:`, if it has one, also where the process has ended already."""
    from psutil import NoSuchProcess
    from snakemake.benchmark import benchmarked

    if record is None:
        yield
        return
    began = monotonic()
    with ExitStack() as stack:
        try:
            stack.enter_context(benchmarked(pid, record))
        except NoSuchProcess:
            # Snakemake says the same of one that ends before its first sample.
            record.process_gone, record.running_time = True, monotonic() - began
        yield


@contextmanager
def read_workflow(snakefile: Path, configfile: Path | None = None) -> Iterator[Any]:
    """Read a Snakefile without running anything. Private name: `WorkflowApi._workflow` (snakemake/api.py)."""
    from snakemake.api import SnakemakeApi
    from snakemake.settings.types import ConfigSettings, OutputSettings, ResourceSettings

    with SnakemakeApi(OutputSettings()) as api:
        workflow = api.workflow(
            resource_settings=ResourceSettings(nodes=1),
            config_settings=ConfigSettings(configfiles=[configfile] if configfile else []),
            snakefile=snakefile,
        )
        yield workflow._workflow


def rule_job(workflow: Any, rule: str, wildcards: dict[str, str], decided: Iterable[str]) -> SimpleNamespace:
    """What the script of a rule gets as `snakemake`; `decided`: outputs of checkpoints that are there.

    Private names: `snakemake.dag.DAG`, `snakemake.jobs.Job`, `Workflow._dag`, `Checkpoints.created_output`.
    """
    from snakemake.dag import DAG
    from snakemake.jobs import Job
    from snakemake.settings.types import DAGSettings

    found = workflow.get_rule(rule)
    workflow.dag_settings, workflow.global_resources = DAGSettings(), {}
    workflow.checkpoints.created_output.update(decided)
    workflow._dag = DAG(workflow, rules=[found])
    job = Job(found, workflow._dag, wildcards, wildcards)
    names = ("input", "output", "params", "wildcards", "threads", "resources", "log")
    return SimpleNamespace(rule=rule, config=workflow.config, **{name: getattr(job, name) for name in names})


# -- https://github.com/snakemake/snakemake-executor-plugin-googlebatch/blob/v0.5.1/.../executor.py ------------------


def wrap_batch_executor(client: Callable[[Any], Any], refused: Callable[[Any, Any, Exception], None]) -> None:
    """Change the plugin's executor in this process; a second call changes nothing.

    Its Batch client (`batch`, made in `__post_init__`) becomes `client` of it; an exception of Google's clients in
    `run_job` goes to `refused(executor, job, error)`, where the plugin would let it end Snakemake.
    """
    from snakemake_executor_plugin_googlebatch.executor import GoogleBatchExecutor

    connect, submit = GoogleBatchExecutor.__post_init__, GoogleBatchExecutor.run_job
    if connect.__module__ == __name__:
        return

    def __post_init__(self: Any) -> None:  # noqa: N807
        connect(self)
        self.batch = client(self.batch)

    def run_job(self: Any, job: Any) -> None:
        try:
            submit(self, job)
        except Exception as error:
            if not type(error).__module__.startswith(("google.", "grpc")):
                raise
            refused(self, job, error)

    GoogleBatchExecutor.__post_init__ = __post_init__
    GoogleBatchExecutor.run_job = run_job


# -- https://github.com/snakemake/snakemake-storage-plugin-gcs/blob/v1.1.4/snakemake_storage_plugin_gcs/__init__.py ---


def wrap_gcs_storage(fresh: float) -> None:
    """Let one list of a folder, at most `fresh` seconds old, answer which of its objects exist.

    The plugin asks three times for each object that is absent (bucket, object, folder). After a checkpoint Snakemake
    asks for every output that is still to be made, of all runs, one after the other: with 16 runs, a thousand requests.
    What this process writes or deletes is seen at once. A second call changes nothing.
    """
    from google.api_core import retry
    from google.api_core.exceptions import NotFound
    from snakemake_storage_plugin_gcs import StorageObject, google_cloud_retry_predicate

    if StorageObject.exists.__module__ == __name__:
        return
    store, remove = StorageObject.store_object, StorageObject.remove
    lists: dict[tuple[str, str], tuple[float, set[str]]] = {}

    def place(self: Any) -> tuple[str, str]:
        return self.bucket_name, self.key.rpartition("/")[0]

    def exists(self: Any) -> bool:
        listed, names = lists.get(place(self), (-fresh, set()))
        if monotonic() - listed >= fresh:
            asked = monotonic()
            bucket, folder = place(self)
            found = self.client.list_blobs(bucket, prefix=f"{folder}/" if folder else None, delimiter="/")
            names = {blob.name for blob in found} | {name.rstrip("/") for name in found.prefixes}
            lists[place(self)] = asked, names
        return self.key in names

    def changing(change: Callable[[Any], None]) -> Callable[[Any], None]:
        def changed(self: Any) -> None:
            try:
                change(self)
            except NotFound:  # deleted by another coordinator meanwhile: the summary is made by each
                log.info("%s is gone already", self.query)
            finally:
                lists.pop(place(self), None)

        return changed

    exists.__module__ = __name__
    patient = retry.Retry(predicate=google_cloud_retry_predicate)(exists)
    StorageObject.exists, StorageObject.store_object, StorageObject.remove = patient, changing(store), changing(remove)


# -- https://github.com/zqfang/GSEApy/blob/master/gseapy/plot.py -----------------------------------------------------


def gseapy() -> ModuleType:
    """gseapy, whose plots import matplotlib (1.6 CPU-s) only where one is made."""
    plots = ModuleType("gseapy.plot")
    plots.__getattr__ = _later  # type: ignore[method-assign]
    if "gseapy" not in sys.modules:
        sys.modules["gseapy.plot"] = plots
    try:
        import gseapy as library
    finally:
        if sys.modules.get("gseapy.plot") is plots:
            del sys.modules["gseapy.plot"]
    return library


def _later(name: str) -> Callable[..., Any]:
    def plot(*args: Any, **options: Any) -> Any:
        return getattr(importlib.import_module("gseapy.plot"), name)(*args, **options)

    return plot


# -- https://github.com/ArcInstitute/stack ---------------------------------------------------------------------------

STACK_BASE = "stack.models.core.base"


def stack_base() -> ModuleType:
    """`stack/models/core/base.py`, with the class `StateICLModelBase`, without the packages around it.

    Raises
    ------
    ModuleNotFoundError
        where arc-stack is not installed.
    FileNotFoundError
        where it has no such file.
    """
    if STACK_BASE in sys.modules:
        return sys.modules[STACK_BASE]
    import stack.modules

    path = Path(stack.modules.__file__).parent.parent / "models" / "core" / "base.py"
    spec = importlib.util.spec_from_file_location(STACK_BASE, path)
    if spec is None or spec.loader is None or not path.exists():
        raise FileNotFoundError(path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
