"""From a statistic to a score of 1 to 10: the only place where the scale is made."""

from __future__ import annotations

import math

HALF = 0.2
"""agreement beyond chance at which half of the range is reached"""
SURE, UNSURE = 0.01, 0.2
"""p-values from which evidence counts wholly, and not at all"""


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
    """1 to 10 from a fraction of what could be reached."""
    return round(1 + 9 * min(max(fraction, 0.0), 1.0), 4)
