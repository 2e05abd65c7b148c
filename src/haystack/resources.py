"""Location of the tracked resources (`resources/`): in a checkout, or in the installed package."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from haystack.errors import ConfigError

PACKAGE = Path(__file__).resolve().parent
CHECKOUT = PACKAGE.parents[1] / "resources"
INSTALLED = PACKAGE / "_resources"


def resource(path: str) -> Path:
    """The file or folder `path` below `resources/` (a leading `resources/` is allowed).

    A checkout takes precedence, so that edited tables are used; a wheel has the same tree in `haystack/_resources`.

    Raises
    ------
    ConfigError
        if it exists in neither place.
    """
    relative = path.removeprefix("resources/")
    for root in (CHECKOUT, INSTALLED):
        found = root / relative
        if found.exists():
            return found
    raise ConfigError(f"resources/{relative}: not found in {CHECKOUT} nor in {INSTALLED}; reinstall haystack")


@contextmanager
def uncollected() -> Iterator[None]:
    """Disable the garbage collector, which would slow down reading many small objects."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()
