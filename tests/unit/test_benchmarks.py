"""`python -m benchmarks` on tiny sizes: contenders agree, and the page keeps what is not measured anew."""

import importlib
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def benchmarks():
    sys.path.insert(0, str(REPOSITORY))
    try:
        yield importlib.import_module("benchmarks.__main__")
    finally:
        sys.path.remove(str(REPOSITORY))


def call(benchmarks, monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["benchmarks", "--quick", *arguments])
    assert benchmarks.main() == 0


@pytest.mark.slow
def test_parts_are_measured_beside_others_and_keep_their_place(benchmarks, monkeypatch, tmp_path):
    for name in ("decoupler", "illico", "polars", "scanpy"):
        pytest.importorskip(name)
    page = tmp_path / "page.md"
    call(benchmarks, monkeypatch, "--out", str(page), "--only", "evidence", "index")
    first = page.read_text()
    assert "DE of 32 against 32 cells" in first
    assert "illico: " in first or "scanpy: " in first
    call(benchmarks, monkeypatch, "--out", str(page), "--only", "rows")
    again = page.read_text()
    assert "cells from cells.zarr" in again
    kept = [line for line in first.splitlines() if line.startswith("| DE of ")]
    assert len(kept) == 1
    assert kept[0] in again


def test_unequal_work_is_no_benchmark(benchmarks):
    from benchmarks.compare import OURS, alternate

    with pytest.raises(ValueError, match="other: another result than haystack's"):
        alternate({OURS: lambda: 1, "other": lambda: 2}, 1, int.__eq__)


def test_the_best_other_contender_sets_the_ratio(benchmarks):
    from benchmarks.compare import OURS, Seconds, Work

    times = {OURS: Seconds(9, 2), "slow": Seconds(1, 8), "fast": Seconds(5, 4)}
    work = Work("w", times, "b")
    assert (work.best, work.ratio) == ("fast", 2.0)
    assert "| fast: 4 (5) | 2 |" in benchmarks._row(work)
    assert Work("w", {OURS: Seconds(1, 1)}, "b").ratio is None
