"""Convert statistics to scores of 1 to 10; the only place that defines the scale."""

from __future__ import annotations

import math

HALF = 0.2
"""agreement beyond chance that gives half of the range"""
SURE, UNSURE = 0.01, 0.2
"""p-values at which evidence counts fully, and not at all"""


def rise(agreement: float, half: float = HALF) -> float:
    """0 at no agreement, 1 at full agreement, steep around `half`: x² / (x² + half²), scaled to reach 1 at x = 1."""
    x = min(max(agreement, 0.0), 1.0)
    return x * x / (x * x + half * half) * (1 + half * half)


def confidence(p_value: float) -> float:
    """1 for p <= SURE, 0 for p >= UNSURE, linear in log p between."""
    if p_value <= SURE:
        return 1.0
    if p_value >= UNSURE:
        return 0.0
    return math.log(p_value / UNSURE) / math.log(SURE / UNSURE)


def score(fraction: float) -> float:
    """Score of 1 to 10 from a fraction in [0, 1]."""
    return round(1 + 9 * min(max(fraction, 0.0), 1.0), 4)
