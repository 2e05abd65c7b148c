"""Locks of a killed Snakemake are freed; those of a living one are not."""

import subprocess
import sys

import pytest

from haystack.workflow.locks import clear_stale_locks

HOLD = """
import sys
from pathlib import Path
from haystack.workflow.locks import clear_stale_locks
clear_stale_locks(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def folder(tmp_path):
    locks = tmp_path / ".snakemake/locks"
    locks.mkdir(parents=True)
    (locks / "0.output.lock").write_text("results/a\n")
    return tmp_path


def locked(folder):
    return any((folder / ".snakemake/locks").glob("*.lock"))


def test_left_over_lock_is_removed(folder):
    assert clear_stale_locks(folder)
    assert not locked(folder)


def test_lock_stays_while_another_process_lives_and_goes_after_its_kill(folder):
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout.readline() == "held\n"
        (folder / ".snakemake/locks/0.output.lock").write_text("results/a\n")
        probe = [sys.executable, "-c", HOLD, str(folder)]
        subprocess.run(probe, input="", text=True, check=True, capture_output=True)
        assert locked(folder)
        other.kill()
        other.wait()
        subprocess.run(probe, input="", text=True, check=True, capture_output=True)
    assert not locked(folder)
