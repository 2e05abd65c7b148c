"""The `haystack` command as its user calls it."""

import shlex
import subprocess
import sys

import pytest

from haystack import cli
from haystack.cli_help import EXAMPLES, commands
from haystack.errors import HaystackError


def test_every_command_is_listed(capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(["--help"])
    assert stop.value.code == 0
    shown = capsys.readouterr().out
    for command in ("parse", "resolve", "index", "retrieve", "model", "generate", "ground", "validate", "profile"):
        assert command in shown


def test_no_command_prints_the_help(capsys):
    assert cli.main([]) == 0
    assert "parse" in capsys.readouterr().out


@pytest.mark.parametrize("above", ["runs", "gcp", "atlas"])
def test_a_group_without_a_command_is_refused(above):
    with pytest.raises(SystemExit) as stop:
        cli.main([above])
    assert stop.value.code == 2


def test_every_command_has_a_sentence_an_example_that_parses_and_explained_arguments():
    parser = cli.build_parser()
    found = list(commands(parser))
    assert {path for path, _, _ in found} == set(EXAMPLES)
    for path, command, _ in found:
        assert command.description.endswith("."), path
        assert f"example: haystack {path}" in command.epilog, path
        assert not [item.dest for item in command._actions if not item.help], path
        arguments = shlex.split(f"{path} {EXAMPLES[path]}".partition(" -- ")[0])
        assert parser.parse_args(arguments).run, path


def test_parse_prints_a_compact_table(capsys):
    assert cli.main(["parse", "How would B cells respond to IFN-beta?"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "How would B cells respond to IFN-beta?"
    assert any(line.split() == ["cells", "B", "cell", "CL:0000236"] for line in lines)
    assert any(line.split()[0] == "perturbation" and "cytokine" in line for line in lines)
    assert len(lines) < 12


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


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_completion_knows_commands_and_options(capsys, shell):
    assert cli.main(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert "atlas" in script
    assert "--perturbed" in script
