"""A match of the resolver."""

from __future__ import annotations

from dataclasses import asdict, dataclass


@dataclass(frozen=True, slots=True)
class Match:
    """One match. `score` in [0, 1]; `method`: id, label, synonym, normalised, similarity, correction, ols."""

    id: str
    name: str
    score: float
    method: str

    def as_dict(self) -> dict[str, str | float]:
        """For JSON."""
        return asdict(self)
