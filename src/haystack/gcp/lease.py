"""One coordinator at a time: a small object in the bucket says whose turn it is."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from haystack.gcp import storage
from haystack.gcp.errors import ConflictError, GcpError, MissingObjectError

log = logging.getLogger(__name__)

LASTS = 180.0
"""seconds after which a turn that is not renewed is over: its coordinator was killed"""
RENEW = 30.0
"""seconds between two renewals"""
LOOK = 5.0
"""seconds between two looks of who waits"""


@contextmanager
def turn(uri: str, who: str) -> Iterator[None]:
    """Wait for the turn, and hold it until the block ends.

    Parameters
    ----------
    uri : str
        address of the object.
    who : str
        name of the coordinator, for the log of those who wait.
    """
    generation = _take(uri, who)
    ended = threading.Event()

    def renew() -> None:
        nonlocal generation
        while not ended.wait(RENEW):
            try:
                generation = storage.write_bytes(uri, _text(who), if_generation=generation)
            except GcpError as error:
                log.warning("The turn could not be renewed: %s", error)

    thread = threading.Thread(target=renew, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        with suppress(GcpError):
            if json.loads(storage.read_bytes(uri)[0])["who"] == who:
                storage.delete(uri)


def _take(uri: str, who: str) -> int:
    said = ""
    while True:
        try:
            data, generation = storage.read_bytes(uri)
            holder = json.loads(data)
        except MissingObjectError:
            holder, generation = {"who": who, "until": 0.0}, 0
        except ConflictError:  # written while it was read
            continue
        if holder["who"] == who or holder["until"] < time.time():
            with suppress(GcpError):  # another was faster
                return storage.write_bytes(uri, _text(who), if_generation=generation)
        elif holder["who"] != said:
            said = holder["who"]
            print(f"Waiting for coordinator {said}, which makes what all runs share", flush=True)
        time.sleep(LOOK)


def _text(who: str) -> bytes:
    return json.dumps({"who": who, "until": time.time() + LASTS}).encode()
