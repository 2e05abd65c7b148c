"""Coordinators that take turns."""

import json
import threading
import time

import bucket_server
import pytest

from haystack.gcp import lease, storage

URI = "gs://results/coordinators/shared.lock"


@pytest.fixture
def buckets(monkeypatch):
    """A server that writes only on the generation that is asked for."""
    with bucket_server.serving() as server:
        server.objects["results"] = {}
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", server.address)
        storage.client.cache_clear()
        yield server
    storage.client.cache_clear()


def test_what_all_share_is_made_by_one_at_a_time(buckets, monkeypatch):
    monkeypatch.setattr(lease, "LOOK", 0.01)
    monkeypatch.setattr(lease, "RENEW", 0.02)
    uri, order = URI, []

    def work(name):
        with lease.turn(uri, name):
            order.append(name)
            time.sleep(0.1)
            order.append(name)

    threads = [threading.Thread(target=work, args=(f"c{n}",)) for n in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(order) == 6
    assert order[::2] == order[1::2]
    assert not storage.exists(uri)


def test_the_turn_of_a_coordinator_that_was_killed_passes(buckets, monkeypatch):
    monkeypatch.setattr(lease, "LOOK", 0.01)
    until = time.time() + 0.3
    storage.write_bytes(URI, json.dumps({"who": "gone", "until": until}).encode())
    with lease.turn(URI, "next"):
        assert time.time() >= until
