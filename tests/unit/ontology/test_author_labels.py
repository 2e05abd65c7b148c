"""Author labels: glued words, compounds, heads with genes and states beside them, short forms of several types."""

from __future__ import annotations

import pytest

from haystack.ontology import resolve, resolve_name
from haystack.ontology.celllabels import CALIBRATED, calibrated, spaced
from haystack.ontology.index import kind_ontology, ontology
from haystack.ontology.shortforms import ambiguous

LUNG, COLON, HEART, BRAIN = "UBERON:0002048", "UBERON:0001155", "UBERON:0000948", "UBERON:0000955"
KIDNEY, TONSIL, RETINA = "UBERON:0002113", "UBERON:0002372", "UBERON:0000966"


def top(label: str, tissue: str | None = None) -> str | None:
    found = resolve("cell-type", label, 1, tissue)
    return found[0].name if found else None


@pytest.mark.parametrize(
    ("label", "words"),
    [
        ("CD4T", "CD4 T"),
        ("naiveBCell", "naive B Cell"),
        ("EndothelialCell", "Endothelial Cell"),
        ("dVSMC", "VSMC"),
        ("hTreg", "Treg"),
        ("pDC", "pDC"),
        ("gdT", "gdT"),
        ("iNKT", "iNKT"),
        ("Peribronchial", "Peribronchial"),
        ("SELENOP", "SELENOP"),
    ],
)
def test_glued_words_are_told_apart_where_every_piece_is_known(label: str, words: str) -> None:
    assert spaced(label) == words


@pytest.mark.parametrize(
    ("label", "name"),
    [
        ("GZMK CD8 T cell", "CD8-positive, alpha-beta T cell"),
        ("Mac_SPP1", "macrophage"),
        ("Fibro_CXCL14", "fibroblast"),
        ("Macro_c3-FOLR2", "macrophage"),
        ("CD4_C5-FOXP3", "CD4-positive, alpha-beta T cell"),
        ("beta_stress II", "type B pancreatic cell"),
        ("MT-high fibroblasts", "fibroblast"),
        ("Fibroblast-like endothelial cells", "endothelial cell"),
        ("Atria-enriched pericytes", "pericyte"),
        ("CM PreTfh", "T follicular helper cell"),
        ("Astro L1-6 FGFR3 ETNPPL", "astrocyte"),
        ("Interstitial macrophages", "macrophage"),
    ],
)
def test_the_part_that_names_a_type_speaks_for_the_label(label: str, name: str) -> None:
    assert top(label) == name
    assert resolve("cell-type", label, 1)[0].score < 0.85


@pytest.mark.parametrize(
    ("label", "name"),
    [
        ("T/NK", "lymphocyte"),
        ("NK & T cells", "lymphocyte"),
        ("Mono/Mac", "mononuclear phagocyte"),
        ("Th17/Tfh", "CD4-positive helper T cell"),
        ("Afferent / Efferent Arteriole Endothelial", "endothelial cell of arteriole"),
    ],
)
def test_a_compound_is_the_common_superclass(label: str, name: str) -> None:
    assert top(label) == name


def test_short_forms_of_several_types_are_claimed_only_where_the_tissue_decides() -> None:
    assert top("PC", KIDNEY) == "renal principal cell"
    assert top("PCs", TONSIL) == "plasma cell"
    assert top("HC", RETINA) == "retina horizontal cell"
    for short in ambiguous("cell-type"):
        assert all(match.score < 0.6 for match in resolve("cell-type", short))


@pytest.mark.parametrize("kind", ["cell-type", "disease"])
def test_every_meaning_of_a_short_form_is_a_current_term_with_places_that_differ(kind: str) -> None:
    for short, rows in ambiguous(kind).items():
        assert len(rows) > 1 or rows[0].tissues, short
        places = [place for row in rows for place in row.tissues]
        assert len(places) == len(set(places)), short
        for row in rows:
            assert not kind_ontology(kind).terms[row.term_id].obsolete
            assert all(place in ontology("UBERON").terms for place in row.tissues)


@pytest.mark.parametrize("label", ["Non-Neuronal", "non-T cells", "AFP_ALB positive cells", "SATB2+", "Outer surface"])
def test_nothing_is_claimed_where_no_part_names_a_type(label: str) -> None:
    assert resolve("cell-type", label) == []


def test_a_short_form_with_other_words_follows_the_tissue_too() -> None:
    assert top("PC1_vent", HEART) == "pericyte"
    assert top("Early PC precursor", TONSIL) == "plasma cell"


def test_questions_do_not_take_a_part_for_the_whole() -> None:
    assert resolve("cell-type", "GZMK CD8 T cell")
    assert not resolve_name("cell-type", "GZMK CD8 T cell")


def test_probabilities_rise_with_the_raw_score() -> None:
    for method in CALIBRATED:
        values = [calibrated(method, raw / 100) for raw in range(101)]
        assert values == sorted(values)
        assert 0.5 <= values[0] <= values[-1] < 1


@pytest.mark.parametrize(
    ("label", "tissue", "name"),
    [
        ("CF", LUNG, "cystic fibrosis"),
        ("CD", COLON, "Crohn disease"),
        ("ASD", HEART, "atrial septal defect"),
        ("ASD", BRAIN, "autism spectrum disorder"),
        ("AD", BRAIN, "Alzheimer disease"),
    ],
)
def test_short_forms_of_diseases_need_a_tissue(label: str, tissue: str, name: str) -> None:
    assert resolve("disease", label) == []
    assert resolve("disease", label, 1, tissue)[0].name == name


@pytest.mark.parametrize(
    ("label", "name"),
    [
        ("Crohn disease (non-inflamed)", "Crohn disease"),
        ("UC inflamed", "ulcerative colitis"),
        ("COPD GOLD 4", "chronic obstructive pulmonary disease"),
        ("Stage III lung adenocarcinoma", "lung adenocarcinoma"),
        ("COVID-19_mild", "COVID-19"),
        ("RA (seropositive)", "rheumatoid arthritis"),
        ("none", "normal"),
    ],
)
def test_qualifiers_are_no_part_of_a_disease(label: str, name: str) -> None:
    assert resolve("disease", label, 1)[0].name == name


@pytest.mark.parametrize(
    "label", ["MM", "MDD", "RP", "H", "BD", "Chronic HP", "LN met", "SSc-ILD", "IDH-mutant astrocytoma"]
)
def test_a_disease_is_not_guessed(label: str) -> None:
    """Two letters have many meanings, and a name that says more than the label is another disease."""
    assert resolve("disease", label) == []
