"""Stand-ins for Google Cloud on this machine: Batch, Cloud Logging, and Cloud Storage (gcp-storage-emulator)."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("google.cloud.batch_v1", reason="needs the extra gcp")
pytest.importorskip("gcp_storage_emulator", reason="needs gcp-storage-emulator")

sys.path.insert(0, str(Path(__file__).parent))  # for `import batch_service`: tests are no package

from batch_service import BatchService

from ports import free_port


@pytest.fixture
def batch_service(tmp_path) -> Iterator[BatchService]:
    """A Batch service without jobs. `service.client()` is the real client connected to it."""
    with BatchService(tmp_path / "batch").serving() as service:
        yield service


@pytest.fixture(scope="session")
def storage_host() -> Iterator[str]:
    """Address of a storage emulator, for STORAGE_EMULATOR_HOST."""
    from gcp_storage_emulator.server import create_server
    from gcp_storage_emulator.storage import Storage

    # In memory nobody reads it back, and it describes all objects anew with each one that is written.
    assert callable(Storage._write_config_to_file)
    Storage._write_config_to_file = lambda self: None
    port = free_port()
    server = create_server("127.0.0.1", port, in_memory=True)
    server.start()
    yield f"http://127.0.0.1:{port}"
    server.stop()


@pytest.fixture
def storage_emulator(storage_host, monkeypatch) -> Iterator[str]:
    """The emulator for this process: clients made now talk to it. It starts without buckets."""
    import requests

    from haystack.gcp import storage

    requests.get(f"{storage_host}/wipe", timeout=10)
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", storage_host)
    storage.client.cache_clear()
    yield storage_host
    storage.client.cache_clear()
