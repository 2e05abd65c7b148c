"""Text as people write it becomes the same words."""

import pytest

from haystack.ontology.cellwords import is_abbreviation, words
from haystack.ontology.misspelt import completions, corrections
from haystack.ontology.normalise import american, key, plain, singular


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Fibroblasts of the lung", "fibroblast of lung"),
        ("haematopoietic stem cells", "hematopoietic stem cell"),
        ("oesophagus", "esophagus"),
        ("leukaemia", "Leukemia"),
        ("Alzheimer’s disease", "alzheimer's disease"),
        ("γδ T cell", "gamma delta T cell"),
        ("Müller cell", "Muller cell"),
        ("B‑cells", "b cell"),
        ("capillaries", "capillary"),
    ],
)
def test_key_makes_spellings_equal(one: str, other: str) -> None:
    assert key(one) == key(other)


@pytest.mark.parametrize("word", ["pancreas", "diabetes", "testis", "nucleus", "mucous", "fibrosis", "abs"[:2]])
def test_singular_leaves_words_that_are_no_plurals(word: str) -> None:
    assert singular(word) == word


def test_plain_spells_greek_and_folds_signs() -> None:
    assert plain("IFN‐γ⁺").split() == ["ifn-", "gamma", "+"]


def test_american_changes_stems_inside_words() -> None:
    assert american("tumour fibres of the centre") == "tumor fibers of the center"


@pytest.mark.parametrize(
    "label",
    [
        "CD14+ monocytes",
        "CD14-positive monocyte",
        "CD14⁺ Monocytes",
        "monocyte, CD14+",
        "CD14pos monocyte",
        "CD14 monocyte",
    ],
)
def test_a_positive_marker_is_one_word_however_written(label: str) -> None:
    assert set(words(label, expand=False)) == {"cd14", "monocyte"}


@pytest.mark.parametrize(
    ("label", "marker"),
    [
        ("CD16- NK cells", "cd16!neg"),
        ("CD16-negative NK cell", "cd16!neg"),
        ("CD16−CD56+ NK", "cd16!neg"),
        ("NK CD56bright", "cd56!high"),
        ("CD56hi NK", "cd56!high"),
        ("CD56-dim NK", "cd56!low"),
        ("CD14++ monocyte", "cd14!high"),
        ("CD14lo monocyte", "cd14!low"),
    ],
)
def test_signs_of_markers_are_kept(label: str, marker: str) -> None:
    assert marker in words(label, expand=False)


def test_genes_of_markers_are_the_markers() -> None:
    assert words("FCGR3A+ cell", expand=False) == words("CD16+ cell", expand=False)


def test_cluster_numbers_are_dropped_behind_an_underscore() -> None:
    assert words("CD4 TCM_1") == words("CD4 TCM")


def test_abbreviations_in_the_plural_and_in_any_case() -> None:
    assert is_abbreviation("cDC1s")
    assert is_abbreviation("TREG")
    assert not is_abbreviation("fibroblast")


def test_completions_take_the_commonest_word_and_only_for_cut_off_words() -> None:
    known = {"fibroblast": 5, "fibrocyte": 2, "fibro": 1}
    assert completions("fibr", known) == "fibroblast"
    assert completions("fib", known) is None
    assert completions("fibroblas", {"fibroblast": 5}) is None


def test_corrections_need_nearly_the_same_letters() -> None:
    known = {"fibroblast": 1, "osteoblast": 1}
    assert corrections("fibrobalst", known) == "fibroblast"
    assert corrections("unicornia", known) is None
