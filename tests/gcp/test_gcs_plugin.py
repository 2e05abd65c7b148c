"""The storage plugin with one list per folder: as many requests as folders, and nothing seen late."""

from types import SimpleNamespace

import bucket_server
import pytest

from haystack import internals

plugin = pytest.importorskip("snakemake_storage_plugin_gcs")


@pytest.fixture
def server(monkeypatch):
    with bucket_server.serving() as server:
        server.objects["results"] = {}
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", server.address)
        monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "test-project")
        for name in ("exists", "store_object", "remove"):
            monkeypatch.setattr(plugin.StorageObject, name, getattr(plugin.StorageObject, name))
        yield server


def test_one_list_answers_for_a_folder(server, tmp_path, monkeypatch):
    from google.auth.credentials import AnonymousCredentials
    from google.cloud import storage

    internals.wrap_gcs_storage(60.0)
    client = storage.Client(project="test-project", credentials=AnonymousCredentials())
    provider = SimpleNamespace(client=client, settings=SimpleNamespace(project=None), local_prefix=tmp_path)

    def one(name):
        made = object.__new__(plugin.StorageObject)
        made.query, made.provider = f"gs://results/lab/{name}", provider
        made.__post_init__()
        monkeypatch.setattr(made, "local_path", lambda: tmp_path / "local")
        return made

    names = [f"iter_1/file{n}" for n in range(20)]
    server.reset()
    assert not any(one(name).exists() for name in names)
    assert server.requests == 1
    (tmp_path / "local").write_text("made")
    one(names[3]).store_object()
    assert [name for name in names if one(name).exists()] == [names[3]]
    assert one("iter_1").exists()  # a folder with something in it
    assert not one("iter_2").exists()
    one(names[3]).remove()
    one(names[3]).remove()  # another coordinator was faster
    assert not one(names[3]).exists()
