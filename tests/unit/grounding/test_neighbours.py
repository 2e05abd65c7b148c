"""Methods side by side on the same genes."""

from __future__ import annotations

import numpy as np
import pandas as pd

from haystack.config import DESettings
from haystack.contracts import ExpectedAccuracy
from haystack.grounding.neighbours import compare_methods

ACCURACY = ExpectedAccuracy(
    r=0.6, low=0.4, high=0.7, asked_is_measured=True, methods={"transfer": 0.6, "additive": 0.5, "no_change": 0.0}
)


def test_all_methods_stand_in_one_table() -> None:
    measured = np.array([2.0, -1.0, 0.8, 0.1])
    genes = ["A", "B", "C", "D"]
    estimates = pd.DataFrame({"gene": genes, "log2fc": measured, "se": [0.1, 0.1, 2.0, 0.1], "additive": -measured})
    prediction = pd.DataFrame({"gene": ["C", "A", "E"], "log2fc": [0.4, 1.0, 3.0], "is_de": [False, True, True]})
    rows = {row.method: row for row in compare_methods(ACCURACY, None, estimates, prediction, DESettings())}
    assert list(rows) == ["no_change", "additive", "transfer", "model"]
    assert (rows["no_change"].r_left_out, rows["no_change"].r_with_transfer, rows["no_change"].n_called) == (0, None, 0)
    assert rows["additive"].r_with_transfer == -1
    assert rows["additive"].n_called == 0  # every sign contradicts what was measured
    assert (rows["transfer"].r_with_transfer, rows["transfer"].slope, rows["transfer"].n_called) == (1, 1, 2)
    assert (rows["model"].slope, rows["model"].n_called, rows["model"].r_left_out) == (0.5, 2, None)


def test_nothing_measured_leaves_the_table_empty_but_for_names() -> None:
    unknown = ExpectedAccuracy(r=None, reason="cannot be estimated, because ...", asked_is_measured=False)
    empty = pd.DataFrame({"gene": [], "log2fc": [], "se": [], "additive": []})
    rows = compare_methods(unknown, None, empty, None, DESettings())
    assert [(row.method, row.r_left_out, row.n_called) for row in rows][2] == ("transfer", None, None)
