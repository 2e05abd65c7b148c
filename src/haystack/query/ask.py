"""Read a question by rules, or with a language model if configured."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from haystack.contracts.query import StructuredQuery
from haystack.query.doubts import require_single, require_sure
from haystack.query.lookup import look_up
from haystack.query.parse import parse_by_rules
from haystack.query.text import check_question

if TYPE_CHECKING:
    from haystack.config import QuerySettings


def parse_question(
    text: str, settings: QuerySettings | None = None, *, offline: bool = True, cache: Path | None = None
) -> StructuredQuery:
    """Read a question; everything uncertain is recorded.

    Parameters
    ----------
    text
        one question in plain English.
    settings
        `llm` names a model that may propose words (extra `llm`); without it only rules are used.
    offline
        true: no model is called; a cached proposal is still used.
    cache
        folder of the run, where a model's proposal is stored.

    Raises
    ------
    QueryParsingError
        if the question is empty, too long or without words, is about another species, names no known cell type
        (suggests the nearest terms), or names an unknown drug or gene and no other perturbation.
    """
    question = check_question(text)
    if settings is not None and settings.llm:
        from haystack.query.llm import parse_with_llm

        return parse_with_llm(question, settings, offline=offline, cache=cache)
    return parse_by_rules(question)


def parse_run(
    text: str, settings: QuerySettings, *, offline: bool = True, cache: Path | None = None
) -> StructuredQuery:
    """Read the question of a run, which must be single and, with `settings.strict`, unambiguous.

    With a `cache` (the run's folder), perturbations hardly described in the tables are looked up in public databases.

    Raises
    ------
    QueryParsingError
        as `parse_question`, and for every ambiguity, with what to write instead.
    """
    query = require_single(parse_question(text, settings, offline=offline, cache=cache))
    if cache is not None:
        query = look_up(query, cache, offline=offline)
    return require_sure(query) if settings.strict else query


def write_query(question: str, out: Path, settings: QuerySettings, offline: bool) -> None:
    """Parse and write `query.json` (rule parse_query)."""
    from haystack.contracts import write_json

    write_json(out, parse_run(question, settings, offline=offline, cache=Path(out).parent))
