"""Perturbation lists become tables of runs."""

import pandas as pd
import pytest

from haystack.cli import main
from haystack.config import Settings
from haystack.contracts import CELL_SETS, write_table
from haystack.errors import ConfigError
from haystack.knowledge import perturbations
from haystack.ontology import resolve
from haystack.query import parse_question
from haystack.run_table import read_runs
from haystack.runs import expand as module
from haystack.runs.expand import atlas_perturbations, expand, known_perturbations, write_rows


def test_every_row_asks_what_was_meant(tmp_path):
    names = known_perturbations("cytokine")
    found = expand(names, ["hepatocyte"])
    assert len(found.rows) + len(found.left_out) == len(names)
    assert len(found.rows) > 0.9 * len(names)
    canonical = {item.name for item in perturbations() if item.type == "cytokine"}
    read = {parse_question(question).perturbation_resolved for _, question in found.rows}
    assert read <= canonical
    assert len(read) == len(found.rows)
    table = tmp_path / "runs.tsv"
    assert write_rows(found.rows, table) == len(found.rows)
    assert len(read_runs({}, Settings(runs=str(table)))) == len(found.rows)


def test_cell_types_are_asked_for_in_the_plural():
    rows = expand(["GM-CSF"], ["hepatocyte", "fibroblast of lung", "CD14+ monocytes"]).rows
    assert [question for _, question in rows] == [
        "How would hepatocytes respond to GM-CSF?",
        "How would lung fibroblasts respond to GM-CSF?",
        "How would CD14+ monocytes respond to GM-CSF?",
    ]
    assert rows[0][0] == "hepatocyte-GM-CSF"
    for label in ("hepatocyte", "regulatory T cell", "CD8-positive, alpha-beta T cell", "microglial cell"):
        [(_, question)] = expand(["GM-CSF"], [label]).rows
        assert parse_question(question).cell_type_cl_id == resolve("cell-type", label)[0].id


def test_own_words_take_the_cell_type_as_given_or_in_the_plural():
    one = "What does a {cell_type} do under {perturbation}?"
    assert expand(["IL-4"], ["hepatocyte"], one).rows[0][1] == "What does a hepatocyte do under IL-4?"
    many = "What do {cell_types} do under {perturbation}?"
    assert expand(["IL-4"], ["hepatocyte"], many).rows[0][1] == "What do hepatocytes do under IL-4?"
    with pytest.raises(ConfigError, match=r"\{cell_types\} is missing"):
        expand(["IL-4"], ["hepatocyte"], "What of {perturbation}?")


def test_a_plural_that_would_be_misread_is_not_used(monkeypatch):
    monkeypatch.setattr(module, "plural", lambda text: "unicorns")
    assert expand(["IL-4"], ["hepatocyte"]).rows[0][1] == "How would hepatocyte respond to IL-4?"


def test_what_is_not_understood_is_left_out_and_named():
    found = expand(["IL-4", "blorbumab"], ["B cells"])
    assert [run_id for run_id, _ in found.rows] == ["B_cells-IL-4"]
    assert "blorbumab" in next(iter(found.left_out.values()))


def test_unknown_cell_type_stops():
    with pytest.raises(ConfigError, match="unicorn"):
        expand(["IL-4"], ["unicorn"])


def test_two_names_that_look_alike_get_folders_of_their_own():
    found = expand(["IL-4"], ["CD14+ monocytes", "CD14 monocytes"])
    assert len({run_id for run_id, _ in found.rows}) == len(found.rows) == 2


def test_adding_twice_adds_once_and_keeps_what_is_there(tmp_path):
    table = tmp_path / "runs.tsv"
    table.write_text("# mine\nrun_id\tquery\tscore_threshold\nold\tHow would B cells respond to IL-4?\t8\n")
    rows = expand(["IL-4", "IL-10"], ["NK cells"]).rows
    assert write_rows(rows, table) == 2
    before = table.read_bytes()
    assert write_rows(rows, table) == 0
    assert table.read_bytes() == before
    runs = read_runs({}, Settings(runs=str(table)))
    assert [run.run_id for run in runs] == ["old", "NK_cells-IL-4", "NK_cells-IL-10"]
    assert runs[0].settings.score_threshold == 8


def test_id_of_another_question_is_refused(tmp_path):
    table = tmp_path / "runs.tsv"
    table.write_text("run_id\tquery\nNK_cells-IL-4\tHow would B cells respond to IL-4?\n")
    with pytest.raises(ConfigError, match="taken by another question"):
        write_rows(expand(["IL-4"], ["NK cells"]).rows, table)


@pytest.fixture
def index(tmp_path):
    rows = [
        ("a", "IL-4", "cytokine", False),
        ("a", "ibrutinib", "drug", False),
        ("a", None, None, True),
        ("b", "IL-10", "cytokine", False),
    ]
    table = pd.DataFrame(rows, columns=["atlas", "perturbation_name", "perturbation_type", "is_control"])
    table["cell_set_id"] = [f"cs_{i:012d}" for i in range(len(rows))]
    table["n_cells"] = 50
    for column in CELL_SETS.columns:
        if column.name not in table:
            table[column.name] = None
    write_table(tmp_path / "cell_sets.parquet", table, CELL_SETS)
    return tmp_path


def test_perturbations_of_an_atlas(index):
    assert atlas_perturbations("a", index) == ["ibrutinib", "IL-4"]
    assert atlas_perturbations("a", index, "cytokine") == ["IL-4"]
    with pytest.raises(ConfigError, match="Known: a, b"):
        atlas_perturbations("c", index)
    with pytest.raises(ConfigError, match="Make it first"):
        atlas_perturbations("a", index / "nowhere")


def test_command(index, capsys, tmp_path):
    names = tmp_path / "names.txt"
    names.write_text("# two\nIL-4\n\nIL-10\n")
    assert main(["runs", "expand", "--list", str(names), "--cell-type", "hepatocyte"]) == 0
    assert capsys.readouterr().out.splitlines()[0] == "run_id\tquery"
    arguments = ["runs", "expand", "--atlas", "a", "--type", "cytokine", "--index", str(index)]
    assert main([*arguments, "--cell-type", "hepatocyte", "--out", str(tmp_path / "t.tsv")]) == 0
    assert (tmp_path / "t.tsv").read_text().count("\n") == 2
    assert main(["runs", "expand", "--cell-type", "hepatocyte"]) == 1
    assert "which perturbations" in capsys.readouterr().err
