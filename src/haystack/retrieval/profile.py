"""Known facts about the sample of a question: stated in it, or read from the target donor's cells."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import partial

import numpy as np

from haystack.retrieval.question import Question, related_terms

FIELDS = {"disease_mondo_id": 2.0, "tissue_uberon_id": 2.0, "age_category": 1.0, "sex": 1.0, "sample_condition": 1.0}
"""weights of facts when donors are compared"""
ALIKE_YEARS = 10
WORDS = {
    "disease_mondo_id": "disease",
    "tissue_uberon_id": "tissue",
    "age_category": "age",
    "sex": "sex",
    "sample_condition": "condition",
}


@dataclass(frozen=True)
class Profile:
    """Known facts, column -> value."""

    values: dict[str, str]

    def likeness(self, question: Question) -> np.ndarray:
        """Weighted share of the known facts that each row fits, in [0, 1]; 0 if nothing is known."""
        total = np.zeros(len(question.index))
        for name, value in self.values.items():
            total += FIELDS[name] * question.index.column(name).spread(partial(_fit, name, value))
        weight = sum(FIELDS[name] for name in self.values)
        return total / weight if weight else total

    def shared(self, question: Question, row: int) -> list[str]:
        """Names of the facts that a row fits."""
        return [
            WORDS[name] for name, value in self.values.items() if fits(name, question.index.label(name, row), value)
        ]


def fits(field: str, value: str | None, wanted: str) -> bool:
    """Equal; or ages at most 10 years apart, a form of the disease, a part of the tissue.

    >>> fits("age_category", "37-year-old stage", "44"), fits("age_category", "adult", "44")
    (True, False)
    """
    if value is None:
        return False
    if field == "age_category":
        years = [re.match(r"\D*(\d+)", text) for text in (value, wanted)]
        if years[0] and years[1]:
            return abs(int(years[0][1]) - int(years[1][1])) <= ALIKE_YEARS
    if field in {"disease_mondo_id", "tissue_uberon_id"}:
        return value in related_terms(wanted)
    return value == wanted


def _fit(field: str, wanted: str, value: str) -> float:
    return float(fits(field, value, wanted))


def target_profile(question: Question) -> Profile:
    """The most frequent value of each fact among the target donor's cells; facts stated in the question take
    precedence.
    """
    index = question.index
    values: dict[str, str] = {}
    rows = question.target_donor_rows
    for name in FIELDS:
        column = index.column(name)
        codes = column.codes[rows & (column.codes >= 0)]
        if codes.size:
            counts = np.bincount(codes, weights=index.n_cells[rows & (column.codes >= 0)])
            values[name] = column.values[int(counts.argmax())]
    asked = question.asked.context
    stated = {
        "disease_mondo_id": asked.disease_mondo_id,
        "tissue_uberon_id": asked.tissue_uberon_id,
        "sample_condition": asked.condition,
    }
    return Profile(values | {name: value for name, value in stated.items() if value})
