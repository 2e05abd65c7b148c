"""Checksums that are taken once."""

import os

import pytest

from haystack import files


@pytest.fixture
def model(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "RECENT", 0.0)
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"weights")
    return path


@pytest.fixture
def taken(monkeypatch):
    """Files that were read for a checksum."""
    paths = []
    plain = files.sha256
    monkeypatch.setattr(files, "sha256", lambda path: paths.append(path) or plain(path))
    return paths


def test_an_unchanged_file_is_read_once(model, taken, tmp_path):
    kept = tmp_path / "kept" / "hashes.json"
    first = files.kept_sha256(model, kept)
    assert files.kept_sha256(model, kept) == first
    assert len(taken) == 1


def test_a_change_that_keeps_size_and_time_is_seen(model, taken, tmp_path):
    kept = tmp_path / "hashes.json"
    first = files.kept_sha256(model, kept)
    before = model.stat()
    model.write_bytes(b"WEIGHTS")
    os.utime(model, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert files.kept_sha256(model, kept) != first
    assert len(taken) == 2


def test_a_file_that_has_just_changed_is_not_kept(model, monkeypatch, tmp_path):
    monkeypatch.setattr(files, "RECENT", 60.0)
    files.kept_sha256(model, tmp_path / "hashes.json")
    assert not (tmp_path / "hashes.json").exists()


def test_a_broken_record_is_taken_anew(model, tmp_path):
    kept = tmp_path / "hashes.json"
    first = files.kept_sha256(model, kept)
    kept.write_text("{")
    assert files.kept_sha256(model, kept) == first
