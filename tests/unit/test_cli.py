"""The `haystack` command as its user calls it."""

import subprocess
import sys

import pytest

from haystack import cli
from haystack.errors import HaystackError


def test_every_command_is_listed(capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(["--help"])
    assert stop.value.code == 0
    shown = capsys.readouterr().out
    for command in ("parse", "resolve", "index", "retrieve", "model", "generate", "ground", "validate", "profile"):
        assert command in shown


def test_unknown_command_is_refused():
    with pytest.raises(SystemExit) as stop:
        cli.main(["predikt"])
    assert stop.value.code == 2


def test_an_error_is_one_message_on_stderr_and_exit_code_1(capsys):
    assert cli.main(["parse", "How would unicorn cells respond to TGF-beta?"]) == 1
    shown = capsys.readouterr()
    assert shown.err.startswith("haystack: ")
    assert "unicorn" in shown.err
    assert "Traceback" not in shown.err


def test_starting_costs_no_heavy_import():
    """`haystack parse` must be quick: nothing of the numeric stack is imported for the command line itself."""
    code = "import sys, haystack.cli as c; c.build_parser(); print([m for m in HEAVY if m in sys.modules])"
    heavy = "HEAVY = ['torch', 'scanpy', 'anndata', 'pandas', 'gseapy', 'duckdb', 'sklearn', 'snakemake']; "
    done = subprocess.run([sys.executable, "-c", heavy + code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_haystack_errors_carry_their_message():
    assert str(HaystackError("what to do", file="a")) == "what to do"
