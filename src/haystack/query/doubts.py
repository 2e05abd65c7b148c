"""Doubt is an answer: how likely a question was understood, and what stops one that must not be guessed."""

from __future__ import annotations

from haystack.contracts.query import StructuredQuery

# Share of questions right in every field, by the number of stated doubts (0, 1, 2, 3 or more). Fitted on one half of
# the development questions (odd numbers), checked on the other (even): benchmarks/questions.py prints the table.
RIGHT_BY_DOUBTS = (0.97, 0.9, 0.8, 0.6)


def doubts(query: StructuredQuery) -> list[str]:
    """Everything that was guessed, has a second reading, or was not read."""
    found = list(query.warnings)
    found += [f"{item.field}: '{item.text}' may be {' or '.join(item.alternatives)}" for item in query.ambiguities]
    if query.not_understood:
        found.append(f"not understood: {', '.join(query.not_understood)}")
    return found


def understanding(query: StructuredQuery) -> float:
    """Probability that every field is as the question means it."""
    return RIGHT_BY_DOUBTS[min(len(doubts(query)), len(RIGHT_BY_DOUBTS) - 1)]
