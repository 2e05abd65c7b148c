"""The simulated atlases of the demo and their truth.

Only the demo rule, benchmarks and tests may import this package: whatever judges predictions must not know the
truth (`tests/unit/demo/test_secrecy.py` holds the others to it). Every number made here is a simulation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from haystack.demo.simulate import simulate_atlas

__all__ = ["simulate_atlas"]


def __getattr__(name: str) -> Any:
    if name == "simulate_atlas":
        from haystack.demo import simulate

        return getattr(simulate, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
