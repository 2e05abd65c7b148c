"""Expected accuracy of questions about cells as they are, on simulated donors."""

from __future__ import annotations

from pathlib import Path

import pytest

from haystack.config import Settings
from haystack.contracts import TRANSFER, ExpectedAccuracy, Independence, read_json, read_table, write_json
from haystack.query import parse_question
from haystack.transfer import estimate_response, measure_contexts

DONORS = {f"d{i}": "control" for i in range(1, 6)}
QUESTION = "What would B cells of donor d5 look like?"


def _accuracy(study, folder: Path, question: str = QUESTION, **retrieval) -> ExpectedAccuracy:
    query = parse_question(question)
    assert not query.task_type.is_perturbational
    write_json(folder / "query.json", query)
    names = [folder / name for name in ("contexts.h5ad", "transfer.parquet", "accuracy.json")]
    settings = Settings(retrieval=retrieval, prompting={"query_cells": 20})
    measure_contexts(
        folder / "query.json", study.cell_sets, {"study": study.cells}, {"study": study.entry}, names[0], settings
    )
    estimate_response(*names, pseudocount=1.0)
    assert read_table(names[1], TRANSFER).empty
    return read_json(names[2], ExpectedAccuracy)


def test_other_donors_are_left_out(study, tmp_path: Path) -> None:
    """A donor's shift is in all its cell types: the other types tell what the type's mean does not."""
    found = _accuracy(study(DONORS, donor_shift=0.5, n=80), tmp_path)
    assert found.independence is Independence.DONORS
    assert (found.n_contexts, found.n_donors) == (4, 4)
    assert {one.cell_type_name for one in found.contexts} == {"B cell"}
    assert not any("d5" in (one.donor_id or "") for one in found.contexts)
    assert set(found.methods) == {"transfer", "type_mean", "nearest_group", "no_change"}
    assert found.methods["transfer"] > found.methods["type_mean"] + 0.1
    assert found.r is not None
    assert found.low < found.methods["transfer"] < found.high
    assert "of 4 independent donors" in found.sentence


def test_donors_alike_leave_nothing_to_predict(study, tmp_path: Path) -> None:
    found = _accuracy(study(DONORS, donor_shift=0.0, n=80), tmp_path)
    assert abs(found.methods["transfer"]) < 0.25


def test_two_donors_are_too_few(study, tmp_path: Path) -> None:
    found = _accuracy(study({"d1": "control", "d5": "control"}), tmp_path)
    assert found.r is None
    assert found.reason.startswith("cannot be estimated, because fewer than two other donors")


def test_the_answer_itself_is_not_read(study, tmp_path: Path) -> None:
    """B cells of the asked donor are measured; the estimate is the same when they are held out."""
    made = study(DONORS, n=60)
    first = _accuracy(made, tmp_path)
    second = _accuracy(made, tmp_path, exclude=[{"cell_type": ["B cells"], "donor": ["d5"]}])
    assert first == second


@pytest.mark.parametrize("question", ["What would B cells of donor d9 look like?"])
def test_a_donor_without_cells_cannot_be_judged(study, tmp_path: Path, question: str) -> None:
    found = _accuracy(study(DONORS), tmp_path, question)
    assert found.reason == "cannot be estimated, because no other cells of the donor in question are measured"
