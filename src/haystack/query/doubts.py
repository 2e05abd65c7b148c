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
    found = list(query.warnings)
    found += [f"{item.field}: '{item.text}' may be {' or '.join(item.alternatives)}" for item in query.ambiguities]
    if query.not_understood:
        found.append(f"not understood: {', '.join(query.not_understood)}")
    return found


def understanding(query: StructuredQuery) -> float:
    """Probability that every field is correct."""
    return RIGHT_BY_DOUBTS[min(len(doubts(query)), len(RIGHT_BY_DOUBTS) - 1)]


def obstacles(query: StructuredQuery) -> list[str]:
    """Reasons to reject a question in strict mode, each with what to write instead."""
    found = []
    if query.not_understood:
        words = ", ".join(f"'{word}'" for word in query.not_understood)
        found.append(f"{words} not understood: use other words, or leave them out")
    for item in query.ambiguities:
        found.append(f"'{item.text}' may be {' or '.join(item.alternatives)}: name one")
    for evidence in query.evidence:
        if evidence.field == "task_type" and evidence.confidence < SURE:
            found.append("the kind of question was guessed: say what is done to the cells, or write 'impute'")
        elif evidence.method == "spelling":
            found.append(f"'{evidence.text}' is misspelt or unknown: correct it")
        elif evidence.field == "cell_type_cl_id" and evidence.confidence < SAID:
            found.append(f"'{evidence.text}' is not clearly {query.cell_type_name}: write that, or another type's name")
    for given in query.asked.perturbations:
        if not given.resolved:
            found.append(f"'{given.query}' is no known cytokine, drug or gene")
        elif given.type == "genetic" and given.direction is None:
            found.append(f"'{given.query}': write knock-out, knock-down or overexpression")
        elif any(given.query == absent.query for absent in query.asked.absent):
            found.append(
                f"'{given.query}' is said to be absent: write '{given.name}' if it is blocked, else leave it out"
            )
    return found


def require_sure(query: StructuredQuery) -> StructuredQuery:
    """Return the query if nothing in it was guessed.

    Raises
    ------
    QueryParsingError
        naming every guess and what to write instead.
    """
    found = obstacles(query)
    if not found:
        return query
    raise QueryParsingError(
        f"query.strict: the question '{query.raw_query[:80]}' would have to be guessed. {'; '.join(found)}. "
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
    said = next(text for text in query.warnings if query.asked.perturbation_list in text)
    raise QueryParsingError(f"{said}. Or name one perturbation", question=query.raw_query)
