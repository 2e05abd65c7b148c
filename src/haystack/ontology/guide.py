"""The terms of cellxgene-ontology-guide (pinned version) as lines of our index."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import cache
from typing import Any

from haystack.ontology.normalise import key

_PHRASE = r"(?:the |an? )?([A-Za-z' -]+)"
_PART_OF = re.compile(rf"\b(?:part of|located in|resident in|resides in|found in) {_PHRASE}")
_DEVELOPS = re.compile(rf"\b(?:develops? from|derived from|derives from|differentiates from|arises from) {_PHRASE}")
LONGEST_CHEMICAL = 60  # characters; nobody types the longer systematic names into a question


def lines(ontology: str) -> Iterator[str]:
    """The index's lines.

    A header in JSON; id, label, parents, synonyms, replacement, state, part of, develops from of every term (tabs, `|`
    inside; the package holds no relations but is_a, so the last two are read from the definitions); an empty line;
    normalised name and ids (`CL:1|l`: label, `|s`: synonym; replaced terms under their replacement).
    """
    from cellxgene_ontology_guide.ontology_parser import OntologyParser

    schema = OntologyParser().cxg_schema
    terms = {i: term for i, term in sorted(schema.ontology(ontology).items()) if _is_wanted(ontology, i, term)}
    info = schema.supported_ontologies[ontology]
    header = {"ontology": ontology, "version": info["version"], "cellxgene_schema": schema.version}
    yield json.dumps(header, sort_keys=True)
    names: dict[str, dict[str, str]] = {}
    for term_id, term in terms.items():
        label, synonyms = _clean(term["label"]), sorted({_clean(name) for name in term.get("synonyms", [])})
        synonyms = [name for name in synonyms if name != label]
        parents = [] if ontology == "CHEBI" else sorted(i for i, steps in term["ancestors"].items() if steps == 1)
        replacement = (term.get("replaced_by") or "") if term["deprecated"] else ""
        state = "obsolete" if term["deprecated"] else ""
        near = _relations(term.get("description") or "") if ontology == "CL" and not term["deprecated"] else ([], [])
        columns = [label, "|".join(parents), "|".join(synonyms), replacement, state, *("|".join(ids) for ids in near)]
        yield "\t".join([term_id, *columns])
        current = _current(terms, term_id)
        for name in (label.removeprefix("obsolete "), *synonyms) if current else ():
            method = "l" if name == label and current == term_id else "s"
            hits = names.setdefault(key(name), {})
            hits[current] = min(method, hits.get(current, method))
    yield ""
    for name in sorted(names):
        if name:
            ranked = sorted((method, term_id) for term_id, method in names[name].items())
            yield f"{name}\t{'|'.join(f'{term_id}:{method}' for method, term_id in ranked)}"


def _is_wanted(ontology: str, term_id: str, term: dict[str, Any]) -> bool:
    if ontology == "PATO":
        return term_id == "PATO:0000461"
    if term["deprecated"] and not term.get("replaced_by"):
        return False
    if ontology == "CHEBI":
        return not term["deprecated"] and 0 < len(term["label"]) <= LONGEST_CHEMICAL
    return True


def _current(terms: dict[str, Any], term_id: str) -> str:
    """The id, or its replacement; empty if that is outside the ontology."""
    seen: set[str] = set()
    while term_id in terms and term_id not in seen:
        seen.add(term_id)
        if not terms[term_id]["deprecated"]:
            return term_id
        term_id = terms[term_id].get("replaced_by") or ""
    return ""


def _relations(definition: str) -> tuple[list[str], list[str]]:
    """(UBERON ids it is part of, CL ids it develops from), from fixed phrases in the definition."""
    places = [found for phrase in _PART_OF.findall(definition) if (found := _named("UBERON", phrase))]
    origins = [found for phrase in _DEVELOPS.findall(definition) if (found := _named("CL", phrase))]
    return list(dict.fromkeys(places)), list(dict.fromkeys(origins))


def _named(ontology: str, phrase: str) -> str | None:
    """The term with the longest label or synonym at the beginning of the phrase."""
    known = _names(ontology)
    words = key(phrase).split(" ")
    for size in range(len(words), 0, -1):
        found = known.get(" ".join(words[:size]))
        if found:
            return found
    return None


@cache
def _names(ontology: str) -> dict[str, str]:
    from cellxgene_ontology_guide.ontology_parser import OntologyParser

    found: dict[str, str] = {}
    terms = OntologyParser().cxg_schema.ontology(ontology)
    current = [(term_id, term) for term_id, term in sorted(terms.items()) if not term["deprecated"]]
    for term_id, term in current:
        found.setdefault(key(term["label"]), term_id)
    for term_id, term in current:
        for synonym in sorted(term.get("synonyms", [])):
            found.setdefault(key(synonym), term_id)
    return found


def _clean(text: str) -> str:
    return " ".join(text.replace("|", "/").split())
