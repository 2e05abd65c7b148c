"""Labels of cell types resolve to the term that the words allow."""

import csv
from pathlib import Path

import pytest

from haystack.errors import OntologyError
from haystack.ontology import ancestors, label, resolve
from haystack.ontology.celltypes import THRESHOLD
from haystack.ontology.index import ontology

OWN = Path(__file__).parents[2] / "data" / "labels_own.tsv"


def best(text: str) -> str | None:
    found = resolve("cell-type", text)
    return label(found[0].id) if found else None


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("CD14 Mono", "CD14-positive monocyte"),
        ("CD4 TCM", "central memory CD4-positive, alpha-beta T cell"),
        ("CD8 TEM", "effector memory CD8-positive, alpha-beta T cell"),
        ("NK_CD56bright", "CD16-negative, CD56-bright natural killer cell, human"),
        ("AT2", "pulmonary alveolar type 2 cell"),
        ("PT", "epithelial cell of proximal tubule"),
        ("CD4+/CD25 T Reg", "CD4-positive, CD25-positive, alpha-beta regulatory T cell"),
        ("B naive", "naive B cell"),
        ("HSPC", "hematopoietic precursor cell"),
        ("ILC2", "group 2 innate lymphoid cell"),
        ("Treg", "regulatory T cell"),
        ("pDC", "plasmacytoid dendritic cell"),
        ("cDC1", "CD141-positive myeloid dendritic cell"),
        ("cDC2", "CD1c-positive myeloid dendritic cell"),
        ("gdT", "gamma-delta T cell"),
        ("lung fibroblast", "fibroblast of lung"),
        ("pulmonary fibroblasts", "fibroblast of lung"),
        ("Fibroblasts of the lung", "fibroblast of lung"),
        ("fibroblsts", "fibroblast"),
        ("haematopoietic stem cells", "hematopoietic stem cell"),
        ("β cells", "type B pancreatic cell"),
        ("ChoroidPlexus epithelial cell", "choroid plexus epithelial cell"),
    ],
)
def test_what_people_and_atlases_write(text: str, name: str) -> None:
    assert best(text) == name


def test_double_positive_monocytes_are_neither_of_the_other_classes() -> None:
    claimed = resolve("cell-type", "CD14+CD16+ monocytes")[0].id
    assert claimed in {"CL:0002397", "CL:0002393", "CL:0001055"}
    assert not {"CL:0000860", "CL:0000875"} & {claimed, *ancestors(claimed)}


@pytest.mark.parametrize(
    ("text", "never"),
    [
        ("central memory T cell", "cd4"),
        ("central memory T cell", "cd8"),
        ("cycling cells", "t cell"),
        ("fibroblast", "lung"),
    ],
)
def test_no_claim_is_more_specific_than_the_words(text: str, never: str) -> None:
    assert never not in (best(text) or "").lower()


def test_opposite_signs_exclude_a_term() -> None:
    names = [match.name for match in resolve("cell-type", "CD14+CD16- monocytes")]
    assert names[0] == "CD14-positive, CD16-negative classical monocyte"
    assert "CD14-positive, CD16-positive monocyte" not in names


@pytest.mark.parametrize(
    "text", ["Doublet", "Unknown", "unicorn cells", "cluster 12", "", "   ", "house", "n/a", "🧬", "x" * 5000]
)
def test_nothing_is_claimed_for_what_is_no_cell_type(text: str) -> None:
    assert resolve("cell-type", text) == []


def test_claims_are_ranked_and_bounded() -> None:
    found = resolve("cell-type", "CD8 T cells", top=3)
    scores = [match.score for match in found]
    assert len(found) <= 3
    assert scores == sorted(scores, reverse=True)
    assert all(THRESHOLD <= score <= 1 for score in scores)


def test_identifiers_resolve_to_themselves_and_deprecated_ones_to_their_replacement() -> None:
    assert resolve("cell-type", "CL:0000236")[0].name == "B cell"
    assert resolve("cell-type", "CL_0000236")[0].method == "id"
    old = next(
        t for t in ontology("CL").terms.values() if t.obsolete and t.replaced_by and t.replaced_by.startswith("CL:")
    )
    assert resolve("cell-type", old.id)[0].id == ontology("CL").current(old.id) != old.id
    assert resolve("cell-type", "CL:9999999") == []


def test_every_name_of_the_ontology_leads_back_to_its_term() -> None:
    cl = ontology("CL")
    terms = [term for at, term in enumerate(cl.terms.values()) if at % 17 == 1 and not term.obsolete]
    missed = [t.label for t in terms if t.id not in {match.id for match in resolve("cell-type", t.label)}]
    assert missed == []


def test_an_unknown_kind_is_an_error() -> None:
    with pytest.raises(OntologyError, match=r"unknown kind 'organ'.*cell-type"):
        resolve("organ", "lung")


def test_own_labels_reach_the_quality_asked_for() -> None:
    with OWN.open(encoding="utf-8", newline="") as handle:
        rows = list(csv.DictReader(handle, delimiter="\t"))
    right = sum(
        bool(found := resolve("cell-type", row["label"], 1)) and found[0].id in row["id"].split("|") for row in rows
    )
    assert len(rows) > 200
    assert right / len(rows) >= 0.95
