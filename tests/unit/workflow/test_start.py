"""Whose arguments a Snakefile that is read may take for Snakemake's."""

import pytest

from haystack.workflow import start


@pytest.mark.parametrize("program", ["/venv/bin/snakemake", "/venv/site-packages/snakemake/__main__.py"])
def test_snakemakes_own_arguments_are_read(program, monkeypatch):
    monkeypatch.setattr("sys.argv", [program, "--keep-going", "-n"])
    assert start._arguments().keep_going


@pytest.mark.parametrize("program", ["/venv/bin/haystack", "/venv/site-packages/pytest/__main__.py", "/lib/pdb.py"])
def test_those_of_another_program_are_not(program, monkeypatch):
    """`haystack debug` and a notebook read the Snakefile too; their arguments mean nothing to Snakemake."""
    monkeypatch.setattr("sys.argv", [program, "-m", "not slow", "--run", "x"])
    assert start._arguments() is None
