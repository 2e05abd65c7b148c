"""The table of runs: ids, per-run settings, and errors that name file, line and column."""

import pytest

from haystack.config import load_settings
from haystack.errors import ConfigError
from haystack.run_table import read_runs, run_identifier

QUESTION = "How would B cells respond to IFN-beta?"


def read(tmp_path, text, **config):
    path = tmp_path / "runs.tsv"
    path.write_text(text)
    config = {"runs": str(path), **config}
    return read_runs(config, load_settings(config))


def test_run_id_is_given_or_a_hash_of_question_and_row_settings(tmp_path):
    runs = read(tmp_path, f"run_id\tquery\tseed\nmine\t{QUESTION}\t\n\t{QUESTION}\t\n\t{QUESTION}\t3\n")
    assert [run.run_id for run in runs] == [
        "mine",
        run_identifier(QUESTION, {}),
        run_identifier(QUESTION, {"seed": 3}),
    ]
    assert all(len(run.run_id) == len("run_") + 12 for run in runs[1:])
    assert runs[1].run_id != runs[2].run_id


def test_hash_does_not_move_with_the_shared_config(tmp_path):
    text = f"query\n{QUESTION}\n"
    assert read(tmp_path, text)[0].run_id == read(tmp_path, text, score_threshold=9)[0].run_id


def test_row_settings_override_the_config_for_that_row_only(tmp_path):
    runs = read(
        tmp_path,
        f"run_id\tquery\tscore_threshold\tde.padj\na\t{QUESTION}\t9\t0.01\nb\t{QUESTION}\t\t\n",
        score_threshold=5,
        de={"log2fc": 1.0},
    )
    a, b = (run.settings for run in runs)
    assert (a.score_threshold, a.de.padj, a.de.log2fc) == (9, 0.01, 1.0)
    assert (b.score_threshold, b.de.padj, b.de.log2fc) == (5, 0.05, 1.0)


def test_comments_blank_lines_quotes_and_byte_order_mark_are_read(tmp_path):
    runs = read(tmp_path, '\ufeffrun_id\tquery\n# later\n\na\tWhat would "naive" B cells do under IL-4?\n')
    assert runs[0].query == 'What would "naive" B cells do under IL-4?'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty"),
        ("run_id\tquery\n", "no run is listed"),
        ("run_id\nx\n", "no column 'query'"),
        ("run_id\tquery\na\t\n", "line 2: the query is empty"),
        ("run_id\tquery\n\n../x\tabc\n", "line 3: run_id '../x'"),
        ("run_id\tquery\na/b\tabc\n", "run_id 'a/b'"),
        ("run_id\tquery\n.\tabc\n", "run_id '.'"),
        ("run_id\tquery\na\tabc\nA\tdef\n", "two runs have the run_id"),
        ("query\nabc\nabc\n", "lines 2 and 3: the same question"),
        ("run_id\tquery\tsed\na\tabc\t1\n", "unknown column 'sed'. Did you mean 'seed'"),
        ("run_id\tquery\tdata_dir\na\tabc\t1\n", "shared by all runs"),
        ("run_id\tquery\tmodel.steps\na\tabc\t1\n", "shared by all runs"),
        ("run_id\tquery\tnothing.steps\na\tabc\t1\n", "unknown column 'nothing.steps'"),
        ("run_id\tquery\tseed\na\tabc\tmany\n", "line 2: seed"),
        ("run_id\tquery\na\tabc\td\n", "line 2: 3 columns"),
    ],
)
def test_wrong_table_is_refused(tmp_path, text, message):
    with pytest.raises(ConfigError) as error:
        read(tmp_path, text)
    assert message in str(error.value)
    assert "runs.tsv" in str(error.value)
