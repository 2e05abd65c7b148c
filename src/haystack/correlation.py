"""Pearson correlation and Fisher's z, as all packages compute them."""

from __future__ import annotations

import numpy as np

MOST = 0.98
"""largest |r| that Fisher's z tells from 1"""


def pearson(first: np.ndarray, second: np.ndarray) -> float | None:
    """Pearson r of two vectors; None where either does not vary."""
    return cosine(centred(first), centred(second))


def centred(values: np.ndarray) -> np.ndarray:
    """A vector minus its mean."""
    return values - values.mean()


def cosine(a: np.ndarray, b: np.ndarray) -> float | None:
    """Pearson r of two centred vectors; None where either is zero."""
    length = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / length if length > 0 else None


def fisher(r: float) -> float:
    """Fisher's z of a correlation, |r| at most MOST."""
    return float(np.arctanh(np.clip(r, -MOST, MOST)))
