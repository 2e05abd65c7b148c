"""Terms of CL, UBERON, MONDO and ChEBI, read from the compact index in resources/ontology.

Reading cellxgene-ontology-guide itself takes 2 s and more (MONDO 1.4 s, ChEBI 4.5 s); the index has the same labels,
synonyms, parents and replacements with normalised names, and takes about 0.1 s. ChEBI is rarely needed and read from
the package.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Generic, TypeVar

from haystack.errors import OntologyError
from haystack.resources import resource, uncollected

FILES = {"CL": "cl.tsv.gz", "UBERON": "uberon.tsv.gz", "MONDO": "mondo.tsv.gz", "PATO": "pato.tsv.gz"}
ONTOLOGIES = (*FILES, "CHEBI")
KINDS = {"cell-type": "CL", "tissue": "UBERON", "disease": "MONDO", "chemical": "CHEBI"}
HEALTHY = "PATO:0000461"
METHODS = {"l": "label", "s": "synonym"}

ValueT = TypeVar("ValueT")


@dataclass(slots=True)
class Term:
    """One ontology class."""

    id: str
    label: str
    parents: list[str]
    synonyms: list[str]
    replaced_by: str | None
    obsolete: bool
    part_of: list[str]
    develops_from: list[str]


class Lazy(Mapping[str, ValueT], Generic[ValueT]):
    """Lines of a file by key, parsed on demand."""

    def __init__(self, lines: dict[str, str], read: Callable[[str, str], ValueT]) -> None:
        self.lines = lines
        self._read = read
        self._done: dict[str, ValueT] = {}

    def __getitem__(self, name: str) -> ValueT:
        found = self._done.get(name)
        if found is None:
            found = self._done[name] = self._read(name, self.lines[name])
        return found

    def __contains__(self, name: object) -> bool:
        return name in self.lines

    def __iter__(self) -> Iterator[str]:
        return iter(self.lines)

    def __len__(self) -> int:
        return len(self.lines)


@dataclass
class Ontology:
    """All terms of one ontology, and its version.

    `by_key`: normalised name -> (current id, label or synonym), labels first, then by id.
    """

    name: str
    version: str
    schema: str
    terms: Lazy[Term] = field(repr=False)
    by_key: Mapping[str, list[tuple[str, str]]] = field(repr=False)

    @cached_property
    def children(self) -> dict[str, list[str]]:
        """Direct subclasses by id, in order of id."""
        children: dict[str, list[str]] = {}
        for term_id, line in self.terms.lines.items():
            for parent in _items(line.split("\t", 2)[1]):
                children.setdefault(parent, []).append(term_id)
        return children

    def current(self, term_id: str) -> str | None:
        """The id, or its replacement (followed to the end); None if that is outside the ontology."""
        seen: set[str] = set()
        while term_id in self.terms and term_id not in seen:
            seen.add(term_id)
            term = self.terms[term_id]
            if not term.obsolete:
                return term_id
            term_id = term.replaced_by or ""
        return None


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
    if name == "CHEBI":
        from haystack.ontology.guide import lines

        return parse(name, "\n".join(lines(name)))
    path = resources() / FILES[name]
    try:
        text = gzip.decompress(path.read_bytes()).decode()
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise OntologyError(
            f"{path}: cannot be read ({error}); rebuild with python -m haystack.ontology.build"
        ) from None
    return parse(name, text)


def parse(name: str, text: str) -> Ontology:
    """An index: a header in JSON, a line per term, an empty line, a line per normalised name (two columns)."""
    header, _, rest = text.partition("\n")
    info = json.loads(header)
    term_lines, _, name_lines = rest.partition(2 * "\n")
    with uncollected():
        terms = dict([row.split("\t", 1) for row in term_lines.split("\n")])
        cells = name_lines.rstrip("\n").replace("\n", "\t").split("\t")  # faster than line by line
        names = dict(zip(cells[::2], cells[1::2], strict=False))
    return Ontology(name, info["version"], info["cellxgene_schema"], Lazy(terms, _term), Lazy(names, _hits))


def _term(term_id: str, line: str) -> Term:
    label, parents, synonyms, replaced_by, state, part_of, develops_from = line.split("\t")
    return Term(
        term_id,
        label,
        _items(parents),
        _items(synonyms),
        replaced_by or None,
        state == "obsolete",
        _items(part_of),
        _items(develops_from),
    )


def _items(cell: str) -> list[str]:
    return cell.split("|") if cell else []


def _hits(_: str, line: str) -> list[tuple[str, str]]:
    return [(hit[:-2], METHODS[hit[-1]]) for hit in line.split("|")]


def ontology_of(term_id: str) -> Ontology:
    """The ontology an id belongs to.

    Raises
    ------
    OntologyError
        for an id of an unknown ontology.
    """
    prefix = term_id.partition(":")[0].upper()
    if prefix not in ONTOLOGIES:
        raise OntologyError(f"'{term_id}' is not an id of {', '.join(ONTOLOGIES)}")
    return ontology(prefix)


def kind_ontology(kind: str) -> Ontology:
    """The ontology of a kind (cell-type, tissue, disease, chemical)."""
    if kind not in KINDS:
        raise OntologyError(f"unknown kind '{kind}'; known: {', '.join(KINDS)}")
    return ontology(KINDS[kind])
