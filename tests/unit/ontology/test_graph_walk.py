"""Neighbours agree with cellxgene-ontology-guide's own walks."""

import pytest
from cellxgene_ontology_guide.ontology_parser import OntologyParser

from haystack import ontology
from haystack.errors import OntologyError

TERMS = ["CL:0000084", "CL:0002553", "CL:0000860", "CL:0000000", "UBERON:0002113"]


@pytest.fixture(scope="module")
def guide() -> OntologyParser:
    return OntologyParser()


@pytest.mark.parametrize("term_id", TERMS)
def test_ancestors_and_distances(guide: OntologyParser, term_id: str) -> None:
    assert ontology.ancestors(term_id) == guide.get_term_ancestors_with_distances(term_id)


@pytest.mark.parametrize("term_id", TERMS[:3])
def test_children_and_parents(guide: OntologyParser, term_id: str) -> None:
    deprecated = {child for child in guide.get_term_children(term_id) if guide.is_term_deprecated(child)}
    assert set(ontology.children(term_id)) == set(guide.get_term_children(term_id)) - deprecated
    assert set(ontology.parents(term_id)) == set(guide.get_term_parents(term_id))


def test_descendants_mirror_ancestors() -> None:
    for child, steps in ontology.descendants("CL:0000576").items():
        assert ontology.ancestors(child)["CL:0000576"] == steps


def test_siblings_share_a_parent_and_leave_out_the_term() -> None:
    found = ontology.siblings("CL:0000860")
    assert "CL:0000875" in found
    assert "CL:0000860" not in found


def test_distance_counts_steps_through_a_common_ancestor() -> None:
    assert ontology.distance("CL:0000860", "CL:0000860") == 0
    assert ontology.distance("CL:0000576", "CL:0000860") == 1
    assert ontology.distance("CL:0000860", "CL:0000875") == 2


def test_neighbours_hold_all_of_it() -> None:
    near = ontology.neighbours("CL:0002553")
    assert near.name == "fibroblast of lung"
    assert near.parents == ["CL:0000057"]
    assert set(near.children) <= near.descendants.keys()
    assert "UBERON:0002048" in near.part_of


def test_develops_from_is_read_from_the_definitions() -> None:
    assert ontology.neighbours("CL:0011031").develops_from == ["CL:0000576"]


@pytest.mark.parametrize("term_id", ["CL:9999999", "XX:1", "nonsense"])
def test_an_unknown_id_is_an_error_that_names_it(term_id: str) -> None:
    with pytest.raises(OntologyError, match=term_id):
        ontology.ancestors(term_id)
