"""Quality on the labels of the shared data folder, where it is there."""

import csv
import os
from pathlib import Path

import pytest

from haystack.ontology import parents, resolve

DATA = Path(os.environ.get("HAYSTACK_DATA", Path(__file__).parents[4] / "shared" / "data"))
LABELS = DATA / "labels_dev.csv"
DEVELOPMENT = {
    *("blood_L1", "bone marrow_L1", "Large_Intestine", "kidney_L1", "lung_L1", "heart_L1", "skeletal muscle_L1"),
    *("pancreas_L1", "Adult_Human_Skin_pkl", "Human_AdultAged_Hippocampus_pkl", "liver_L1"),
}


@pytest.mark.skipif(not LABELS.exists(), reason="shared data folder is absent")
def test_top_one_and_one_step_accuracy() -> None:
    with LABELS.open(encoding="utf-8", newline="") as handle:
        rows = [
            r for r in csv.DictReader(handle) if r["CL_Match"] == "skos:exactMatch" and r["CL_ID"].startswith("CL:")
        ]
    right = near = 0
    for row in rows:
        found = resolve("cell-type", row["Annotation_Label"], 1)
        claim, gold = (found[0].id if found else ""), row["CL_ID"]
        right += claim == gold
        near += bool(claim) and (claim == gold or gold in parents(claim) or claim in parents(gold))
    assert right / len(rows) >= 0.88
    assert near / len(rows) >= 0.93


@pytest.mark.skipif(not LABELS.exists(), reason="shared data folder is absent")
def test_a_claim_is_as_likely_as_it_says() -> None:
    """Exact and narrow matches of the organs on which nothing was fitted (benchmarks/labels.py, part report)."""
    with LABELS.open(encoding="utf-8", newline="") as handle:
        rows = [
            r for r in csv.DictReader(handle) if r["CL_ID"].startswith("CL:") and r["Organ_Level"] not in DEVELOPMENT
        ]
    pairs = {(row["Annotation_Label"], row["CL_ID"]) for row in rows}
    sure, unsure = [], []
    for label, gold in sorted(pairs):
        found = resolve("cell-type", label, 1)
        if found:
            (sure if found[0].score >= 0.85 else unsure).append(found[0].id == gold)
    assert 0.80 <= sum(sure) / len(sure) <= 0.95
    assert 0.45 <= sum(unsure) / len(unsure) <= 0.75
