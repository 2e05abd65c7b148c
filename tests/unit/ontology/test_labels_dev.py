"""Quality on the labels of the shared data folder, where it is there."""

import csv
import os
from pathlib import Path

import pytest

from haystack.ontology import parents, resolve

DATA = Path(os.environ.get("HAYSTACK_DATA", Path(__file__).parents[4] / "shared" / "data"))
LABELS = DATA / "labels_dev.csv"


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
