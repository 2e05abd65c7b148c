"""`import haystack as hs`: the same road as the pipeline, in one process."""

import subprocess
import sys

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import haystack as hs
from haystack.contracts.failure import Failure, write_json
from haystack.errors import ConfigError, ContractError, GroundingError


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


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"question": None}, "question: give a text; this is of type NoneType"),
        ({"atlases": ["a.h5ad"]}, "atlases: give the path of a YAML file, or a dict"),
        ({"atlases": "a.h5ad"}, "haystack atlas add"),
        ({"model": 3}, "model: give a kind"),
        ({"settings": ["seed"]}, "settings: give a dict"),
        ({"run_id": "../x"}, r"^run_id: '\.\./x' becomes a folder name"),
        ({"folder": __file__}, "folder: .* is a file"),
    ],
)
def test_wrong_arguments_are_named(arguments, message):
    given = {"question": "How would B cells respond to IL-4?", "atlases": {}} | arguments
    with pytest.raises(ConfigError, match=message):
        hs.ask(**given)


def test_a_table_is_not_taken_for_cells():
    with pytest.raises(GroundingError, match="perturbed: give an h5ad file or an AnnData; this is of type list"):
        hs.ground("How would B cells respond to IL-4?", [], [])


def test_the_same_cells_can_be_prediction_and_control(recwarn):
    rng = np.random.default_rng(0)
    genes = pd.DataFrame(index=[f"GENE{number}" for number in range(40)])
    control, observed = (ad.AnnData(rng.poisson(rate, (12, 40)).astype(np.float32), var=genes) for rate in (3, 6))
    assert "conventions" in hs.validate(control, observed, control)
    assert not [warning for warning in recwarn if "not unique" in str(warning.message)]


def test_a_failed_run_says_why(tmp_path):
    why = Failure(run_id="r", rule="parse_query", error_type="QueryParsingError", message="no such cell")
    write_json(tmp_path / "failure.json", why)
    with pytest.raises(ContractError, match=r"the run failed \(parse_query\): no such cell"):
        hs.read_run(tmp_path)


def test_a_results_folder_is_not_taken_for_a_run(tmp_path):
    (tmp_path / "runs" / "one").mkdir(parents=True)
    (tmp_path / "runs" / "one" / "one_log.json").write_text("{}")
    with pytest.raises(ContractError, match=r"such as .*runs/one"):
        hs.read_run(tmp_path)


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
