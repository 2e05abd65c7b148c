"""Hashes of code: an edit of what a rule runs changes its hash, an edit elsewhere or without meaning does not."""

import ast
import re
import shutil
from pathlib import Path

import pytest

from haystack import codehash

REPOSITORY = Path(__file__).parents[2]
RULE = re.compile(r"^(?:rule|checkpoint) (\w+):(.*?)(?=^(?:rule|checkpoint|\Z))", re.MULTILINE | re.DOTALL)
ENTRIES = {
    rule: [f"haystack.{name}" for name in re.findall(r'"([\w.]+)"', found[1])]
    for path in sorted((REPOSITORY / "workflow/rules").glob("*.smk"))
    for rule, text in RULE.findall(path.read_text())
    if (found := re.search(r"plan\.code\((.*)\)", text))
}
"""rule -> functions whose code it hashes"""


@pytest.fixture(scope="module")
def read_once():
    """Read all modules before they are copied: what they say is kept beside the bytecode, and goes with the copies."""
    return hashes()


@pytest.fixture
def package(tmp_path, monkeypatch, read_once):
    """A copy of the package whose modules may be edited."""
    copied = tmp_path / "src/haystack"
    shutil.copytree(codehash.PACKAGE, copied, ignore=shutil.ignore_patterns("*.pyc"))
    for name in ("knowledge", "ontology"):
        shutil.copytree(REPOSITORY / "resources" / name, tmp_path / "resources" / name)
    monkeypatch.setattr(codehash, "PACKAGE", copied)
    forget()
    NOW.update(read_once)
    yield copied
    forget()


NOW = {}
"""rule -> its hash as the package stands; empty where it must be computed"""


def forget():
    NOW.clear()
    for function in vars(codehash).values():
        if hasattr(function, "cache_clear"):
            function.cache_clear()


def hashes():
    forget()
    return {rule: codehash.code_hash(*functions) for rule, functions in ENTRIES.items()}


def changed(path, edit):
    """Rules whose hash changes with the file's text."""
    before = dict(NOW) or hashes()
    text = path.read_text()
    path.write_text(edit(text))
    assert path.read_text() != text
    NOW.update(hashes())
    return {rule for rule in before if before[rule] != NOW[rule]}


def write(path, text):
    """Edit a file without asking what changes."""
    path.write_text(text)
    forget()


def with_constant(text):
    return text + "\nEDITED = 1\n"


def imported(script):
    """Functions of the package that a rule's script calls, but for what reads settings and writes logs."""
    lines = re.findall(r"from (haystack\.[\w.]+) import (.+)", script.read_text())
    called = [(module, name) for module, names in lines for name in names.split(", ")]
    return {
        f"{module}.{name}"
        for module, name in called
        if module.split(".")[1] not in {"config", "workflow"} and name.islower()
    }


def test_every_rule_hashes_the_functions_that_its_script_calls():
    scripts = {path.stem: imported(path) for path in (REPOSITORY / "workflow/scripts").glob("*.py")}
    # What these fetch is checked by a checksum, or kept with one.
    downloads = {"download_atlas", "download_stack_model", "download_gene_sets"}
    # Asks the process that keeps the model for what run_inference computes: who computes it changes no byte.
    scripts["stack_inference"] = {
        name.replace("inference.resident.run_inference_resident", "inference.run_inference")
        for name in scripts["stack_inference"]
    }
    assert {rule: set(functions) for rule, functions in ENTRIES.items()} == {
        rule: functions for rule, functions in scripts.items() if rule not in downloads
    }


def test_an_edit_without_meaning_changes_nothing(package):
    before = hashes()
    for path in sorted(package.rglob("*.py"))[::3]:  # all would take seconds
        tree = ast.parse(path.read_text())
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and codehash._is_doc(ast.Expr(node)) and "\n\n" in node.value:
                node.value += "Edited."
        # Comments, blank lines and quotes are gone.
        keeps_docs = "__doc__" in path.read_text() or "use_attribute_docstrings" in path.read_text()
        path.write_text("# Edited.\n" + (path.read_text() if keeps_docs else ast.unparse(tree)))
    assert hashes() == before


def test_a_new_version_changes_nothing(package):
    assert changed(package / "__init__.py", lambda text: text.replace('__version__ = "', '__version__ = "9')) == set()


def test_a_docstring_changes_nothing_and_a_number_does(package):
    path = package / "grounding/de.py"
    assert changed(path, lambda text: '"""Another docstring."""\n' + text.split('"""', 2)[2]) == set()
    touched = changed(path, with_constant)
    assert {"enrich_predictions", "validate_prediction"} <= touched
    assert not {"stack_inference", "retrieve_cells", "generate_prompts", "parse_query", "train_model"} & touched


def test_a_package_is_no_more_than_the_names_that_are_asked_of_it(package):
    assert changed(package / "contracts/literature.py", with_constant).isdisjoint(
        {"stack_inference", "retrieve_cells", "harmonize_atlas", "train_model"}
    )
    assert "stack_inference" in changed(package / "contracts/cells.py", with_constant)
    assert changed(package / "contracts/base.py", with_constant) >= {"stack_inference", "decide", "search_literature"}


def test_imports_inside_functions_and_lazy_stubs_are_followed(package):
    # The package's own function imports it when it is called.
    assert changed(package / "literature/search.py", with_constant) == {"search_literature"}
    # Only the stub beside the package's __init__ says where the function lies.
    assert changed(package / "report/summary.py", with_constant) == {"summarize_runs"}
    # What an __init__ does by itself counts: threads that sleep (OMP_WAIT_POLICY).
    assert "stack_inference" in changed(package / "inference/__init__.py", with_constant)


def test_settings_and_commands_are_not_code(package):
    for name in ("config.py", "errors.py", "grounding/commands.py"):
        assert changed(package / name, with_constant) == set()


def test_tables_count_for_the_rules_that_read_them(package):
    tables = package.parents[1] / "resources"
    assert "ground_predictions" in changed(tables / "knowledge/markers.tsv", lambda text: text + "# edited\n")
    assert "harmonize_atlas" in changed(tables / "ontology/words.tsv", lambda text: text + "# edited\n")
    assert changed(package / "demo/genes.tsv", lambda text: text + "# edited\n") == {"simulate_atlas"}
    assert "render_report" in changed(package / "report/templates/style.css", lambda text: text + "/* edited */")


def test_every_tracked_table_is_seen_by_some_rule():
    seen = set().union(*(codehash.reached(*functions) for functions in ENTRIES.values()))
    folders = [REPOSITORY / "resources/knowledge", REPOSITORY / "resources/ontology"]
    folders += [codehash.PACKAGE / "demo", codehash.PACKAGE / "report"]
    tables = {path.relative_to(folder.parent).as_posix() for folder in folders for path in codehash._files(folder)}
    assert tables <= seen


def test_plug_ins_count_for_the_rules_that_use_their_registry(package, tmp_path, monkeypatch):
    site = tmp_path / "site"
    record = site / "toy-1.0.dist-info"
    record.mkdir(parents=True)
    (record / "METADATA").write_text("Metadata-Version: 2.1\nName: toy\nVersion: 1.0\n")
    (record / "entry_points.txt").write_text("[haystack.models]\ntoy = toy_plugin.model:MODEL\n")
    (site / "toy_plugin").mkdir()
    (site / "toy_plugin/__init__.py").write_text("raise ImportError('never imported for a hash')\n")
    (site / "toy_plugin/model.py").write_text("from toy_plugin.helper import HELP\nMODEL = HELP\n")
    (site / "toy_plugin/helper.py").write_text("HELP = 1\n")
    monkeypatch.syspath_prepend(site)
    forget()
    assert changed(site / "toy_plugin/helper.py", lambda text: text + "# comment\n") == set()
    touched = changed(site / "toy_plugin/helper.py", with_constant)
    assert "stack_inference" in touched
    assert "decide" not in touched


def test_modules_named_by_strings_and_whole_packages_are_followed(package):
    decide = package / "loop/decision.py"
    write(decide, decide.read_text() + '\nNAMED = "haystack.report.summary:summarize_runs"\n')
    assert "decide" in changed(package / "report/summary.py", with_constant)
    write(package / "query/__init__.py", "for path in __path__:\n    pass\n\nfrom .parse import write_query\n")
    write(package / "query/extra.py", "X = 1\n")
    assert "parse_query" in changed(package / "query/extra.py", with_constant)


def test_a_registry_stands_for_its_built_in_modules(package):
    assert {"stack_inference", "collect_outputs"} <= changed(package / "inference/models/additive.py", with_constant)
    write(package / "inference/models/other.py", "X = 1\n")
    touched = changed(package / "inference/models/other.py", with_constant)
    assert "stack_inference" in touched
    assert not {"decide", "retrieve_cells", "ground_predictions"} & touched
    # A registry of the same module, and a function that asks only that one, do not come along.
    touched = changed(package / "grounding/components/target_activation.py", with_constant)
    assert "ground_predictions" in touched
    assert not {"stack_inference", "train_model"} & touched


def test_unknown_functions_are_errors(package):
    with pytest.raises(LookupError, match=r"haystack\.nothing\.here"):
        codehash.code_hash("haystack.nothing.here")


def test_what_was_read_is_kept_beside_the_bytecode(package, monkeypatch):
    before = hashes()
    forget()
    monkeypatch.setattr(ast, "parse", lambda text: pytest.fail("read again"))
    assert {rule: codehash.code_hash(*functions) for rule, functions in ENTRIES.items()} == before


def test_the_package_hash_sees_every_module_and_nothing_else(package):
    before = codehash.package_hash.__wrapped__()
    (package / "__pycache__").mkdir(exist_ok=True)
    (package / "__pycache__/x.py").write_text("")
    (package / "notes.md").write_text("notes")
    assert codehash.package_hash.__wrapped__() == before
    (package / "cli.py").write_text((package / "cli.py").read_text() + "# edited\n")
    assert codehash.package_hash.__wrapped__() != before


def test_an_installed_package_has_the_hashes_of_its_checkout(package):
    before = hashes(), codehash.package_hash.__wrapped__()
    NOW.clear()
    (package.parents[1] / "resources").rename(package / "_resources")
    assert (hashes(), codehash.package_hash.__wrapped__()) == before
    assert "ground_predictions" in changed(package / "_resources/knowledge/markers.tsv", lambda text: text + "# x\n")
    assert codehash.package_hash.__wrapped__() != before[1]
