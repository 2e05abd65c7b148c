from __future__ import annotations

import math

import pytest

from haystack import ontology
from haystack.retrieval.celltypes import LEAST_LINEAGE, Relation, lineage_likeness, relate

MONOCYTE, CLASSICAL, NON_CLASSICAL = "CL:0000576", "CL:0000860", "CL:0000875"


def test_kinds_and_hops_follow_the_ontology() -> None:
    parent = ontology.parents(MONOCYTE)[0]
    child = ontology.children(MONOCYTE)[0]
    found = relate(MONOCYTE, [MONOCYTE, parent, child])
    assert found[MONOCYTE] == Relation("same", 0)
    assert found[parent] == Relation("ancestor", 1)
    assert found[child] == Relation("descendant", 1)
    sibling = relate(CLASSICAL, [NON_CLASSICAL])[NON_CLASSICAL]
    assert sibling == Relation("relative", 2)


def test_closer_is_better_and_parents_come_before_children_before_relatives() -> None:
    ladder = [Relation("same", 0)]
    for hops in range(1, 11):
        ladder += [Relation("ancestor", hops), Relation("descendant", hops), Relation("relative", hops)]
    values = [relation.closeness for relation in ladder]
    assert values == sorted(values, reverse=True)
    assert len(set(values)) == len(values)
    assert all(0 < value <= 1 for value in values)


def test_relatives_through_an_ancestor_that_says_nothing_are_no_relatives() -> None:
    endothelial, myeloid = "CL:0000115", "CL:0000763"
    assert ontology.distance(endothelial, myeloid) == 2
    assert myeloid not in relate(endothelial, [myeloid])


def test_lineage_likeness_is_lins_similarity() -> None:
    """Against a brute-force count of subclasses that walks `children` only."""

    def below(term: str) -> set[str]:
        found, todo = set(), [term]
        while todo:
            now = todo.pop()
            if now not in found:
                found.add(now)
                todo += ontology.children(now)
        return found

    total = len(below("CL:0000000"))

    def content(term: str) -> float:
        return -math.log(len(below(term)) / total)

    b, t, monocyte = "CL:0000236", "CL:0000084", "CL:0001054"
    common = ({b, *ontology.ancestors(b)}) & ({t, *ontology.ancestors(t)})
    expected = 2 * max(content(term) for term in common) / (content(b) + content(t))
    found = lineage_likeness(b, [b, t, monocyte, "an unmapped label"])
    assert found[t] == pytest.approx(expected)
    assert found[b] == pytest.approx(1)
    assert found[t] > found[monocyte] >= LEAST_LINEAGE
    assert "an unmapped label" not in found


def test_unmapped_types_match_only_themselves() -> None:
    assert relate("odd cell", ["odd cell", MONOCYTE]) == {"odd cell": Relation("same", 0)}
    assert relate(None, [MONOCYTE]) == {}
    assert relate("CL:9999999", [MONOCYTE]) == {}


def test_relations_read_as_sentences() -> None:
    assert Relation("ancestor", 1).words("lymphocyte", "B cell") == (
        "lymphocyte is a broader type of B cell (1 step up in the Cell Ontology)"
    )
    assert "sibling" in Relation("relative", 2).words("T cell", "B cell")


def test_a_cell_line_is_neither_its_type_nor_another_line_of_that_type():
    """A-375 and SK-MEL-28 are melanoma lines: both come from melanocytes (CL:0000148), and are not the same cells."""
    line = relate("CL:0000148", ["a375", "sk-mel-28", "CL:0000148", "b cell"], line="A-375")
    assert (line["a375"].kind, line["a375"].closeness) == ("same", 1)
    assert line["sk-mel-28"].kind == line["CL:0000148"].kind == "line"
    assert 0 < line["sk-mel-28"].closeness < 1
    assert "b cell" not in line
    primary = relate("CL:0000148", ["a375", "CL:0000148"])
    assert (primary["a375"].kind, primary["CL:0000148"].kind) == ("line", "same")
