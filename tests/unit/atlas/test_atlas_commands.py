"""`haystack index` builds what it can, names what it cannot, and prints JSON."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from haystack.atlas.commands import add_commands
from haystack.errors import HaystackError


def main(words: list[str]) -> int:
    """As haystack.cli does it, without the commands of other rooms."""
    parser = argparse.ArgumentParser()
    add_commands(parser.add_subparsers())
    args = parser.parse_args(words)
    try:
        return args.run(args)
    except HaystackError as error:
        print(error, file=sys.stderr)
        return 1


@pytest.fixture
def config(atlas, tmp_path: Path) -> Path:
    atlases = {"a": atlas(name="a"), "b": atlas(name="b", obs={"cell_type": "cell_type"}, control_labels=[])}
    values = {name: entry.model_dump(mode="json") for name, entry in atlases.items()}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({"atlases": values}), encoding="utf-8")
    return tmp_path / "config.yaml"


def test_build_and_stats(config, tmp_path: Path, capsys):
    index = str(tmp_path / "index")
    assert main(["index", "build", "--config", str(config), "--index", index, "--json"]) == 0
    built = json.loads(capsys.readouterr().out)
    assert built["atlases"] == {"a": f"{index}/a/cells.parquet", "b": f"{index}/b/cells.parquet"}
    assert built["refused"] == {}
    assert main(["index", "stats", "--index", index, "--json"]) == 0
    statistics = json.loads(capsys.readouterr().out)
    assert statistics["totals"]["n_cells"] == 180
    assert main(["index", "stats", "--index", index]) == 0
    assert "a IL-6" in capsys.readouterr().out


def test_a_bad_atlas_is_named_and_the_others_are_built(config, tmp_path: Path, capsys):
    (tmp_path / "a.h5ad").write_bytes((tmp_path / "a.h5ad").read_bytes()[:9_000])
    index = tmp_path / "index"
    assert main(["index", "build", "--config", str(config), "--index", str(index), "--json"]) == 1
    captured = capsys.readouterr()
    assert "atlas 'a'" in captured.err
    assert "truncated file" in captured.err
    built = json.loads(captured.out)
    assert list(built["atlases"]) == ["b"]
    assert "truncated file" in built["refused"]["a"]
    assert (index / "cell_sets.parquet").exists()


def test_stats_without_an_index(tmp_path: Path, capsys):
    assert main(["index", "stats", "--index", str(tmp_path), "--json"]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "build the index first" in captured.err


def test_the_room_is_light():
    """`import haystack.atlas` and its commands load nothing heavy."""
    heavy = ("numpy", "pandas", "h5py", "duckdb", "pyarrow", "anndata", "zarr", "scipy", "requests")
    code = f"import sys, haystack.atlas, haystack.atlas.commands;print([m for m in {heavy!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
