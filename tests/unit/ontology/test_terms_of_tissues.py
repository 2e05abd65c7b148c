"""Tissues, diseases and chemicals."""

import pytest

from haystack.ontology import resolve
from haystack.ontology.cellwords import table_rows
from haystack.ontology.index import HEALTHY, kind_ontology


@pytest.mark.parametrize(
    ("kind", "text", "term_id"),
    [
        ("tissue", "lung", "UBERON:0002048"),
        ("tissue", "Lungs", "UBERON:0002048"),
        ("tissue", "renal", "UBERON:0002113"),
        ("tissue", "PBMC", "UBERON:0000178"),
        ("tissue", "oesophagus", "UBERON:0001043"),
        ("tissue", "human kidney cortex", "UBERON:0001225"),
        ("disease", "chronic kidney disease", "MONDO:0005300"),
        ("disease", "CKD", "MONDO:0005300"),
        ("disease", "Crohn's disease", "MONDO:0005011"),
        ("disease", "type II diabetes", "MONDO:0005148"),
        ("disease", "acute myeloid leukaemia", "MONDO:0018874"),
        ("disease", "severe COVID-19", "MONDO:0100096"),
        ("disease", "healthy", HEALTHY),
        ("disease", "Normal", HEALTHY),
    ],
)
def test_best_claim(kind: str, text: str, term_id: str) -> None:
    assert resolve(kind, text)[0].id == term_id


@pytest.mark.parametrize(
    ("kind", "text"), [("tissue", "unicorn"), ("disease", "treated"), ("tissue", ""), ("disease", "x" * 400)]
)
def test_nothing_is_claimed_for_nonsense(kind: str, text: str) -> None:
    assert resolve(kind, text) == []


def test_common_names_point_to_terms_with_the_label_that_the_table_states() -> None:
    rows = list(table_rows("common_names.tsv", 5))
    assert rows
    for kind, _, term_id, name, _ in rows:
        term = kind_ontology(kind).terms[term_id]
        assert (term.label, term.obsolete) == (name, False)
