"""Files of the default storage: a plain folder, and what fsspec knows."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest

from haystack.storage import StorageError, provider, store
from haystack.workflow import remote
from haystack.workflow.staging import stage_files


@pytest.fixture(params=["folder", "memory"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path / "storage") if request.param == "folder" else f"memory://{uuid.uuid4().hex}"


def test_there_and_back(place: str, tmp_path: Path) -> None:
    files, source, target = store(place), tmp_path / "a.txt", tmp_path / "b" / "a.txt"
    source.write_text("one")
    address = f"{place}/runs/r/a.txt"
    assert not files.exists(address)
    assert files.read(address) is None
    assert files.list(place) == []
    assert not files.holds(address, source)
    files.upload(source, address)
    assert files.exists(address)
    assert files.read(address) == b"one"
    assert files.list(f"{place}/") == [address]
    assert files.holds(address, source)
    source.write_text("two")
    assert not files.holds(address, source)
    files.download(address, target)
    assert target.read_text() == "one"
    files.delete(address)
    files.delete(address)
    assert not files.exists(address)


def test_a_missing_file_is_named(place: str, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"nothing\.txt: reading failed"):
        store(place).download(f"{place}/nothing.txt", tmp_path / "x")
    assert not (tmp_path / "x").exists()


def test_a_scheme_that_nobody_serves_is_named() -> None:
    with pytest.raises(StorageError, match="nosuch://x/a: reading failed"):
        store("nosuch://x").read("nosuch://x/a")


@pytest.mark.parametrize(
    ("address", "name"), [("gs://b/x", "gcs"), ("s3://b/x", "s3"), ("/data/x", "fs"), ("data/x", "fs")]
)
def test_storage_plugins_of_snakemake(address: str, name: str) -> None:
    assert provider(address) == name


def test_files_that_rules_read_are_staged_once(place: str, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("sets.gmt").write_text("A\tx\tGENE1\n")
    assert stage_files(["sets.gmt"], place) == ["sets.gmt"]
    assert stage_files(["sets.gmt"], place) == []


def test_scripts_find_and_keep_files_of_a_plain_folder(tmp_path: Path, monkeypatch) -> None:
    prefix = str(tmp_path / "storage")
    monkeypatch.setenv(remote.STORAGE, prefix)
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    root = Path(".snakemake/storage/fs") / prefix.lstrip("/")
    decision = root / "results/runs/r/iter_1/decision.json"
    assert remote.results_root(str(decision)) == root
    stored = Path(prefix) / "results/runs/r/iter_1/decision.json"
    stored.parent.mkdir(parents=True)
    stored.write_text("{}")
    assert remote.fetched(decision).read_text() == "{}"
    failure = Path("results/runs/r/failure.json")
    failure.parent.mkdir(parents=True)
    failure.write_text('{"rule": "decide"}')
    remote.keep_beside_results(failure)
    assert (Path(prefix) / failure).exists()
    remote.forget_failure(failure, "ground_predictions")
    assert (Path(prefix) / failure).exists()
    remote.forget_failure(failure, "decide")
    assert not (Path(prefix) / failure).exists()
