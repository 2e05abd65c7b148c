"""Index and model are shared between folders, if one asks for it."""

import os
import subprocess

import pytest


def run(pipeline, cache=None, *arguments: str) -> str:
    extra = {"SNAKEMAKE_OUTPUT_CACHE": str(cache)} if cache else {}
    done = subprocess.run(
        pipeline.command(*arguments, *(["--cache"] if cache else [])),
        cwd=pipeline.folder,
        env={**os.environ, "OMP_NUM_THREADS": "1", **extra},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.mark.slow
def test_second_folder_takes_the_index_over(make_pipeline, tmp_path):
    cache = tmp_path / "cache"
    cache.mkdir()
    first, second = (make_pipeline(tmp_path / name) for name in ("first", "second"))
    index = "results/index/cell_sets.parquet"
    run(first, cache, index)
    stored = {path.name: path.stat().st_mtime_ns for path in cache.iterdir()}
    # Three atlases with cells, mapping and both forms of the intake report each, and the cell sets.
    assert len(stored) == 13
    run(second, cache, index)
    assert {path.name: path.stat().st_mtime_ns for path in cache.iterdir()} == stored
    for name in (index, "results/index/tabula_demo/cells.parquet"):
        assert second.path(name).is_symlink()
        assert second.path(name).read_bytes() == first.path(name).read_bytes()
    assert first.path("logs/index/index_cell_sets.log").exists()
    assert second.path("logs/index/index_cell_sets.log").read_text() == ""
    # Other cells are not mistaken for these.
    second.set(demo={"cells_per_set": 21})
    run(second, cache, index)
    assert second.path(index).read_bytes() != first.path(index).read_bytes()
