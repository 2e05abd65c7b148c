"""A run's prediction beside measured cells: the right cells are read, and figures tell good from bad."""

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from haystack.config import AtlasEntry, Settings
from haystack.contracts import (
    CELLS,
    Asked,
    ControlStrategy,
    Grounding,
    Perturbation,
    PromptGrounding,
    Refinement,
    StructuredQuery,
    TaskType,
    read_json,
    write_cells,
    write_json,
    write_predictions,
    write_table,
)
from haystack.contracts.validation import Validation
from haystack.errors import GroundingError
from haystack.grounding import validate_prediction

GENES = [f"G{i}" for i in range(60)]
UP = slice(0, 12)
N = 60


def counts(rng, moved: bool, n: int = N) -> np.ndarray:
    mean = np.full(len(GENES), 4.0)
    if moved:
        mean[UP] *= 4
    return rng.poisson(mean, size=(n, len(GENES))).astype(np.float32)


def cells_of(rng, roles: dict[str, bool], prompt_id: str = "p1") -> ad.AnnData:
    """One block of `N` cells per role; true: the block shows the response."""
    x = np.vstack([counts(rng, moved) for moved in roles.values()])
    obs = pd.DataFrame({"role": np.repeat(list(roles), N), "prompt_id": prompt_id})
    obs.index = [f"{prompt_id}-{i}" for i in range(len(obs))]
    return ad.AnnData(sparse.csr_matrix(x), obs=obs, var=pd.DataFrame(index=GENES))


@pytest.fixture
def run(tmp_path):
    """Files of a run whose prompt p1 is right and whose prompt p2 predicts nothing; and the atlas with the truth."""
    rng = np.random.default_rng(0)
    parts = [
        cells_of(rng, {"perturbed": True, "control": False}, "p1"),
        cells_of(rng, {"perturbed": False, "control": False}, "p2"),
    ]
    predictions = ad.concat(parts)
    predictions.obs["query_cell_id"] = predictions.obs_names
    predictions.obs["gen_logit"] = 0.0
    predictions.layers["mean"] = predictions.X.copy()
    write_predictions(tmp_path / "predictions.h5ad", predictions)
    shown = ad.concat([cells_of(rng, {"prompt": True, "control_prompt": False}, prompt) for prompt in ("p1", "p2")])
    write_cells(tmp_path / "cells.h5ad", shown)

    atlas = ad.AnnData(sparse.csr_matrix(np.vstack([counts(rng, True), counts(rng, False, 2 * N)])))
    atlas.var_names = GENES
    atlas.obs_names = [f"cell{i}" for i in range(3 * N)]
    atlas.obs["label"] = "B cell"
    atlas.write_h5ad(tmp_path / "atlas.h5ad")
    frame = pd.DataFrame({column.name: None for column in CELLS.columns}, index=range(3 * N))
    frame["row"] = np.arange(3 * N)
    frame["cell_type_name"] = "B cell"
    frame["perturbation_original"] = ["stim"] * N + ["ctrl"] * 2 * N
    frame["is_control"] = [False] * N + [True] * 2 * N
    write_table(tmp_path / "cells.parquet", frame, CELLS)
    write_json(
        tmp_path / "query.json",
        StructuredQuery(
            raw_query="?",
            task_type=TaskType.PERTURBATION_NOVEL_CELL_TYPES,
            asked=Asked(
                perturbations=[Perturbation(query="stim", name="stim", expected_targets=dict.fromkeys(GENES[UP], 1))]
            ),
        ),
    )
    return tmp_path


def validate(folder, best, **filters) -> Validation:
    prompt = PromptGrounding(
        prompt_id=best, components={}, weights={}, control_strategy=ControlStrategy.SYNTHETIC_CONTROL,
        n_de=0, n_up=0, n_down=0,
    )  # fmt: skip
    grounding = Grounding(
        run_id="r", iteration=1, prompts=[prompt], best_prompt_id=best, composite_value=None,
        refinement=Refinement(sentence="none"),
    )  # fmt: skip
    write_json(folder / "grounding.json", grounding)
    truth = {
        "perturbed": {"perturbation": ["stim"]},
        "control": {"perturbation": ["ctrl"], "share": 0.5},
        **filters,
    }
    entry = AtlasEntry(path=str(folder / "atlas.h5ad"), obs={"cell_type": "label"})
    validate_prediction(
        query=folder / "query.json",
        predictions=folder / "predictions.h5ad",
        cells=folder / "cells.h5ad",
        grounding=folder / "grounding.json",
        atlases={"a": entry},
        tables={"a": folder / "cells.parquet"},
        out=folder / "validation.json",
        settings=Settings(validation=truth, enrichment={"libraries": {}, "regulons": None}),
    )
    return read_json(folder / "validation.json", Validation)


def test_right_prediction_reaches_the_ceiling_and_beats_no_change(run):
    rows = validate(run, "p1").conventions["generated against real control"]
    assert rows["prediction"]["pearson_delta"] > 0.9
    assert rows["prediction"]["overlap"] > 0.9
    assert rows["additive"]["pearson_delta"] > 0.9
    assert rows["prediction"]["mae_delta"] < rows["no_change"]["mae_delta"]
    assert abs(rows["permuted labels"]["pearson_delta"]) < 0.6


def test_only_the_best_prompt_is_compared(run):
    rows = validate(run, "p2").conventions["generated against real control"]
    assert rows["prediction"]["pearson_delta"] < 0.6
    assert rows["prediction"]["overlap"] < 0.5


def test_measured_cells_are_those_of_the_filters(run):
    found = validate(run, "p1")
    assert found.n_cells["observed"] == N
    assert 0.4 * 2 * N < found.n_cells["control"] < 0.6 * 2 * N
    assert found.n_de_observed >= 12


def test_filter_that_matches_nothing_is_named(run):
    with pytest.raises(GroundingError, match=r"validation\.perturbed: 0 cells"):
        validate(run, "p1", perturbed={"perturbation": ["nothing"]})
