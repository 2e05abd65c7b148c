"""Whose arguments a Snakefile that is read may take for Snakemake's."""

from types import SimpleNamespace

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


@pytest.mark.parametrize(
    ("kind", "device", "visible", "given", "expected"),
    [
        ("stack", "auto", "0", {}, (1, {"gpu": 1})),
        ("stack", "auto", "0,1", {"gpu": 2}, (1, {"gpu": 2})),
        ("stack", "cpu", "0", {}, (0, {})),
        ("stack", "auto", "", {}, (0, {})),
        ("additive", "auto", "0", {}, (0, {})),
    ],
)
def test_inferences_take_turns_on_a_gpu(monkeypatch, kind, device, visible, given, expected):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    model = SimpleNamespace(kind=kind, device=device)
    plan = SimpleNamespace(gpus=0, settings=SimpleNamespace(model=model))
    limits = dict(given)
    start._share_gpu(plan, SimpleNamespace(global_resources=limits, register_resource=limits.__setitem__))
    assert (plan.gpus, limits) == expected
