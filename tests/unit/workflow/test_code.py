"""Hashes of code: an edit of what a rule runs changes its hash, an edit elsewhere does not."""

import shutil

import pytest

from haystack.workflow import code


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A copy of the package whose modules may be edited."""
    copied = tmp_path / "src/haystack"
    shutil.copytree(code.PACKAGE, copied, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(code.PACKAGE.parents[1] / "resources/knowledge", tmp_path / "resources/knowledge")
    monkeypatch.setattr(code, "PACKAGE", copied)
    clear()
    yield copied
    clear()


def clear():
    code.code_hash.cache_clear()
    code._imports.cache_clear()


def hashes():
    clear()
    return {name: code.code_hash(name) for name in ("atlas", "retrieval", "grounding", "inference", "loop", "report")}


def changed(package, module, text="\nEDITED = 1\n"):
    before = hashes()
    path = package / module
    path.write_text(path.read_text() + text)
    after = hashes()
    return {name for name in before if before[name] != after[name]}


def test_edit_reaches_only_what_imports_it(package):
    assert changed(package, "grounding/de.py") == {"grounding"}
    assert "grounding" not in changed(package, "retrieval/__init__.py")
    assert "loop" not in changed(package, "atlas/rows.py")


def test_contracts_are_part_of_everything(package):
    assert changed(package, "contracts/base.py") == set(hashes())


def test_settings_and_commands_are_not(package):
    assert changed(package, "config.py") == set()
    assert changed(package, "errors.py") == set()
    (package / "grounding/commands.py").write_text("X = 1\n")
    assert changed(package, "grounding/commands.py") == set()


def test_tables_that_a_package_reads_count_as_code(package):
    table = next((package.parents[1] / "resources/knowledge").glob("*.tsv"))
    before = hashes()
    table.write_text(table.read_text() + "# edited\n")
    assert hashes()["grounding"] != before["grounding"]


def test_what_is_compiled_at_run_time_does_not_count(package):
    before = hashes()
    for folder in ("inference", "grounding"):
        (package / folder / "__pycache__").mkdir(exist_ok=True)
        (package / folder / "__pycache__/kernel.nbc").write_bytes(b"compiled")
    assert hashes() == before


def test_the_package_hash_sees_every_module_and_nothing_else(package):
    before = code.package_hash.__wrapped__()
    (package / "__pycache__").mkdir(exist_ok=True)
    (package / "__pycache__/x.py").write_text("")
    (package / "notes.md").write_text("notes")
    assert code.package_hash.__wrapped__() == before
    (package / "cli.py").write_text((package / "cli.py").read_text() + "# edited\n")
    assert code.package_hash.__wrapped__() != before


def test_an_installed_package_has_the_hashes_of_its_checkout(package):
    before = hashes(), code.package_hash.__wrapped__()
    (package.parents[1] / "resources").rename(package / "_resources")
    assert (hashes(), code.package_hash.__wrapped__()) == before
    table = next((package / "_resources/knowledge").glob("*.tsv"))
    table.write_text(table.read_text() + "# edited\n")
    assert hashes()["grounding"] != before[0]["grounding"]
    assert code.package_hash.__wrapped__() != before[1]
