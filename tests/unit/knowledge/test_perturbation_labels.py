"""Labels of perturbation atlases: combinations, guides, brackets, doses, and the direction that the atlas states."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from haystack.knowledge import (
    clean_name,
    effect_of,
    parts_of,
    resolve_label,
    resolve_perturbation,
)
from haystack.knowledge.names import key
from haystack.ontology.affixes import column_affixes, without_affixes


def name_of(label: str, hint: str, effect: str | None = None) -> str | None:
    found = resolve_label(label, hint, effect)
    return found.name if found else None


@pytest.mark.parametrize(
    ("effect", "name", "direction"),
    [
        ("knock-out", "CEBPA knock-out", -1),
        ("CRISPRi", "CEBPA knock-down", -1),
        ("CRISPRa", "CEBPA overexpression", 1),
        ("ORF", "CEBPA overexpression", 1),
        (None, "CEBPA perturbation", None),
    ],
)
def test_a_guide_gets_its_direction_from_the_atlas(effect: str | None, name: str, direction: int | None) -> None:
    for label in ("CEBPA", "sgCEBPA-1", "CEBPA+ctrl", "CEBPAg2"):
        found = resolve_label(label, "genetic", effect)
        assert found is not None
        assert (found.name, found.direction) == (name, direction)
        assert found.expected_targets.get("CEBPA") == direction


def test_the_label_s_own_direction_wins() -> None:
    assert name_of("STAT1 KO", "genetic", "CRISPRa") == "STAT1 knock-out"
    assert name_of("CRISPRi_MYC", "genetic") == "MYC knock-down"


def test_an_rna_that_silences_says_so_and_a_guide_of_controls_is_one() -> None:
    assert name_of("shTP53#2", "genetic") == "TP53 knock-down"
    assert name_of("sgCTRL_1", "genetic", "CRISPRi") is None  # CTRL is a gene's symbol too


def test_combinations_are_sets() -> None:
    literal = "[('Vemurafenib', 5.0, 'uM'), ('Trametinib', 0.5, 'uM')]"
    assert name_of(literal, "drug") == "trametinib + vemurafenib"
    assert name_of("KLF1_AHR", "genetic", "CRISPRa") == name_of("AHR+KLF1", "genetic", "CRISPRa")
    assert name_of("IL-4 + IL-13", "cytokine") == name_of("IL13/IL4", "cytokine") == "IL-13 + IL-4"
    both = resolve_label("IFN-gamma + IL-4", "cytokine")
    one, other = resolve_label("IFN-gamma", "cytokine"), resolve_label("IL-4", "cytokine")
    assert both
    assert one
    assert other
    assert set(both.targets) == {*one.targets, *other.targets}
    against = {gene for gene, way in one.expected_targets.items() if other.expected_targets.get(gene, way) != way}
    assert not against & set(both.expected_targets)


@pytest.mark.parametrize(
    "label", ["non-targeting", "NTg3", "NegCtrl0_NegCtrl10", "ctrl+ctrl", "UNICORN1_2", "KLF1_UNICORN1"]
)
def test_controls_and_what_is_not_fully_understood_are_no_perturbation(label: str) -> None:
    assert resolve_label(label, "genetic", "CRISPRi") is None


def test_affixes_of_a_column_are_no_part_of_its_names() -> None:
    labels = [
        "drug:ruxolitinib_24h",
        "drug:tofacitinib_24h",
        "drug:dexamethasone_24h",
        "drug:a_24h",
        "drug:b_24h",
        "DMSO",
    ]
    affixes = column_affixes(labels)
    assert [without_affixes(label, affixes) for label in labels[:2]] == ["ruxolitinib", "tofacitinib"]
    assert column_affixes(["IL-2", "IL-4", "IL-13", "IL-15"]) == ("", "")


def test_the_effect_column_is_read_in_the_words_of_its_authors() -> None:
    words = {
        "CRISPR-cas9": "knock-out",
        "CRISPRi": "CRISPRi",
        "knockdown": "CRISPRi",
        "CRISPRa": "CRISPRa",
        "ORF": "ORF",
    }
    words |= {"overexpression": "ORF", "KO": "knock-out", "dCas9-KRAB": "CRISPRi", "drug": None, "control": None}
    assert {text: effect_of(text) for text in words} == words


LABELS = Path(__file__).parents[2] / "data" / "perturbation_labels.tsv"


def test_labels_of_public_atlases() -> None:
    """Of each kind at least 95 % get the right name and 85 % are known; `-` is no perturbation.

    A drug that no table knows is named by its label without brackets and salts, so that two atlases agree on it.
    """
    with LABELS.open(encoding="utf-8", newline="") as handle:
        rows = list(csv.DictReader(handle, delimiter="\t"))
    right: dict[str, list[bool]] = {}
    known: dict[str, list[bool]] = {}
    for row in rows:
        kind, means = row["kind"], row["means"].split("|")
        found = resolve_label(row["label"], kind, "CRISPRi" if kind == "genetic" else None)
        name = found.name if found else clean_name(row["label"]) if kind == "drug" else "-"
        if kind == "genetic" and found:
            name = "+".join(part.rsplit(" ", 1)[0] for part in parts_of(name))
        wanted = {key(text) for text in means} | {key(p.name) for text in means if (p := resolve_perturbation(text))}
        right.setdefault(kind, []).append(key(name) in wanted)
        if means != ["-"]:
            known.setdefault(kind, []).append(found is not None)
    for kind in right:
        assert sum(right[kind]) >= 0.95 * len(right[kind]), kind
        assert sum(known[kind]) >= 0.85 * len(known[kind]), kind


@pytest.mark.parametrize(
    "label", ["-IL2", "IL2-", "IL2(-)", "LPS_neg", "w/o IL2", "no LPS", "without IL-2", "minus IL-4"]
)
@pytest.mark.parametrize("hint", ["unknown", "genetic"])
def test_what_a_label_says_is_absent_is_no_perturbation(label: str, hint: str) -> None:
    assert name_of(label, hint) is None


@pytest.mark.parametrize(
    ("label", "name"),
    [
        ("LPS-6h", "lipopolysaccharide"),
        ("IFNg.24h", "IFN-gamma"),
        ("6hr LPS", "lipopolysaccharide"),
        ("BMP-4 10 ng", "BMP4"),
        ("SARS-CoV-2 MOI 0.1", "SARS-CoV-2"),
        ("IFNg 20 ng/ml 72h", "IFN-gamma"),
        ("DMSO + IFNg", "IFN-gamma"),
        ("LPS_IgG", "lipopolysaccharide"),
    ],
)
def test_doses_times_and_control_arms_say_nothing_of_the_substance(label: str, name: str) -> None:
    assert name_of(label, "unknown") == name
    assert name_of("LPS-0h", "unknown") is None  # a control


@pytest.mark.parametrize("label", ["HG", "PA_3h", "Eto", "Dara", "Pio", "FGF", "saline", "NaCl"])
def test_a_short_form_that_the_tables_lack_is_unknown(label: str) -> None:
    assert name_of(label, "unknown") is None  # no mercury, paeonol, ethylene oxide, sparsentan, pemoline, FGF10


def test_the_change_of_a_gene_is_not_that_of_the_protein_given_behind_it() -> None:
    assert name_of("IRF1 KO + IFNg", "genetic") == name_of("IRF1_KO_IFNG", "genetic") == "IFN-gamma + IRF1 knock-out"
    assert name_of("STAT1 + STAT2 KO", "genetic") == "STAT1 knock-out + STAT2 knock-out"
