"""`contexts.h5ad` of a run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from scipy import sparse

from haystack.atlas import harmonize_atlas
from haystack.config import Settings
from haystack.contracts import ExpectedAccuracy, read_contexts, read_json, write_json
from haystack.query import parse_question
from haystack.transfer import estimate_response, measure_contexts

B_CELLS = {"cell_type": ["B cells"], "perturbation": ["IFN-beta"]}


def _measure(study, folder: Path, **sections):
    write_json(folder / "query.json", parse_question("How would B cells respond to interferon beta?"))
    settings = Settings(**{"retrieval": {"exclude": [B_CELLS]}, "prompting": {"query_cells": 40}, **sections})
    out = folder / "contexts.h5ad"
    measure_contexts(
        folder / "query.json", study.cell_sets, {"study": study.cells}, {"study": study.entry}, out, settings
    )
    return read_contexts(out)


def test_rows_are_halves_of_the_arms_of_each_context(study, tmp_path: Path) -> None:
    made = study({"d1": "both", "d2": "both"})
    found = _measure(made, tmp_path)
    obs = found.obs
    assert set(obs["arm"]) == {"perturbed", "control", "query"}
    contexts = obs[obs["arm"] != "query"]
    assert contexts["context_id"].nunique() == 6  # three types x two donors, B cells held out
    assert not (contexts["cell_type_name"].str.contains("B cell") & (contexts["arm"] == "perturbed")).any()
    assert set(contexts["n_cells"]) == {30}
    one = contexts[(contexts["cell_type_name"] == "natural killer cell") & (contexts["donor_id"] == "study:d2")]
    assert one["half"].tolist() == [0, 1, 0, 1]
    source = made.source
    counts = source.X.toarray()
    own = ((source.obs["type"] == "NK cells") & (source.obs["donor"] == "d2")).to_numpy()
    for arm, label in (("perturbed", "IFN-beta"), ("control", "PBS")):
        cells = counts[own & (source.obs["treatment"] == label).to_numpy()]
        expected = (1e4 * cells / cells.sum(axis=1, keepdims=True)).mean(axis=0)
        mean = found[one.index[one["arm"] == arm]].X.mean(axis=0)
        np.testing.assert_allclose(mean, expected, rtol=1e-5)


def test_cells_are_sampled_up_to_a_limit_and_the_same_ones_again(study, tmp_path: Path) -> None:
    made = study({"d1": "both", "d2": "both"})
    first, again = (_measure(made, tmp_path, transfer={"max_cells": 24}) for _ in range(2))
    assert set(first.obs.loc[first.obs["arm"] != "query", "n_cells"]) == {12}
    assert np.array_equal(first.X, again.X)


def test_query_cells_are_no_control_cells(study, tmp_path: Path) -> None:
    """The asked type is measured: its control cells and the query cells are disjoint."""
    made = study({"d1": "both"}, n=60)
    found = _measure(made, tmp_path, retrieval={})
    own = found.obs["cell_type_name"].eq("B cell") & found.obs["arm"].eq("control")
    query = found.obs["arm"] == "query"
    assert found.obs.loc[own | query, "n_cells"].sum() == 60


def test_no_context_leaves_the_query_cells(study, tmp_path: Path) -> None:
    everything = [{"perturbation": ["IFN-beta"]}]
    found = _measure(study({"d1": "both"}), tmp_path, retrieval={"exclude": everything})
    assert set(found.obs["arm"]) == {"query"}


def test_doubts_about_an_atlas_stand_beside_the_accuracy(study, tmp_path: Path) -> None:
    """A third of the cells is empty."""
    made = study({"d1": "both", "d2": "both"})
    cells = made.source
    cells.X = sparse.csr_matrix(cells.X.multiply(np.arange(cells.n_obs)[:, None] % 3 > 0))
    cells.write_h5ad(made.entry.path)
    harmonize_atlas("study", made.entry, made.cells, tmp_path / "mapping.tsv")
    _measure(made, tmp_path)
    estimate_response(tmp_path / "contexts.h5ad", tmp_path / "t.parquet", tmp_path / "accuracy.json", 1.0)
    notes = read_json(tmp_path / "accuracy.json", ExpectedAccuracy).notes
    assert [note for note in notes if note.startswith("atlas study: 3") and "have no counts at all" in note]
    assert not [note for note in notes if "known human symbols" in note]  # of the intake report, not of each answer
