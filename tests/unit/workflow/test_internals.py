"""What we use of others' private parts: it is still there, and does what it is for."""

import inspect
import subprocess
import sys
import threading
from types import SimpleNamespace

import pytest

from haystack.internals import (
    GOES_ON,
    LOCKS,
    RECORDS,
    RESTARTS,
    calm_scheduler,
    record_name,
    recorded_output,
    stack_base,
)


class Scheduler:
    """Wakes itself as Snakemake's does: every round starts a timer."""

    def __init__(self) -> None:
        self._open_jobs = threading.Semaphore(0)
        self.timers = 0

    def _schedule_reevalutation(self, delay: float) -> None:
        self.timers += 1


def test_one_timer_waits_at_a_time():
    scheduler = Scheduler()
    calm_scheduler(SimpleNamespace(scheduler=scheduler))
    for _ in range(50):
        scheduler._schedule_reevalutation(0.05)
    assert scheduler._open_jobs.acquire(timeout=5)
    assert not scheduler._open_jobs.acquire(timeout=0.2)
    # After it has rung, the next one may wait.
    scheduler._schedule_reevalutation(0.01)
    assert scheduler._open_jobs.acquire(timeout=5)


def test_a_dry_run_has_no_scheduler():
    calm_scheduler(SimpleNamespace(scheduler=None))
    calm_scheduler(SimpleNamespace())


def test_another_scheduler_is_left_alone_and_named(caplog):
    calm_scheduler(SimpleNamespace(scheduler=SimpleNamespace()))
    assert "tables of many runs may be slow" in caplog.text


def test_the_private_names_of_snakemake_are_still_there():
    from snakemake.api import WorkflowApi
    from snakemake.checkpoints import Checkpoints
    from snakemake.dag import DAG
    from snakemake.jobs import Job
    from snakemake.scheduling.job_scheduler import JobScheduler

    assert hasattr(JobScheduler, "_schedule_reevalutation")
    assert "self._open_jobs = " in inspect.getsource(JobScheduler.__init__)
    assert isinstance(WorkflowApi._workflow, property)
    assert isinstance(Checkpoints.created_output, property)
    assert list(inspect.signature(Job.__init__).parameters)[1:5] == [
        "rule",
        "dag",
        "wildcards_dict",
        "format_wildcards",
    ]
    assert {"workflow", "rules"} <= set(inspect.signature(DAG.__init__).parameters)


@pytest.mark.parametrize("output", ["gs://b/results/summary.tsv", f"gs://b/results/{'a' * 300}/query.json"])
def test_records_are_named_as_snakemake_names_them(output):
    from snakemake.persistence.file import FilePersistence

    class Plain(FilePersistence):
        def __init__(self):
            self._max_len = 255

    for folder in RECORDS:
        assert Plain()._record_path(folder, output) == f"{folder}/{record_name(output)}"
        assert recorded_output(f"{folder}/{record_name(output)}") == output


def test_the_files_and_words_of_snakemake_are_still_those():
    from snakemake.logging import ColorizingTextHandler, DefaultFilter, DefaultFormatter
    from snakemake.persistence.file import FilePersistence
    from snakemake.scheduling import job_scheduler

    files = inspect.getsource(sys.modules[FilePersistence.__mro__[1].__module__]) + inspect.getsource(FilePersistence)
    for word in (*RECORDS, LOCKS.split("/")[0], ".lock"):
        assert word in files, word
    words = inspect.getsource(job_scheduler)
    for word in (RESTARTS, *GOES_ON):
        assert f'"{word}' in words, word
    assert {"nocolor", "stream", "formatter", "filter"} <= set(inspect.signature(ColorizingTextHandler).parameters)
    assert list(inspect.signature(DefaultFormatter).parameters) == ["quiet", "show_failed_logs"]
    assert list(inspect.signature(DefaultFilter).parameters)[:5] == [
        "quiet",
        "debug_dag",
        "verbose",
        "dryrun",
        "printshellcmds",
    ]


def test_what_starts_scripts_is_as_known():
    from snakemake.benchmark import benchmarked
    from snakemake.script import PythonScript, ScriptBase
    from snakemake.shell import shell

    assert list(inspect.signature(PythonScript.execute_script).parameters) == ["self", "fname", "edit"]
    assert list(inspect.signature(benchmarked).parameters)[:2] == ["pid", "benchmark_record"]
    assert isinstance(shell._processes, dict)
    assert shell._lock
    held = inspect.getsource(ScriptBase.__init__)
    for name in ("container_img", "conda_env", "env_modules", "shadow_dir", "bench_record", "jobid", "threads"):
        assert f"self.{name} = " in held, name


def test_the_private_names_of_the_batch_executor_are_still_there():
    executor = pytest.importorskip("snakemake_executor_plugin_googlebatch.executor").GoogleBatchExecutor
    for name in ("__post_init__", "run_job", "get_param"):
        assert hasattr(executor, name), name
    assert "self.batch = " in inspect.getsource(inspect.getmodule(executor))


def test_the_private_names_of_arc_stack_are_still_there():
    pytest.importorskip("stack.modules")
    assert hasattr(stack_base(), "StateICLModelBase")


@pytest.mark.slow
def test_gseapy_draws_but_imports_matplotlib_only_then():
    program = """
import sys
from haystack.internals import gseapy
found = gseapy()
assert found is gseapy() is sys.modules["gseapy"]
genes, sets = [f"G{i}" for i in range(20)], {"set": [f"G{i}" for i in range(10)]}
table = found.enrich(genes[:8], sets, background=genes, outdir=None, no_plot=True)
assert table.results["P-value"][0] < 0.01
assert not {name for name in sys.modules if name.startswith("matplotlib")}
import matplotlib
matplotlib.use("Agg")
from gseapy import barplot
assert barplot(table.results, column="P-value", cutoff=1, size=5) is not None
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
