"""A dataset that is listed twice counts once, whatever its cells, donors and genes are called."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import anndata as ad
import numpy as np
import pytest
from scipy import sparse

from haystack.atlas import harmonize_atlas, index_cell_sets
from haystack.config import Settings
from haystack.contracts import ExpectedAccuracy, read_contexts, read_json, write_json
from haystack.grounding.support import measurements_of
from haystack.query import parse_question
from haystack.transfer import estimate_response, measure_contexts
from haystack.transfer.copies import BUCKETS, marks_of


def test_marks_are_equal_for_equal_counts_only() -> None:
    rng = np.random.default_rng(0)
    counts = rng.poisson(1.0, (20, 400))
    genes = [f"G{i}" for i in range(400)]
    marks = marks_of(sparse.csr_matrix(counts), genes)
    assert marks.shape == (20, BUCKETS)
    assert len(np.unique(marks)) == marks.size  # no coincidence
    order = rng.permutation(400)
    assert np.array_equal(marks_of(sparse.csr_matrix(counts[:, order]), [genes[i] for i in order]), marks)
    part = marks_of(sparse.csr_matrix(counts[:, 3:]), genes[3:])  # a copy without some genes
    assert ((part == marks).sum(axis=1) >= BUCKETS - 3).all()
    assert not marks_of(sparse.csr_matrix(counts[:, :50]), genes[:50]).any()  # too few genes to tell


def measured(atlases: dict, folder: Path, **settings: object) -> tuple[ad.AnnData, ExpectedAccuracy]:
    """Contexts and expected accuracy of a question that two atlases (name -> (entry, cells)) measure."""
    index_cell_sets({name: cells for name, (_, cells) in atlases.items()}, folder / "sets.parquet")
    write_json(folder / "query.json", parse_question("How would B cells respond to interferon beta?"))
    measure_contexts(
        folder / "query.json",
        folder / "sets.parquet",
        {name: cells for name, (_, cells) in atlases.items()},
        {name: entry for name, (entry, _) in atlases.items()},
        folder / "contexts.h5ad",
        Settings(prompting={"query_cells": 20}, **settings),
    )
    estimate_response(folder / "contexts.h5ad", folder / "t.parquet", folder / "accuracy.json", 1.0)
    return read_contexts(folder / "contexts.h5ad"), read_json(folder / "accuracy.json", ExpectedAccuracy)


@pytest.fixture
def twice(study: Callable, tmp_path: Path) -> Callable:
    """`twice(treated, part)`: a study, and a copy of a part of its cells with other names and without some genes."""

    def make(treated: dict[str, str], part: float = 1.0, **columns: str | None) -> dict:
        made = study(treated)
        cells = made.source
        rng = np.random.default_rng(1)
        copy = cells[np.sort(rng.permutation(cells.n_obs)[: int(part * cells.n_obs)]), 5:].copy()
        copy.obs_names = [f"x{i}" for i in range(copy.n_obs)]
        copy.obs["donor"] = "person " + copy.obs["donor"].astype(str).str[1:]
        copy.write_h5ad(tmp_path / "copy.h5ad")
        found = {}
        for name, path in (("first", made.entry.path), ("second", str(tmp_path / "copy.h5ad"))):
            obs = made.entry.obs.model_copy(update=columns)
            entry = made.entry.model_copy(update={"path": path, "obs": obs})
            harmonize_atlas(name, entry, tmp_path / f"{name}.parquet", tmp_path / f"{name}.tsv")
            found[name] = (entry, tmp_path / f"{name}.parquet")
        return found

    return make


@pytest.mark.parametrize("part", [1.0, 0.7])
def test_one_donor_listed_twice_is_one_donor(twice: Callable, tmp_path: Path, part: float) -> None:
    found, accuracy = measured(twice({"d1": "both"}, part), tmp_path)
    contexts = found.obs[found.obs["arm"] != "query"]
    assert contexts["context_id"].nunique() == 4
    assert set(contexts["atlas"]) == {"first"}
    assert set(contexts["control_donors"]) == {"first:d1;second:person 1"}
    assert accuracy.r is None
    support = measurements_of(found)
    assert support is not None
    assert support.n_agreeing == 0
    assert not support.outside({"second:person 1"}).any()  # a prompt of the copy's cells is no independent prediction
    assert any("atlases first and second hold the same cells" in note for note in accuracy.notes)


def test_two_donors_listed_twice_are_two_donors(twice: Callable, tmp_path: Path) -> None:
    found, accuracy = measured(twice({"d1": "both", "d2": "both"}), tmp_path)
    assert accuracy.n_donors == 2
    support = measurements_of(found)
    assert support is not None
    assert support.n_agreeing == 2


def test_copies_without_donors_are_no_two_experiments(twice: Callable, tmp_path: Path) -> None:
    found, accuracy = measured(twice({"d1": "both"}, donor=None), tmp_path)
    assert found.obs.loc[found.obs["arm"] != "query", "atlas"].nunique() == 1
    assert accuracy.independence == "within one experiment"


@pytest.mark.parametrize(("n_genes", "kept"), [(300, 8), (200, 8), (20, 4)])
def test_other_atlases_stay_unless_they_measure_few_genes(
    study: Callable, tmp_path: Path, n_genes: int, kept: int
) -> None:
    """A panel of 20 genes would take the other 280 from the contexts of the other atlas."""
    atlases = {}
    for seed, name in enumerate(("first", "second")):
        made = study({"d1": "both"}, seed=seed)
        folder = tmp_path / name
        made.source[:, : n_genes if seed else 300].copy().write_h5ad(tmp_path / f"{name}.h5ad")
        entry = made.entry.model_copy(update={"path": str(tmp_path / f"{name}.h5ad")})
        harmonize_atlas(name, entry, folder / "cells.parquet", folder / "mapping.tsv")
        atlases[name] = (entry, folder / "cells.parquet")
    found, _ = measured(atlases, tmp_path)
    notes = [str(note) for note in found.uns["notes"]]
    assert len(notes) == 1
    if kept == 8:
        assert notes[0].startswith("donors of the same name (d1) in first and second count as different people")
    else:
        assert notes == ["second measures 20 genes only and is not compared"]
    assert found.obs.loc[found.obs["arm"] != "query", "context_id"].nunique() == kept
