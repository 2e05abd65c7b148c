"""The exam: a measured context asked for in the same job, its cells out of the prompt."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from haystack.config import ModelSettings, Settings
from haystack.contracts import CellRole, read_predictions, write_cells, write_json
from haystack.contracts.cells import read_exam
from haystack.inference import run_inference
from haystack.inference.models import best
from haystack.prompting.write import gather_cells
from haystack.query import parse_question
from haystack.transfer import choose_exam, estimate_response, mark_exam, measure_contexts

B_CELLS = {"cell_type": ["B cells"], "perturbation": ["IFN-beta"]}
EXAM = (CellRole.EXAM_PROMPT, CellRole.EXAM_CONTROL, CellRole.EXAM_QUERY)


def _sit(study, folder: Path, n: int = 1, **settings):
    """Cells of the exam of `How would B cells respond to interferon beta?`, and the contexts of the question."""
    write_json(folder / "query.json", parse_question("How would B cells respond to interferon beta?"))
    given = {"retrieval": {"exclude": [B_CELLS]}, "prompting": {"query_cells": 40, "prompt_cells": 80}}
    settings = Settings(**{**given, **settings})
    index = (folder / "query.json", study.cell_sets, {"study": study.cells})
    measure_contexts(*index, {"study": study.entry}, folder / "contexts.h5ad", settings)
    return choose_exam(*index, settings, n)


def _left_out(folder: Path) -> tuple[Path, Path]:
    """The files that mark an exam."""
    contexts, estimates, accuracy, left_out = (
        folder / name for name in ("contexts.h5ad", "transfer.parquet", "accuracy.json", "left_out.parquet")
    )
    estimate_response(contexts, estimates, accuracy, 1.0, left_out)
    return left_out, accuracy


def _rows(chosen, role: CellRole) -> set[int]:
    return {row for selection, own, _ in chosen if own is role for row in selection.rows}


def test_the_asked_context_stays_out_of_its_prompt(study, tmp_path: Path) -> None:
    made = study({"d1": "both", "d2": "both"})
    chosen = _sit(made, tmp_path, n=2)
    assert len({prompt_id for *_, prompt_id in chosen}) == 2
    obs = made.source.obs
    for context in {prompt_id for *_, prompt_id in chosen}:
        prompt, control, query = (
            obs.iloc[sorted(_rows([c for c in chosen if c[2] == context], role))] for role in EXAM
        )
        asked = query[["type", "donor"]].drop_duplicates()
        assert len(asked) == 1
        assert set(query["treatment"]) == set(control["treatment"]) == {"PBS"}
        assert set(prompt["treatment"]) == {"IFN-beta"}
        for shown in (prompt, control):  # another donor; another type too, because the asked type is not measured
            assert not set(shown["donor"]) & set(asked["donor"])
            assert not set(shown["type"]) & set(asked["type"])
        assert "B cells" not in set(prompt["type"])


def test_truth_and_query_share_no_control_cell(study, tmp_path: Path) -> None:
    """The exam's query cells are of the half of the controls that transfer predicts from."""
    made = study({"d1": "both", "d2": "both"})
    chosen = _sit(made, tmp_path)
    counts = made.source.X.toarray()[sorted(_rows(chosen, CellRole.EXAM_QUERY))]
    from haystack.contracts import read_contexts

    data = read_contexts(tmp_path / "contexts.h5ad")
    own = data[(data.obs["context_id"] == chosen[0][2]) & (data.obs["arm"] == "control")]
    expected = (1e4 * counts / counts.sum(axis=1, keepdims=True)).mean(axis=0)
    np.testing.assert_allclose(own.X[own.obs["half"] == 0][0], expected, rtol=1e-5)


@pytest.mark.parametrize("donors", [{"d1": "both"}, {"d1": "perturbed", "d2": "control"}])
def test_no_exam_where_nothing_is_independent(study, tmp_path: Path, donors: dict[str, str]) -> None:
    assert _sit(study(donors), tmp_path) == []


def test_no_exam_where_none_is_asked_for(study, tmp_path: Path) -> None:
    assert _sit(study({"d1": "both", "d2": "both"}), tmp_path, n=0) == []


def _predict(made, folder: Path, chosen, kind: str):
    """Prompts of the question (its own exam's cells, in other roles) and the exam in one job."""
    roles = dict(zip(EXAM, (CellRole.PROMPT, CellRole.CONTROL_PROMPT, CellRole.QUERY), strict=True))
    asked = [one._replace(role=roles[one.role], prompt_id=None if one.role is EXAM[2] else "p1") for one in chosen]
    import pandas as pd

    frame = pd.read_parquet(made.cell_sets)
    for name, cells in (("with", [*asked, *chosen]), ("without", asked)):
        write_cells(folder / f"{name}.h5ad", gather_cells(cells, frame, {"study": made.entry}))
        run_inference(
            None, folder / f"{name}.h5ad", folder / f"{name}_out.h5ad", ModelSettings(kind=kind, path=None), 0
        )
    return read_predictions(folder / "with_out.h5ad"), read_predictions(folder / "without_out.h5ad")


def test_the_answer_is_the_same_with_and_without_an_exam(study, tmp_path: Path) -> None:
    made = study({"d1": "both", "d2": "both"})
    found, plain = _predict(made, tmp_path, _sit(made, tmp_path), "additive")
    assert (found.X != plain.X).nnz == 0
    assert found.obs.equals(plain.obs)
    assert read_exam(tmp_path / "without_out.h5ad") == ([], {})


def test_marks_stand_beside_the_other_methods(study, tmp_path: Path) -> None:
    made = study({"d1": "both", "d2": "both"}, n=80)
    chosen = _sit(made, tmp_path)
    _predict(made, tmp_path, chosen, "additive")
    exam = mark_exam(*_left_out(tmp_path), *read_exam(tmp_path / "with_out.h5ad"), 1.0)
    assert exam is not None
    (one,) = exam.contexts
    assert one.n_genes == 300
    assert 0.3 < one.r["model"] < 1
    assert abs(one.r["model"] - one.r["additive"]) < 0.15  # the same method on nearly the same cells
    assert one.r["no_change"] == 0
    assert not exam.model_is_better
    assert f"additive reached r {one.r['model']:.2f}" in exam.sentence


def _answers(made, folder: Path, chosen, size: float) -> dict:
    """What a model would answer that knows the truth `size` times."""
    from haystack.contracts import read_contexts
    from haystack.transfer import Panel

    panel, _ = Panel.read(read_contexts(folder / "contexts.h5ad"), 1.0)
    h = panel.context_id.index(chosen[0][2])
    control = panel.control.mean[h, 0]
    perturbed = np.maximum(2 ** (size * panel.against(h, 1)[0]) * (control + 1) - 1, 0)
    known = {"atlases_trained_on": np.array([]), "perturbations_trained_on": np.array([])}
    return {chosen[0][2]: {"model": "stack", "perturbed": perturbed, "control": control, **known}}


def test_better_by_more_than_the_noise(study, tmp_path: Path) -> None:
    made = study({"d1": "both", "d2": "both"})
    chosen = _sit(made, tmp_path)
    genes = [f"GENE{i}" for i in range(300)]
    perfect = mark_exam(*_left_out(tmp_path), genes, _answers(made, tmp_path, chosen, 1), 1.0)
    assert perfect.contexts[0].r["model"] > 0.99
    assert perfect.model_is_better
    wrong = mark_exam(*_left_out(tmp_path), genes, _answers(made, tmp_path, chosen, -1), 1.0)
    assert not wrong.model_is_better
    answers = _answers(made, tmp_path, chosen, 1)
    answers[chosen[0][2]] |= {"atlases_trained_on": ["study"], "perturbations_trained_on": ["IFN-beta"]}
    seen = mark_exam(*_left_out(tmp_path), genes, answers, 1.0)
    assert (seen.difference, seen.model_is_better) == (None, False)


@pytest.mark.parametrize(("size", "winner"), [(1, "stack"), (-1, "transfer")])
def test_best_answers_with_whom_the_exam_prefers(study, tmp_path: Path, monkeypatch, size: int, winner: str) -> None:
    from types import SimpleNamespace

    from haystack.inference.prediction import Prediction

    made = study({"d1": "both", "d2": "both"})
    chosen = _sit(made, tmp_path)
    _left_out(tmp_path)
    monkeypatch.setattr("haystack.inference.exam.exam_answers", lambda *_: _answers(made, tmp_path, chosen, size))
    request = SimpleNamespace(
        prompts=[SimpleNamespace(exam=True)],
        genes=[f"GENE{i}" for i in range(300)],
        folder=None,
        files={name: tmp_path / name for name in ("transfer.parquet", "left_out.parquet", "accuracy.json")},
    )
    spec, because = best._choose(request, Prediction([{}]))
    assert spec.name == winner
    assert "noise" in because
