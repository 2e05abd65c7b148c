"""The logic of benchmarks/gpu.py, which no GPU has run yet."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch.nn.functional import scaled_dot_product_attention  # noqa: E402

from haystack.inference import generation  # noqa: E402

SCRIPT = Path(__file__).parents[3] / "benchmarks" / "gpu.py"
CARD = SimpleNamespace(type="cuda", index=0)


@pytest.fixture
def gpu(monkeypatch):
    spec = importlib.util.spec_from_file_location("gpu_benchmark", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("least", "taken", "busy", "expected"),
    [
        (0.6, 1.0, 0.9, "products"),
        (0.2, 1.0, 0.9, "memory"),
        (0.2, 1.0, 0.5, "the processor"),
        (0.1, 1, None, "not known"),
    ],
)
def test_the_bound_is_named(gpu, least, taken, busy, expected):
    assert gpu.bound(least, taken, busy).startswith(f"{expected} (products need {least / taken:.0%} of the time")


def test_energy_is_power_over_time(gpu, monkeypatch):
    clock = iter([0.0, 1.0, 3.0])
    readings = iter([100.0, 200.0, 200.0])
    monkeypatch.setattr(gpu, "perf_counter", lambda: next(clock))
    with gpu.Energy(CARD, watts=lambda: next(readings)) as energy:
        monkeypatch.setattr(energy._done, "wait", lambda seconds: len(energy._readings) > 1 and energy._done.set())
        while len(energy._readings) < 3:
            pass
    assert energy.joules == 150 + 400
    with gpu.Energy(torch.device("cpu")) as silent:
        pass
    assert silent.joules is None


def test_a_math_path_is_seen(gpu):
    q = torch.randn(1, 1, 4, 4)
    assert gpu.attention_kernels(lambda: scaled_dot_product_attention(q, q, q)) == "fused"
    assert gpu.attention_kernels(lambda: scaled_dot_product_attention(q, q, q, dropout_p=0.5)).startswith("math path")


def test_waits_are_errors_within_a_step_only(gpu, monkeypatch):
    modes, within = [], []
    monkeypatch.setattr(torch.cuda, "set_sync_debug_mode", modes.append)
    step = lambda *given: within.append(list(modes))  # noqa: E731
    monkeypatch.setattr(generation, "_run_step", step)
    assert gpu.waits_within_a_step(lambda: generation._run_step(), CARD) == "none"
    assert within == [["error"]]
    assert modes == ["error", "default"]
    assert generation._run_step is step

    def waits(*given):
        raise RuntimeError("called a synchronizing CUDA operation")

    monkeypatch.setattr(generation, "_run_step", waits)
    assert gpu.waits_within_a_step(lambda: generation._run_step(), CARD).startswith("yes (called a synch")
    assert modes[-1] == "default"
    assert gpu.waits_within_a_step(lambda: None, torch.device("cpu")) == "not a card"


def test_parity_is_the_largest_difference_and_r(gpu):
    means, change = np.array([[1.0, 10.0]]), np.array([1.0, 2.0, 3.0])
    assert gpu.compare((means + 0.5, 2 * change), (means, change)) == "5.0e-02, 1.0000"


def test_cut_factors_have_ten_bits(gpu):
    fine = torch.tensor([[1.0, 1 + 2**-10, 1 + 2**-11]])
    with gpu.cut_factors():
        products = torch.nn.functional.linear(fine.T, torch.ones(1, 1), torch.tensor([2**-11]))
        same = (fine.T @ torch.ones(1, 1)).flatten()
    assert products.flatten().tolist() == [1 + 2**-11, 1 + 2**-10 + 2**-11, 1 + 2**-11], "the bias is added as it is"
    assert same.tolist() == [1, 1 + 2**-10, 1]
    assert (fine.T @ torch.ones(1, 1)).flatten().tolist() == fine.flatten().tolist()


@pytest.mark.slow
@pytest.mark.parametrize("upstream", [False, True])
def test_a_tiny_model_fills_the_table(gpu, tmp_path, monkeypatch, capsys, upstream):
    common = gpu._load("inference")
    monkeypatch.setattr(gpu, "_load", lambda name: common)
    tiny = {"n_hidden": 4, "token_dim": 8, "n_cells": 32, "n_layers": 1, "n_heads": 2, "n_genes": 60}
    for name, value in (("SMALL", tiny), ("PROMPT_CELLS", 24), ("QUERY_CELLS", 20)):
        monkeypatch.setattr(common, name, value)
    monkeypatch.setattr(gpu, "product_rate", lambda model: 1e12)
    out = tmp_path / "gpu.md"
    options = ["--device", "cpu", "--small", "--prompts", "1", "2", "--precisions", "fp32", "bf16", "--repeats", "1"]
    text = gpu.main([*options, "--out", str(out), *([] if upstream else ["--no-upstream"])])
    assert out.read_text() == text
    rows = [line.split(" | ") for line in text.splitlines() if line.startswith("| haystack")]
    assert [row[0][2:].split(" (load")[0] for row in rows] == [
        f"haystack, K={k} with controls, {precision}" for precision in ("fp32", "bf16") for k in (1, 2)
    ]
    assert {len(row) for row in rows} == {gpu.HEAD.splitlines()[0].count("|") - 1}
    assert rows[0][-1].startswith("0.0e+00, 1.0000"), "the processor in fp32 is what it is held against"
    assert 0 < float(rows[2][-1].split(",")[0]) < 0.1
    assert ("| arc-stack, one prompt" in text) is upstream
    assert "another seed on the processor: r of changes" in text
    assert "left out" not in text
    parity = gpu.main([*options[:-1], "0"])
    assert parity.count("| bf16 |") == 1
    short = gpu.main([*options, "--limit", "0", "--no-upstream"])
    assert "left out for want of time: parity, fp32, bf16" in short
    assert "haystack, K=" not in short
