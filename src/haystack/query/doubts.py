"""Estimate how likely a question was understood, and reject ambiguous ones."""

from __future__ import annotations

from haystack.contracts.query import StructuredQuery
from haystack.errors import QueryParsingError

SURE = 0.7  # confidence of the kind of question below which it counts as guessed
SAID = 0.8  # score of a name below which it counts as guessed
# Share of questions right in every field, by the number of stated doubts (0, 1, 2, 3 or more): the first reading of 357
# questions written apart from the rules (187, 116, 49 and 5 of them).
RIGHT_BY_DOUBTS = (0.97, 0.85, 0.78, 0.5)


def doubts(query: StructuredQuery) -> list[str]:
    """Everything that was guessed, is ambiguous, or was not read."""
    reasons = list(query.warnings)
    reasons += [f"{item.field}: '{item.text}' may be {' or '.join(item.alternatives)}" for item in query.ambiguities]
    if query.not_understood:
        reasons.append(f"not understood: {', '.join(query.not_understood)}")
    return reasons


def understanding(query: StructuredQuery) -> float:
    """Probability that every field is correct."""
    return RIGHT_BY_DOUBTS[min(len(doubts(query)), len(RIGHT_BY_DOUBTS) - 1)]


def obstacles(query: StructuredQuery) -> list[str]:
    """Reasons to reject a question in strict mode, each with what to write instead."""
    reasons = []
    if query.not_understood:
        words = ", ".join(f"'{word}'" for word in query.not_understood)
        reasons.append(f"{words} not understood: use other words, or leave them out")
    for item in query.ambiguities:
        reasons.append(f"'{item.text}' may be {' or '.join(item.alternatives)}: name one")
    for evidence in query.evidence:
        if evidence.field == "task_type" and evidence.confidence < SURE:
            reasons.append("the kind of question was guessed: say what is done to the cells, or write 'impute'")
        elif evidence.method == "spelling":
            reasons.append(f"'{evidence.text}' is misspelt or unknown: correct it")
        elif evidence.field == "cell_type_cl_id" and evidence.confidence < SAID:
            reasons.append(
                f"'{evidence.text}' is not clearly {query.cell_type_name}: write that, or another type's name"
            )
    for given in query.asked.perturbations:
        if not given.resolved:
            reasons.append(f"'{given.query}' is no known cytokine, drug or gene")
        elif given.type == "genetic" and given.direction is None:
            reasons.append(f"'{given.query}': write knock-out, knock-down or overexpression")
        elif any(given.query == absent.query for absent in query.asked.absent):
            reasons.append(
                f"'{given.query}' is said to be absent: write '{given.name}' if it is blocked, else leave it out"
            )
    return reasons


def require_sure(query: StructuredQuery) -> StructuredQuery:
    """Return the query if nothing in it was guessed.

    Raises
    ------
    QueryParsingError
        naming every guess and what to write instead.
    """
    reasons = obstacles(query)
    if not reasons:
        return query
    raise QueryParsingError(
        f"query.strict: the question '{query.raw_query[:80]}' would have to be guessed. {'; '.join(reasons)}. "
        "Write it anew, or set query.strict: false to run it as it was read (haystack parse shows how)",
        question=query.raw_query,
    )


def require_single(query: StructuredQuery) -> StructuredQuery:
    """Return the query if it is a single question.

    Raises
    ------
    QueryParsingError
        for a list of perturbations, with the command that makes a run of each.
    """
    if query.asked.perturbation_list is None:
        return query
    warning = next(text for text in query.warnings if query.asked.perturbation_list in text)
    raise QueryParsingError(f"{warning}. Or name one perturbation", question=query.raw_query)
