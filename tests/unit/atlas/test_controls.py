"""Control labels: patterns, missing values, numbers, booleans; what looks like a control and is not listed stops."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import yaml

from haystack.atlas import check_atlas, harmonize_atlas
from haystack.atlas.controls import looks_like_control
from haystack.errors import AtlasError

DONE = ["IFN-beta"] * 30


@pytest.fixture
def controls(cells, atlas, tmp_path):
    """Check and harmonise an atlas with the given labels (30 + DONE + 30); the rows of its controls."""

    def run(labels: object, listed: object, **changes: object) -> list[int]:
        cells.obs["treatment"] = labels
        entry = atlas(cells, control_labels=listed, **changes)
        check_atlas("mine", entry)
        harmonize_atlas("mine", entry, tmp_path / "c.parquet", tmp_path / "m.tsv")
        frame = pd.read_parquet(tmp_path / "c.parquet")
        return frame.loc[frame["is_control"], "row"].tolist()

    return run


@pytest.mark.parametrize(
    ("labels", "listed", "n"),
    [
        (["NT_1", "NT_2", "NT_3"] * 10 + DONE * 2, ["NT_*"], 30),
        (["Non-Targeting_1"] * 30 + DONE * 2, ["non-targeting*"], 30),
        (pd.Categorical([None] * 30 + DONE * 2), ["nan"], 30),
        (pd.Categorical([None] * 30 + DONE * 2), [None], 30),
        (pd.Categorical([None] * 30 + DONE * 2), [float("nan")], 30),
        (["none"] * 30 + DONE * 2, ["None"], 30),
        (np.array([0] * 30 + [1] * 60), [0], 30),
        (np.array([0.0] * 30 + [1.0] * 60), ["0"], 30),
        (np.array([True] * 30 + [False] * 60), [True], 30),
        (["no"] * 30 + DONE * 2, yaml.safe_load("[no]"), 30),
        (["control"] * 15 + ["DMSO"] * 15 + DONE * 2, ["dmso ", "Control"], 30),
    ],
)
def test_labels_of_every_kind(controls, labels, listed, n: int):
    assert controls(labels, listed) == list(range(n))


@pytest.mark.parametrize(
    "other", ["untreated", "Non-targeting_2", "safe-targeting", "Vehicle", "DMSO_TF", "mock", "NT"]
)
def test_what_looks_like_a_control_and_is_not_listed_stops(controls, other: str):
    labels = ["ctrl"] * 30 + [other] * 30 + DONE
    with pytest.raises(AtlasError, match=rf"look like controls.*{other}.*control_labels: \[ctrl, {other}\]"):
        controls(labels, ["ctrl"])
    assert len(controls(labels, ["ctrl", other])) == 60
    assert len(controls(labels, ["ctrl"], perturbation_names={other: other})) == 30


def test_many_guides_are_suggested_as_one_pattern(controls):
    labels = ["ctrl"] * 30 + ["non-targeting_1", "non-targeting_2", "non-targeting_3"] * 10 + DONE
    with pytest.raises(AtlasError, match=r"control_labels: \[ctrl, \"non-targeting_\*\"\]"):
        controls(labels, ["ctrl"])


def test_categories_without_cells_do_not_count(controls):
    labels = pd.Categorical(["ctrl"] * 30 + DONE * 2, categories=["ctrl", "untreated", "IFN-beta"])
    assert len(controls(labels, ["ctrl"])) == 30
    with pytest.raises(AtlasError, match="no cell of column 'treatment' has a control label"):
        controls(labels, ["untreated"])


@pytest.mark.parametrize(
    "labels", [np.arange(90) % 3, np.arange(90) % 3 == 0, np.array(["a", "b", "c"] * 30, dtype=object)]
)
def test_the_check_before_the_start_looks_into_every_kind_of_column(cells, atlas, labels):
    cells.obs["treatment"] = labels
    with pytest.raises(AtlasError, match="no cell of column 'treatment' has a control label"):
        check_atlas("mine", atlas(cells, control_labels=["PBS"]))


@pytest.mark.parametrize(
    "label",
    ["Untreated", "UNSTIM", "non targeting 7", "NegCtrl0_NegCtrl1", "ctrl+ctrl", "vehicle (0.1% DMSO)", "PBS 24h",
    "NTC",
     "Dimethyl sulfoxide", "('DMSO_TF', 0.0, 'uM')", "scrambled", "no treatment", "WT", "sgNT_3", "Safe-harbor",
     "Dexamethasone_0nM", "IFN-beta 0 h", "LPS_0.0ng/ml_rep1", "sgAAVS1-1", "placebo", "RPMI_24h"],
)  # fmt: skip
def test_controls_by_their_look(label: str):
    assert looks_like_control(label)


@pytest.mark.parametrize(
    "label",
    [
        "ctrl+KLF1",
        "IFN-beta",
        "TNF",
        "anti-CD3",
        "STAT1",
        "Dabrafenib",
        "PBX1",
        "MOCOS",
        "NTRK1",
        "CD3 control antibody",
        "Dexamethasone_10nM",
        "('Dabrafenib', 0.05, 'uM')",
        "LPS 100 ng/ml",
        "IL-2 1.0 h",
        "IL-10_donor0 male",
    ],
)
def test_treatments_by_their_look(label: str):
    assert not looks_like_control(label)
