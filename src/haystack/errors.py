"""Typed errors. Every message names the file, the field, the value, and what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class HaystackError(Exception):
    """Base of all errors that a user can act on. `str(error)` is the whole message."""

    def __init__(self, message: str, **details: object) -> None:
        super().__init__(message)
        self.message = message
        self.details = details


class ConfigError(HaystackError):
    """A setting, the run table or the atlas list is wrong."""


class ContractError(HaystackError):
    """A file that crosses a rule does not have the form that its contract states."""


class QueryParsingError(HaystackError):
    """A question could not be understood."""


class OntologyError(HaystackError):
    """An ontology term or file could not be used."""


class AtlasError(HaystackError):
    """An atlas cannot be read, or does not hold what its entry says."""


class RetrievalError(HaystackError):
    """No cell set, or no query cells, fit the question."""


class ModelError(HaystackError):
    """A model cannot be loaded, trained or run."""


class GroundingError(HaystackError):
    """A prediction cannot be scored."""


class MissingExtraError(HaystackError):
    """An optional dependency is absent. The message names the install command."""

    def __init__(self, extra: str, needed_for: str) -> None:
        command = f"pip install -e '.[{extra}]'"
        super().__init__(f"{needed_for} needs the extra '{extra}'. In the pipeline's folder: {command}")


def nearest(value: str, known: Iterable[str], n: int = 3) -> list[str]:
    """The known words most like `value`, best first (case-insensitive)."""
    by_lower = {word.lower(): word for word in known}
    return [by_lower[hit] for hit in difflib.get_close_matches(value.lower(), by_lower, n=n, cutoff=0.6)]


def suggest(value: str, known: Iterable[str]) -> str:
    """` Did you mean 'x'?`, or the list of what is known when nothing is near."""
    words = sorted(known)
    near = nearest(value, words)
    if near:
        return f" Did you mean {' or '.join(repr(word) for word in near)}?"
    return f" Known: {', '.join(words)}." if words else ""
