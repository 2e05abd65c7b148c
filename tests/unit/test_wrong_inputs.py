"""Wrong inputs as people make them: each gives one message that names the place and the remedy."""

import pytest

from haystack.config import load_atlases, load_settings
from haystack.errors import HaystackError
from haystack.query import write_query
from haystack.run_table import read_runs

Q = "How would B cells respond to IL-4?"
PYDANTIC = ("Input should", "function-", "dict[", "validation error", "type=", "BaseModel", "pydantic", "Traceback")
SAVE = "Save it as UTF-8 text, tab separated"

TABLES = [
    (f"query\n{Q}\n{Q}\n", "lines 2 and 3", "Delete one line, or give each a run_id"),
    (f"query\n# a comment\n\n{Q}\n{Q}\n", "lines 4 and 5", "Delete one line"),
    (f"run_id\tquery\na\t{Q}\na\tWhat?\n", "lines 2 and 3", "Every run needs its own"),
    (f"run_id\tquery\na\t{Q}\nA\tWhat?\n", "lines 2 and 3", "Every run needs its own"),
    (f"query\tseed\n{Q}\t1\n{Q}\t1\n", "lines 2 and 3", "Delete one line"),
    ("", "empty", "run_id, query"),
    ("# only a comment\n", "empty", "run_id, query"),
    ("run_id\tquery\n", "no run is listed", "Add a line"),
    (f"run_id,query\na,{Q}\n", "line 1: columns are separated by ','", SAVE),
    (f"run_id;query\na;{Q}\n", "line 1: columns are separated by ';'", SAVE),
    (f"{Q}\n", "line 1: no column 'query'", "The first line names the columns"),
    (f"run_id\tQuery\na\t{Q}\n", "line 1: no column 'query'", "Rename 'Query' to 'query'"),
    (f"run_id\tquestion\na\t{Q}\n", "line 1: no column 'query'", "The first line names the columns"),
    (f"run_id\tqurey\na\t{Q}\n", "line 1: no column 'query'", "Rename 'qurey' to 'query'"),
    (f"run_id\tquery\tquery\na\t{Q}\t{Q}\n", "column 'query' stands twice", "Remove one"),
    (f"run_id\t\tquery\na\tx\t{Q}\n", "line 1: column 2 has no name", "Name it, or remove it"),
    (f"run_id\tquery\tsed\na\t{Q}\t1\n", "line 1: unknown column 'sed'", "Did you mean 'seed'"),
    (f"run_id\tquery\tde.log2\na\t{Q}\t1\n", "unknown column 'de.log2'", ""),
    (f"run_id\tquery\tmodel.kind\na\t{Q}\tstack\n", "'model.kind' is shared by all runs", "set it in the config file"),
    (f"run_id\tquery\tseed\na\t{Q}\tmany\n", "line 2: seed", "expected a whole number (found 'many')"),
    (f"run_id\tquery\tmax_iterations\na\t{Q}\t50\n", "line 2: max_iterations", "at most 10"),
    (
        f"run_id\tquery\tcontrol_strategy\na\t{Q}\tsynthetic\n",
        "line 2: control_strategy",
        "Did you mean 'synthetic_control'",
    ),
    ("run_id\tquery\na\t\n", "line 2: the query is empty", "Write a question"),
    (f"run_id\tquery\na\t{Q}\tmore\n", "line 2: 3 columns", "Replace it by a space"),
    (f"run_id\tquery\n../a\t{Q}\n", "line 2: run_id '../a'", "use letters, digits"),
    (f"run_id\tquery\nmy run\t{Q}\n", "line 2: run_id 'my run'", "use letters, digits"),
    ('run_id\tquery\na\t"How would B cells\nrespond to IL-4?"\n', "line 2: a quotation mark is not closed", "one line"),
    (f"run_id\tquery\na\t{Q}\n".encode("utf-16-le"), "holds zero bytes", SAVE),
    ("run_id\tquery\na\tHow would naïve B cells respond to IL-4?\n".encode("latin-1"), "line 2: not UTF-8", SAVE),
    (b"PK\x03\x04rest of a workbook", "a spreadsheet, not text", SAVE),
    (b"\xd0\xcf\x11\xe0rest of a workbook", "a spreadsheet, not text", SAVE),
]
CONFIGS = [
    ({"sed": 1}, "unknown key 'sed'", "Did you mean 'seed'"),
    ({"de": {"log2": 1}}, "unknown key 'de.log2'", "log2fc"),
    ({"seed": "many"}, "seed", "expected a whole number (found 'many')"),
    ({"seed": -1}, "seed", "at least 0 (found -1)"),
    ({"score_threshold": 70}, "score_threshold", "at most 10 (found 70)"),
    ({"offline": "perhaps"}, "offline", "expected true or false"),
    ({"control_strategy": "synthetik_control"}, "control_strategy", "Did you mean 'synthetic_control'"),
    ({"de": {"test": "wilcox"}}, "de.test", "Did you mean 'wilcoxon'"),
    ({"model": {"kind": "stck"}}, "model.kind", "Did you mean 'stack'"),
    ({"model": "stack"}, "model", "expected a mapping (key: value) (found 'stack')"),
    ({"retrieval": {"strategies": ["direct", "semantics"]}}, "retrieval.strategies", "Did you mean 'semantic'"),
    ({"retrieval": {"exclude": [{"atlas": 1}]}}, "retrieval.exclude.0.atlas", "expected text"),
    ({"grounding": {"weights": {"pathways": 1}}}, "grounding.weights", "pathway_coherence"),
    ({"use_atlases": "demo"}, "use_atlases", "expected a list (found 'demo')"),
    ({"validation": {"perturbed": {}}}, "validation.control", "is missing"),
    ({"query": {"api_key": "abc"}}, "'query.api_key' looks like a secret", "Secrets come from the environment"),
]
ATLASES = [
    ("a: [\n", "line 2: not valid YAML", "close brackets"),
    ("a:\n\tpath: x.h5ad\n", "line 2: not valid YAML", "Indent with spaces"),
    ("- a\n- b\n", "expected a mapping", "key: value"),
    ("", "no atlas is listed", ""),
    ("a:\n  obs: {cell_type: c}\n", "a: path", "is missing"),
    ("a:\n  path: x.h5ad\n", "a: ", "give obs.cell_type"),
    ("a:\n  path: x.h5ad\n  obs: {cell_typ: c}\n", "unknown key 'obs.cell_typ'", "Did you mean 'cell_type'"),
    ("a:\n  path: x.h5ad\n  obs: {cell_type: c, perturbation: p}\n", "obs.perturbation", "control_labels"),
    ("a:\n  path: x.h5ad\n  obs: {cell_type: c}\n  control_labels: PBS\n", "control_labels", "a list (found 'PBS')"),
    ("a:\n  path: x.h5ad\n  obs: {cell_type: c}\n  preset: kangg\n", "preset", "Did you mean 'kang'"),
    ("my atlas:\n  path: x.h5ad\n  obs: {cell_type: c}\n", "atlas name 'my atlas'", "only letters, digits"),
]
QUESTIONS = [
    ("How would B cells respond to qwertyuiop?", "'qwertyuiop'", "Write it anew"),
    ("How would B cels respond to IL-4?", "'cels' is misspelt", "correct it"),
    ("What does IL-4 do?", "no cell type is named", "Say which cells"),
    ("How would unicorn cells respond to IL-4?", "'unicorn cells' is no cell type", "other words"),
    ("What would Lungenfibroblasten do with TGF-beta?", "'Lungenfibroblasten'", "fibroblast (CL:0000057)"),
    ("How would mouse B cells respond to IL-4?", "'mouse' means Mus musculus", "Leave the species out"),
    ("How would T cells or B cells respond to IL-4?", "'T cells; B cells'", "name one"),
    ("B cells", "'B cells'", "say what is done to the cells"),
    ("???", "'???' holds no word", "Ask for example"),
]


def test_there_are_67():
    assert len(TABLES) + len(CONFIGS) + len(ATLASES) + len(QUESTIONS) == 67


def told(error, place, remedy):
    message = str(error.value)
    assert "\n" not in message
    assert not [word for word in PYDANTIC if word in message], message
    assert place in message
    assert remedy in message


@pytest.mark.parametrize(("content", "place", "remedy"), TABLES)
def test_a_wrong_table(tmp_path, content, place, remedy):
    path = tmp_path / "runs.tsv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    config = {"runs": str(path)}
    with pytest.raises(HaystackError) as error:
        read_runs(config, load_settings(config))
    told(error, place, remedy)
    assert "runs.tsv" in str(error.value)


@pytest.mark.parametrize(("config", "place", "remedy"), CONFIGS)
def test_a_wrong_setting(config, place, remedy):
    with pytest.raises(HaystackError) as error:
        load_settings(config)
    told(error, place, remedy)
    assert str(error.value).startswith("config: ")


@pytest.mark.parametrize(("text", "place", "remedy"), ATLASES)
def test_a_wrong_atlas(tmp_path, text, place, remedy):
    path = tmp_path / "atlases.yaml"
    path.write_text(text)
    with pytest.raises(HaystackError) as error:
        load_atlases(load_settings({"atlases": str(path)}))
    told(error, place, remedy)
    assert "atlases.yaml" in str(error.value)


@pytest.mark.parametrize(("question", "place", "remedy"), QUESTIONS)
def test_a_wrong_question(tmp_path, question, place, remedy):
    with pytest.raises(HaystackError) as error:
        write_query(question=question, out=tmp_path / "query.json", settings=load_settings({}).query, offline=True)
    told(error, place, remedy)


@pytest.mark.parametrize(
    "content",
    [
        f"\ufeffrun_id\tquery\r\na\t{Q}\r\n".encode(),
        f"run_id\tquery\na\t{Q}\n".encode("utf-16"),
        f"run_id\tquery\t\t\r\na\t{Q}\t\t\r\n".encode(),
        f'"run_id"\t"query"\n"a"\t"{Q}"\n'.encode(),
        f"run_id\tquery\ra\t{Q}\r".encode(),
    ],
    ids=["byte order mark", "Unicode Text", "padded", "quoted", "old Mac"],
)
def test_what_spreadsheets_save_is_read(tmp_path, content):
    path = tmp_path / "runs.tsv"
    path.write_bytes(content)
    config = {"runs": str(path)}
    assert [(run.run_id, run.query) for run in read_runs(config, load_settings(config))] == [("a", Q)]


def test_doubled_quotation_marks_of_spreadsheets_are_single_ones(tmp_path):
    path = tmp_path / "runs.tsv"
    path.write_text('query\n"How would ""naive"" B cells respond to IL-4?"\n')
    config = {"runs": str(path)}
    assert read_runs(config, load_settings(config))[0].query == 'How would "naive" B cells respond to IL-4?'
