"""Perturbations are found in sentences, with their places; cell types and common words are not taken."""

import csv
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from haystack.knowledge.mentions import find_substances

DATA = Path(os.environ.get("HAYSTACK_DATA", Path(__file__).parents[4] / "shared/data"))

SENTENCES = {
    "How would CD4 T cells respond to IFN-beta?": [("IFN-beta", "IFN-beta")],
    "What happens to CD14+ monocytes treated with IL-2 or IL-15?": [("IL-2", "IL-2"), ("IL-15", "IL-15")],
    "Knock out STAT1 in B cells and treat with IFN-γ": [
        ("IFN-γ", "IFN-gamma"),
    ],
    "Effect of 10 nM mebendazole on NK cells": [("mebendazole", "mebendazole")],
    "TNF blockade in synovial fibroblasts": [("TNF blockade", "TNF blockade")],
    "Predict CD8 T cells under anti-IL-15": [("anti-IL-15", "anti-IL-15")],
    "NK cells with ibrutinib + IL-15 (10 ng/ml)": [("ibrutinib", "ibrutinib"), ("IL-15", "IL-15")],
    "monocytes given transforming growth factor beta 1": [("transforming growth factor beta 1", "TGF-beta1")],
    "fibroblasts under the JAK inhibitor ruxolitinib": [
        ("JAK inhibitor", "JAK inhibitor"),
        ("ruxolitinib", "ruxolitinib"),
    ],
    "T cells after PMA/ionomycin": [("PMA/ionomycin", "PMA and ionomycin")],
    "interleukin-1 beta and interleukin 6 in hepatocytes": [
        ("interleukin-1 beta", "IL-1-beta"),
        ("interleukin 6", "IL-6"),
    ],
    "hepatocytes, paracetamol 5 mM": [("paracetamol", "paracetamol")],
    "how would monocytes respond to beta interferon?": [("beta interferon", "IFN-beta")],
    "exhausted T cells under checkpoint blockade": [("checkpoint blockade", "PD-1 or PD-L1 antibody")],
    "LIGHT on B cells": [("LIGHT", "LIGHT")],
    "imatinib mesylate in mast cells": [("imatinib mesylate", "imatinib")],
    "How do B cells respond to recombinant human IL-21?": [("recombinant human IL-21", "IL-21")],
}


@pytest.mark.parametrize(("sentence", "expected"), SENTENCES.items())
def test_mentions_with_their_places(sentence, expected):
    found = find_substances(sentence, [])
    assert [(sentence[start:end], perturbation.name) for start, end, perturbation in found] == expected
    assert all(perturbation.query == sentence[start:end] for start, end, perturbation in found)


@pytest.mark.parametrize(
    "sentence",
    [
        "What do CD4+ CD25+ T reg cells look like in the light of April?",
        "Impute plasma cells of donor 12 from the bone marrow of a healthy woman; leave the trail of evidence.",
        "IFN-gamma-producing Th1 cells and IL-17+ T cells",
        "cells expressing the IL-2 receptor, IL-10 secreting B cells, CD40L positive T cells",
        "What does water do to the cells?",
        "Was the rest of the set large, and is a cat an animal?",
        "severe combined immunodeficiency due to JAK3 deficiency",
        "ibrutinib-resistant lymphoma, insulin resistance, TPO antibodies, Trail and tweak",
        "😀 <script>alert(1)</script> '; DROP TABLE drugs; --",
        "",
    ],
)
def test_nothing_is_found_where_nothing_is_done(sentence):
    assert find_substances(sentence, []) == []


def test_labels_of_cell_types_hold_no_perturbation():
    from haystack.ontology import resolve

    table = DATA / "labels_dev.csv"
    if not table.exists():
        pytest.skip("shared data are absent")
    with table.open(encoding="utf-8") as handle:
        labels = {row[column] for row in csv.DictReader(handle) for column in ("Annotation_Label", "CL_Label")}
    taken = [label for label in labels if find_substances(f"How would {label} respond?", [])]
    assert len(labels) > 500
    assert len(taken) <= 1, taken
    assert resolve("cell-type", "B cell")


@pytest.mark.parametrize("unit", ["(a-", "IL-2 ", "word and cells ", "KO ", "interferon", " ", "((("])
def test_ten_thousand_characters_take_no_time(unit):
    import time

    start = time.process_time()
    find_substances((unit * 10_000)[:10_000], [])
    assert time.process_time() - start < 10, "about 0.2 s on an idle machine; a quadratic rule took 33 s"


@given(st.text(alphabet="IFNL-ab12 βγ()+/,;KOSTA", max_size=60))
def test_spans_are_in_order_and_never_overlap(text):
    end = 0
    for start, stop, perturbation in find_substances(text, []):
        assert end <= start < stop <= len(text)
        assert perturbation.query == text[start:stop]
        end = stop
