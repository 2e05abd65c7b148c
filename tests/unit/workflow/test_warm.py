"""Scripts as forks of a process that has imported what they need: same surroundings, same ends as a new interpreter."""

import json
import os
import signal
import sys
import threading
import time
from multiprocessing import forkserver
from multiprocessing.connection import wait
from types import ModuleType

import pytest

from haystack.workflow import warm

SURROUNDINGS = """
import json, os, sys
from pathlib import Path
from threadpoolctl import threadpool_info
import numpy as np
np.ones((4, 4)) @ np.ones((4, 4))
Path("told.json").write_text(json.dumps({
    "name": __name__, "argv": sys.argv, "folder": os.getcwd(), "threads": os.environ["OMP_NUM_THREADS"],
    "blas": [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"],
    "scratch": os.environ.get("TMPDIR"), "parent": os.getppid(), "hidden": os.environ.get("SET_BEFORE"),
}))
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(text, here, threads=1, **variables):
    (here / "script.py").write_text(text)
    process = warm.start("script.py", threads, variables)
    process.join()
    return process


def test_a_script_sees_the_folder_threads_and_variables_of_its_job(here, monkeypatch):
    monkeypatch.setenv("SET_BEFORE", "yes")
    assert run(SURROUNDINGS, here, threads=2, TMPDIR="scratch").exitcode == 0
    told = json.loads((here / "told.json").read_text())
    assert told["name"] == "__main__"
    assert told["argv"] == ["script.py"]
    assert told["folder"] == str(here)
    assert (told["threads"], told["scratch"], told["hidden"]) == ("2", "scratch", "yes")
    assert set(told["blas"]) == {2}
    assert told["parent"] != os.getpid()  # a fork of the server, not of this process
    monkeypatch.delenv("SET_BEFORE")
    run(SURROUNDINGS, here)
    again = json.loads((here / "told.json").read_text())
    assert again["hidden"] is None
    assert again["parent"] == told["parent"]


@pytest.mark.parametrize(("text", "code"), [("raise SystemExit(3)", 3), ("1 / 0", 1), ("import sys; sys.exit(0)", 0)])
def test_the_exit_code_is_that_of_the_script(here, text, code):
    assert run(text, here).exitcode == code


def test_a_killed_script_says_by_which_signal(here):
    (here / "script.py").write_text("import time; time.sleep(60)")
    process = warm.start("script.py", 1, {})
    time.sleep(0.2)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert process.exitcode == -signal.SIGKILL


def test_where_the_warm_process_is_killed_its_scripts_count_as_killed_and_the_next_starts(here):
    (here / "script.py").write_text("import time; time.sleep(60)")
    process = warm.start("script.py", 1, {})
    server = forkserver._forkserver._forkserver_pid
    os.kill(server, signal.SIGKILL)
    process.join()
    assert process.exitcode == -signal.SIGKILL
    os.kill(process.pid, signal.SIGKILL)
    assert run("", here).exitcode == 0
    assert forkserver._forkserver._forkserver_pid != server


def test_the_main_module_of_the_parent_is_not_run_again(here, monkeypatch):
    (here / "main.py").write_text("open('again', 'w')")
    main = ModuleType("__main__")
    main.__file__ = str(here / "main.py")  # as Snakemake's own program
    monkeypatch.setitem(sys.modules, "__main__", main)
    assert run("", here).exitcode == 0
    assert not (here / "again").exists()
    assert sys.modules["__main__"] is main


def test_an_exit_code_survives_the_start_of_another_script_at_the_same_moment(here, monkeypatch):
    (here / "script.py").write_text("raise SystemExit(3)")
    first = warm.start("script.py", 1, {})
    assert wait([first.sentinel], 20)
    read, late = forkserver.read_signed, threading.Event()

    def slow(pipe):
        late.wait(0.2)
        return read(pipe)

    monkeypatch.setattr(forkserver, "read_signed", slow)
    joining = threading.Thread(target=first.join)
    joining.start()
    warm.start("script.py", 1, {}).join()
    joining.join()
    assert first.exitcode == 3


def test_the_start_of_a_script_leaves_this_processs_environment_alone(here, monkeypatch):
    """Another thread may be copying it, for an upload of a storage; a variable that goes meanwhile is a KeyError."""
    monkeypatch.delenv("OPENBLAS_NUM_THREADS", raising=False)
    start, seen = warm._Stage.start, []
    monkeypatch.setattr(warm._Stage, "start", lambda self: (seen.append(dict(os.environ)), start(self)))
    assert run("", here).exitcode == 0
    assert "OPENBLAS_NUM_THREADS" not in seen[0]


@pytest.mark.slow
def test_what_is_imported_beforehand_is_there_and_shared(here):
    """A wrong name would be left out in silence; `load` says it."""
    run(
        """if True:
        import gc, sys
        from haystack.workflow import preload
        preload.load()
        from haystack.ontology.index import ontology
        assert "children" in vars(ontology("CL"))
        assert gc.get_freeze_count() > 100_000
        assert "torch" not in sys.modules  # only inference needs it
        open("all there", "w")
    """,
        here,
    )
    assert (here / "all there").exists()
