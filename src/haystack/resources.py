"""Where the tracked references (`resources/`) lie: in a checkout of the repository, or inside the installed package."""

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
    """The file or folder `path` below `resources/` (a leading `resources/` may be given).

    A checkout is looked at first, so that an edited table counts at once; a wheel carries the same tree as
    `haystack/_resources`.

    Raises
    ------
    ConfigError
        when neither place holds it.
    """
    relative = path.removeprefix("resources/")
    for root in (CHECKOUT, INSTALLED):
        found = root / relative
        if found.exists():
            return found
    raise ConfigError(f"resources/{relative}: not found in {CHECKOUT} nor in {INSTALLED}; reinstall haystack")


@contextmanager
def uncollected() -> Iterator[None]:
    """Without the garbage collector, which looks at many small things again and again while they are read."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()
