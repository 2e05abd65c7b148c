"""The simulated atlases of the demo and their truth.

Only the demo rule, benchmarks and tests may import this package: whatever judges predictions must not know the
truth (`tests/unit/demo/test_secrecy.py` holds the others to it). Every number made here is a simulation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from haystack.demo.simulate import simulate_atlas
    from haystack.demo.truth import departing, perturbations, simulate_truth, true_difference, true_response

__all__ = ["departing", "perturbations", "simulate_atlas", "simulate_truth", "true_difference", "true_response"]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"haystack.demo.{'simulate' if name == 'simulate_atlas' else 'truth'}"), name)
