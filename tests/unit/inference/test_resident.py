"""One process that keeps the model: the same bytes as without it, and no run is lost where it ends."""

import importlib.util
import multiprocessing
import os
import signal
import stat
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

pytest.importorskip("torch")

from haystack.config import ModelSettings
from haystack.contracts import write_cells
from haystack.errors import HaystackError
from haystack.inference import resident as asking
from haystack.inference.predict import run_inference
from haystack.workflow import resident

spec = importlib.util.spec_from_file_location("helpers", Path(__file__).parent / "conftest.py")
helpers = importlib.util.module_from_spec(spec)
spec.loader.exec_module(helpers)

SETTINGS = ModelSettings(kind="stack", steps=3)


def fork(target, arguments, name):
    process = multiprocessing.get_context("fork").Process(target=target, args=arguments, name=name)
    process.start()
    return process


@pytest.fixture
def kept(monkeypatch):
    """The process, started; its address is in the environment, as in that of an inference."""
    made = resident.ResidentModel(fork, 2)
    monkeypatch.setenv(asking.SOCKET, made.address())
    yield made
    made.close()


@pytest.fixture
def thread(monkeypatch, tmp_path):
    """What the process does, in a thread: torch does not outlive a fork of a process that has used it."""
    path = str(tmp_path / "model.socket")
    server = asking.ModelServer(path, asking.Handler)
    monkeypatch.setenv(asking.SOCKET, path)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def ask(tiny_dir, tmp_path):
    write_cells(tmp_path / "cells.h5ad", helpers.cells_of(helpers.genes_of(helpers.TINY), {"p1": (20, 20)}, 12))

    def ask(name, cells="cells.h5ad"):
        out, log = tmp_path / f"{name}.h5ad", tmp_path / f"{name}.log"
        asking.run_inference_resident(
            tiny_dir, str(tmp_path / cells), str(out), SETTINGS, 5, {}, threads=2, log_file=str(log)
        )
        return out.read_bytes(), log.read_text() if log.exists() else ""

    return ask


def answers():
    """Whether somebody answers at the address."""
    connection = asking.UnixConnection(os.environ[asking.SOCKET])
    connection.request("GET", "/")
    return connection.getresponse().status == 501


def kill(process):
    os.kill(process.pid, signal.SIGKILL)
    process.join()


def test_bytes_are_equal_and_the_model_is_loaded_once(thread, ask, tiny_dir, tmp_path):
    run_inference(tiny_dir, tmp_path / "cells.h5ad", tmp_path / "alone.h5ad", SETTINGS, 5)
    first, second = ask("first"), ask("second")
    assert first[0] == second[0] == (tmp_path / "alone.h5ad").read_bytes()
    assert "loaded" in first[1]
    assert "inference: kind=stack" in first[1]
    assert "in memory already" in second[1]
    assert "loaded" not in second[1]
    os.utime(tiny_dir / "model.safetensors", (1, 1))  # copied anew
    assert "in memory already" in ask("third")[1]
    provenance = tiny_dir / "provenance.json"
    provenance.write_text(provenance.read_text() + " ")
    assert "loaded" in ask("changed")[1]


def test_an_error_is_that_of_the_stage_itself(thread, ask, tmp_path, caplog):
    (tmp_path / "broken.h5ad").write_bytes(b"no file of cells")
    with pytest.raises(HaystackError, match=r"broken\.h5ad"):
        ask("a", "broken.h5ad")
    assert "predicting without it" in caplog.text
    assert "inference: kind=stack" in ask("b")[1]


def test_an_end_in_the_middle_of_an_inference_loses_nothing(kept, ask, caplog, monkeypatch):
    process = kept._process
    os.kill(process.pid, signal.SIGSTOP)
    real = asking.UnixConnection.request
    monkeypatch.setattr(kept, "_lives", 1)
    monkeypatch.setattr(asking.UnixConnection, "request", lambda self, *how: (real(self, *how), kill(process)))
    assert ask("out")[0]
    assert "predicting without it" in caplog.text


def test_a_process_that_ends_is_replaced_and_at_last_done_without(kept):
    for life in range(1, resident.LIVES + 1):
        assert answers()
        kill(kept._process)
        while kept._lives > resident.LIVES - life:
            time.sleep(0.01)
    while Path(os.environ[asking.SOCKET]).exists():
        time.sleep(0.01)
    with pytest.raises(OSError, match="No such file"):
        answers()


def test_an_unexpected_error_is_the_end_of_the_process(kept):
    """A GPU is of no use after some errors."""
    process = kept._process
    assert asking.post(os.environ[asking.SOCKET], {}) == "KeyError: 'folder'"
    process.join()
    assert answers()


def test_who_waits_is_answered_by_the_next_process(kept):
    process = kept._process
    os.kill(process.pid, signal.SIGSTOP)
    waiting = asking.UnixConnection(os.environ[asking.SOCKET])
    waiting.request("GET", "/")
    kill(process)
    assert waiting.getresponse().status == 501


def test_no_other_user_reaches_the_process(kept):
    assert stat.S_IMODE(Path(os.environ[asking.SOCKET]).parent.stat().st_mode) == 0o700


@pytest.mark.parametrize(
    ("script", "cores", "gpus", "expected"),
    [
        (".snakemake/scripts/tmp3x.stack_inference.py", 2, "", True),
        (".snakemake/scripts/tmp3x.stack_inference.py", 16, "", False),  # several at once, each with a model of its own
        (".snakemake/scripts/tmp3x.stack_inference.py", 16, "0", True),
        (".snakemake/scripts/tmp3x.decide.py", 2, "0", False),
    ],
)
def test_it_is_for_machines_that_run_one_inference_at_a_time(monkeypatch, script, cores, gpus, expected):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", gpus)
    assert resident.ResidentModel(fork, cores).serves(script, 2) is expected


def test_it_ends_with_the_process_that_started_it():
    text = """
        import os, signal
        from haystack.workflow import resident, warm
        if __name__ == "__main__":
            made = resident.ResidentModel(warm.start_process, 2)
            print(made.address(), made._process.pid, flush=True)
            os.kill(os.getpid(), signal.SIGKILL)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(text)], capture_output=True, text=True)
    address, pid = done.stdout.split()
    # its pipes are closed with it: run() above returned, which waits for whoever holds them
    assert not Path(f"/proc/{pid}").exists() or "Z" in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2]
    assert not Path(address).parent.exists()
