"""The tracked index is what cellxgene-ontology-guide holds."""

import gzip

import pytest

from haystack.ontology.cellwords import abbreviations, same_as, table_rows
from haystack.ontology.guide import lines
from haystack.ontology.index import FILES, KINDS, ontology, resources
from haystack.ontology.vocabulary import NAMES_FILE, name_lines


def tracked(name: str) -> list[str]:
    return gzip.decompress((resources() / name).read_bytes()).decode().splitlines()


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(FILES))
def test_index_files_are_current(name: str) -> None:
    assert tracked(FILES[name]) == list(lines(name)), "run python -m haystack.ontology.build"


def test_words_of_names_are_current() -> None:
    assert tracked(NAMES_FILE) == list(name_lines(ontology("CL"))), "run python -m haystack.ontology.build"


def test_versions_are_known() -> None:
    assert all(ontology(name).version and ontology(name).schema for name in FILES)
    assert set(KINDS.values()) <= {*FILES, "CHEBI"}


def test_tables_have_a_source_in_every_row_and_no_key_twice() -> None:
    rows = list(table_rows("abbreviations.tsv", 4))
    assert len(abbreviations()) >= len(rows) * 0.9
    assert {row[2] for row in rows} == {"word", "label"}
    assert len({row[0] for row in rows}) == len(rows)
    assert all(word not in same for word, same in same_as().items())
