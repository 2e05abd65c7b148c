"""Contenders for one piece of work, timed in turn in one process tree: what else the machine does hits all alike."""

from __future__ import annotations

import gc
import resource
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

OURS = "haystack"
Contenders = Mapping[str, Callable[[], Any]]


@dataclass(frozen=True)
class Seconds:
    """Of one contender: medians over the rounds."""

    wall: float
    cpu: float
    """of all threads and of processes that ended"""


@dataclass(frozen=True)
class Work:
    """A row of docs/performance.md."""

    name: str
    """what is done, with its size"""
    times: dict[str, Seconds]
    """by contender; OURS is one of them"""
    bound: str
    """what our time goes to"""
    left: str = ""
    """what would make it faster still"""
    goal: str = ""
    """what the ratio should be"""
    notes: list[str] = field(default_factory=list)

    @property
    def best(self) -> str | None:
        """The other contender that takes least CPU; None where there is none."""
        others = [name for name in self.times if name != OURS]
        return min(others, key=lambda name: self.times[name].cpu, default=None)

    @property
    def ratio(self) -> float | None:
        """CPU of the best other contender over ours: above 1 we are faster."""
        return None if self.best is None else self.times[self.best].cpu / max(self.times[OURS].cpu, 1e-9)


def alternate(
    contenders: Contenders, rounds: int, same: Callable[[Any, Any], bool] | None = None, *, warm: bool = True
) -> dict[str, Seconds]:
    """Time every contender once per round, in turn.

    Parameters
    ----------
    same
        whether the result of a contender (second argument) is ours; a benchmark of unequal work means nothing.
    warm
        call each once before, unmeasured: imports, compiled kernels, the system's file cache.

    Raises
    ------
    ValueError
        naming the contender whose result is not ours.
    """
    results = {name: call() for name, call in contenders.items()} if warm else {}
    for name, result in results.items():
        if same is not None and not same(results[OURS], result):
            raise ValueError(f"{name}: another result than {OURS}'s")
    del results
    spent: dict[str, list[tuple[float, float]]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, call in contenders.items():
            gc.collect()
            wall, cpu = time.perf_counter(), cpu_seconds()
            call()
            spent[name].append((time.perf_counter() - wall, cpu_seconds() - cpu))
    return {name: Seconds(*map(statistics.median, zip(*each, strict=True))) for name, each in spent.items()}


def cpu_seconds() -> float:
    """User and system time of this process and of its children that have ended."""
    parts = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(part.ru_utime + part.ru_stime for part in parts)
