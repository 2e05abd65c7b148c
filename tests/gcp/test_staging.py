"""Files of the coordinator that rules read: in the bucket once, and again only when they changed."""

import pytest

from haystack.gcp import storage
from haystack.workflow.staging import stage_files

PREFIX = "gs://results/lab"


@pytest.fixture(autouse=True)
def folder(storage_emulator, tmp_path, monkeypatch):
    storage.client().create_bucket("results")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sets.gmt").write_text("A\tx\tGENE1\n")
    return tmp_path


def test_new_and_changed_files_are_copied_and_others_left_alone(folder):
    assert stage_files(["sets.gmt", "sets.gmt"], PREFIX) == ["sets.gmt"]
    assert storage.read_bytes(f"{PREFIX}/sets.gmt")[0] == (folder / "sets.gmt").read_bytes()
    assert stage_files(["sets.gmt"], PREFIX) == []
    (folder / "sets.gmt").write_text("B\tx\tGENE2\n")
    assert stage_files(["sets.gmt"], PREFIX) == ["sets.gmt"]


def test_what_the_package_carries_is_brought_to_a_folder_without_it():
    path = "resources/genesets/haystack.gmt"
    assert stage_files([path], PREFIX) == [path]
    assert storage.exists(f"{PREFIX}/{path}")


def test_what_lies_elsewhere_is_left_to_the_checks(folder):
    assert stage_files(["nowhere.gmt", str(folder / "sets.gmt"), "gs://other/x", "resources/nowhere"], PREFIX) == []
