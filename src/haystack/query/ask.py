"""Read a question by rules, or with a language model where the settings name one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from haystack.contracts.query import StructuredQuery
from haystack.query.parse import parse_by_rules
from haystack.query.text import check_question

if TYPE_CHECKING:
    from haystack.config import QuerySettings


def parse_question(text: str, settings: QuerySettings | None = None, *, offline: bool = True) -> StructuredQuery:
    """Read a question.

    Parameters
    ----------
    text
        one question in plain English.
    settings
        `llm` names a model that may propose a parse (extra `llm`); without it rules alone read the question.
    offline
        true: no model is called; a proposal that was cached earlier is still used.

    Raises
    ------
    QueryParsingError
        when the question is empty, too long or holds no word, and when it names no cell type that the Cell Ontology
        knows (the nearest terms are offered).
    """
    question = check_question(text)
    if settings is not None and settings.llm:
        from haystack.query.llm import parse_with_llm

        return parse_with_llm(question, settings, offline=offline)
    return parse_by_rules(question)


def write_query(question: str, out: Path, settings: QuerySettings, offline: bool) -> None:
    """Parse and write `query.json` (rule parse_query)."""
    from haystack.contracts import write_json

    if settings.llm:
        from haystack.query.llm import parse_with_llm

        query = parse_with_llm(check_question(question), settings, offline=offline, cache=Path(out).parent)
    else:
        query = parse_question(question, settings, offline=offline)
    write_json(out, query)
