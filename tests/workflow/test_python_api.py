"""`import haystack as hs`: the same road as the pipeline, in one process."""

import subprocess
import sys

import pytest

import haystack as hs
from haystack.errors import ConfigError, ContractError


def test_import_is_light():
    code = (
        "import sys, haystack; heavy = {'numpy', 'pandas', 'pydantic', 'anndata', 'torch'} & set(sys.modules); "
        "assert not heavy, heavy; assert {'ask', 'parse', 'read_run', 'read_summary'} <= set(dir(haystack))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_parse():
    query = hs.parse("How would B cells respond to IFN-beta?")
    assert query.cell_type_cl_id == "CL:0000236"


@pytest.mark.parametrize("question", ["", "one\ntwo"])
def test_a_question_is_one_line(question):
    with pytest.raises(ConfigError, match="question: write one line"):
        hs.ask(question, atlases={})


def test_an_unfinished_run_is_named(tmp_path):
    with pytest.raises(ContractError, match="is the run finished"):
        hs.read_run(tmp_path)
    with pytest.raises(ContractError, match=r"summary\.tsv: no such file"):
        hs.read_summary(tmp_path)


@pytest.mark.slow
def test_ask_gives_the_tables_of_the_pipeline(finished, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(finished.folder)
    there = hs.read_run("results/runs/monocytes_ifng")
    own = {key: value for key, value in finished.settings.items() if key not in {"runs", "atlases", "model"}}
    here = hs.ask(
        there.question,
        atlases="config/atlases.yaml",
        model=finished.settings["model"],
        settings=own,
        folder=tmp_path / "results",
        run_id="monocytes_ifng",
    )
    assert "haystack: scoring the evidence" in capsys.readouterr().err
    for name in ("de.csv", "enrichment.csv"):
        mine, theirs = (run.folder / f"monocytes_ifng_{name}" for run in (here, there))
        assert mine.read_bytes() == theirs.read_bytes()
    for name in ("query.json", "transfer.parquet", "iter_2/grounding.json", "iter_2/decision.json"):
        assert (here.folder / name).read_bytes() == (there.folder / name).read_bytes()
    assert here.score == there.score
    assert here.expected_accuracy == there.expected_accuracy
    assert here.de["gene"].is_unique
    assert here.predictions.uns["run_id"] == "monocytes_ifng"
    assert here.report().read_text().count("<h1") == 1
    assert here.question in repr(here)
    assert "<table>" in here._repr_html_()
    assert list(hs.read_summary("results")["run_id"]) == ["monocytes_ifng"]
