"""Our generation held beside arc-stack's own, on the same random weights."""

from __future__ import annotations

import importlib.util
import math
import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("stack")

from haystack.inference import generation  # noqa: E402
from haystack.inference.architecture import Architecture  # noqa: E402
from haystack.inference.generation import Job, generate_cells  # noqa: E402
from haystack.inference.schedule import KeptDraws, UpstreamDraws, make_schedule, make_windows, unmask  # noqa: E402

_spec = importlib.util.spec_from_file_location("inference_helpers", Path(__file__).with_name("conftest.py"))
helpers = sys.modules.setdefault("inference_helpers", importlib.util.module_from_spec(_spec))
_spec.loader.exec_module(helpers)

LARGE_SHAPED = Architecture(n_genes=300, n_hidden=100, token_dim=16, n_cells=256, n_layers=2, n_heads=8)
"""Stack-Large with fewer layers, genes and positions"""


class MeanInsteadOfDraw:
    """Stands in for upstream's distribution: a "sample" is the mean, so that two implementations stay side by side."""

    def __init__(self, mu, theta):
        self.mu, self.theta = mu, theta

    def sample(self):
        return self.mu


def upstream_module(name):
    """A module of arc-stack: six seconds of imports, so only where a test runs."""
    return importlib.import_module(f"stack.models.{name}")


def upstream_model(architecture, network):
    model = upstream_module("finetune").ICL_FinetunedModel(**architecture.model_dump())
    model.load_state_dict(network.state_dict(), strict=True)
    return model.eval()


def mend_query_embedding(model, n_cells):
    """Upstream's off-by-one, mended by a context ratio whose rounding gives the prompt cells that there are."""
    original = model.get_prediction

    def get_prediction(*args, cell_ratio, context_ratio, **kwargs):
        n_query = max(1, int(n_cells * (1 - (cell_ratio + context_ratio))))
        exact = (n_cells - n_query + 0.5) / n_cells - cell_ratio
        return original(*args, cell_ratio=cell_ratio, context_ratio=exact, **kwargs)

    model.get_prediction = get_prediction


def confident(network, architecture):
    """Large random weights call every cell unfinished; below zero the ranking of the schedule decides."""
    if architecture is not helpers.TINY:
        network.cls[2].bias.fill_(-20.0)


def spy(model):
    """Means and logits of upstream's query cells, step by step."""
    steps = []
    original = model.get_incontext_prediction

    def get_incontext_prediction(*args, is_masked, **kwargs):
        before = is_masked.copy()
        result, logit, masked = original(*args, is_masked=is_masked, **kwargs)
        steps.append((before, result.toarray(), logit.copy(), masked.copy()))
        return result, logit, masked

    model.get_incontext_prediction = get_incontext_prediction
    return steps


def run_both(architecture, ratios, n_prompt, n_query, steps, monkeypatch, gene_pickle, seed=3):
    genes = helpers.genes_of(architecture)
    model = helpers.model_of(architecture, seed)
    confident(model.network, architecture)
    upstream = upstream_model(architecture, model.network)
    mend_query_embedding(upstream, architecture.n_cells)
    theirs = spy(upstream)
    prompt = helpers.counts_of(n_prompt, architecture.n_genes, 1)
    query = helpers.counts_of(n_query, architecture.n_genes, 2)
    prompt_ratio, context_ratio, context_ratio_min = ratios
    monkeypatch.setattr(upstream_module("core.inference"), "NegativeBinomial", MeanInsteadOfDraw)
    result, logit = upstream.get_incontext_generation(
        helpers.adata_of(prompt, genes),
        helpers.adata_of(query, genes),
        gene_pickle(genes),
        num_steps=steps,
        prompt_ratio=prompt_ratio,
        context_ratio=context_ratio,
        context_ratio_min=context_ratio_min,
        mode="mdm",
        show_progress=False,
        num_workers=0,
        random_seed=seed,
    )
    monkeypatch.setattr(generation, "sample_counts", lambda mean, theta, rng: mean)
    ours = []
    original = generation._unmask_step

    def unmask_step(model, state, step):
        original(model, state, step)
        ours.append((state.counts.clone(), state.logit.copy(), state.masked.copy()))

    monkeypatch.setattr(generation, "_unmask_step", unmask_step)
    job = Job(torch.from_numpy(prompt), torch.from_numpy(query), seed, UpstreamDraws(seed))
    schedule = make_schedule(architecture.n_cells, steps, *ratios)
    (generated,) = generate_cells(model, [job], schedule, batch_size=3)
    return theirs, ours, (result.toarray(), logit), generated


@pytest.mark.parametrize(
    ("architecture", "ratios", "n_prompt", "n_query", "steps"),
    [
        pytest.param(helpers.TINY, (0.25, 0.5, 0.25), 40, 45, 3, id="tiny, ratios without rounding"),
        pytest.param(helpers.TINY, (0.25, 0.4, 0.2), 50, 63, 5, id="tiny, default ratios"),
        pytest.param(helpers.TINY, (0.25, 0.4, 0.2), 9, 30, 5, id="fewer prompt cells than positions"),
        pytest.param(LARGE_SHAPED, (0.25, 0.4, 0.2), 200, 100, 2, id="Large-shaped", marks=pytest.mark.slow),
    ],
)
def test_equal_to_upstream_at_every_step(architecture, ratios, n_prompt, n_query, steps, monkeypatch, gene_pickle):
    theirs, ours, (result, logit), generated = run_both(
        architecture, ratios, n_prompt, n_query, steps, monkeypatch, gene_pickle
    )
    assert len(theirs) == len(ours) == steps
    for (_, their_counts, their_logit, their_masked), (counts, our_logit, masked) in zip(theirs, ours, strict=True):
        np.testing.assert_allclose(our_logit, their_logit, rtol=0, atol=2e-4)
        np.testing.assert_allclose(counts.numpy(), their_counts, rtol=2e-4, atol=1e-5)
        assert (masked == their_masked).all()
    np.testing.assert_allclose(generated.mean.numpy(), result, rtol=2e-4, atol=1e-5)
    np.testing.assert_allclose(generated.logit, logit, rtol=0, atol=2e-4)
    taken_early = ~theirs[1][0]
    assert 0 < taken_early.sum() < n_query, (
        "the schedule must take some cells before the last step, else little is tested"
    )


def test_final_counts_follow_upstreams_distribution(monkeypatch, gene_pickle):
    """One step, many seeds: cell totals and zero shares agree with upstream's own draws."""
    architecture = helpers.TINY
    genes = helpers.genes_of(architecture)
    model = helpers.model_of(architecture)
    upstream = upstream_model(architecture, model.network)
    prompt, query = helpers.counts_of(30, 60, 1), helpers.counts_of(16, 60, 2)
    path = gene_pickle(genes)
    theirs, ours = [], []
    schedule = make_schedule(architecture.n_cells, 1, 0.25, 0.25, 0.25)
    for seed in range(40):
        result, _ = upstream.get_incontext_generation(
            helpers.adata_of(prompt, genes),
            helpers.adata_of(query, genes),
            path,
            num_steps=1,
            prompt_ratio=0.25,
            context_ratio=0.25,
            context_ratio_min=0.25,
            mode="mdm",
            show_progress=False,
            num_workers=0,
            random_seed=seed,
        )
        theirs.append(result.toarray())
        job = Job(torch.from_numpy(prompt), torch.from_numpy(query), seed, UpstreamDraws(seed))
        ours.append(generate_cells(model, [job], schedule)[0].counts.numpy())
    theirs, ours = np.stack(theirs), np.stack(ours)
    spread = theirs.std(axis=0) / math.sqrt(len(theirs))
    z = (ours.mean(axis=0) - theirs.mean(axis=0)) / np.maximum(np.hypot(spread, spread), 1e-6)
    assert abs(z.mean()) < 0.15
    assert 0.8 < z.std() < 1.2
    assert abs((ours == 0).mean() - (theirs == 0).mean()) < 0.01
    assert abs(np.log(ours.var(axis=0).mean() / theirs.var(axis=0).mean())) < 0.1


def test_state_dict_is_that_of_the_fine_tuned_class():
    ours = helpers.random_network(helpers.TINY).state_dict()
    theirs = upstream_module("finetune").ICL_FinetunedModel(**helpers.TINY.model_dump()).state_dict()
    assert {name: tensor.shape for name, tensor in ours.items()} == {n: t.shape for n, t in theirs.items()}


def upstream_generation(architecture, prompt, query, path, **options):
    """Upstream's own call with its defaults, on random weights."""
    upstream = upstream_model(architecture, helpers.random_network(architecture))
    defaults = {"mode": "mdm", "show_progress": False, "num_workers": 0, "random_seed": 0}
    return upstream.get_incontext_generation(prompt, query, path, **(defaults | options))


def ours_generation(architecture, n_prompt, n_query, steps=5):
    model = helpers.model_of(architecture)
    prompt = torch.from_numpy(helpers.counts_of(n_prompt, architecture.n_genes, 1))
    query = torch.from_numpy(helpers.counts_of(n_query, architecture.n_genes, 2))
    (out,) = generate_cells(model, [Job(prompt, query, 0)], make_schedule(architecture.n_cells, steps, 0.25, 0.4, 0.2))
    return out


SMALL_WINDOW = helpers.TINY.model_copy(update={"n_cells": 4})


@pytest.mark.parametrize("n_masked", range(1, 60))
def test_fault_quantile_outside_of_zero_to_one(n_masked):
    """In the last step, rounding brings upstream's quantile above 1 (an error) or below (a cell is never made)."""
    masked = np.arange(60) < n_masked
    logits = np.linspace(-2, -1, 60).astype(np.float32)
    taken, after = unmask(masked, logits, 0.0)
    assert (taken == masked).all()
    assert not after.any()


def test_fault_quantile_of_few_query_cells(gene_pickle, monkeypatch):
    genes = helpers.genes_of(SMALL_WINDOW)
    original = helpers.random_network

    def confident_network(architecture, seed=0):
        network = original(architecture, seed)
        confident(network, architecture)
        return network

    monkeypatch.setattr(helpers, "random_network", confident_network)
    prompt, query = (helpers.adata_of(helpers.counts_of(n, 60, n), genes) for n in (8, 4))
    with pytest.raises((ValueError, IndexError)):
        upstream_generation(SMALL_WINDOW, prompt, query, gene_pickle(genes))
    out = ours_generation(SMALL_WINDOW, 8, 4)
    assert out.counts.shape == (4, 60)
    assert (out.mean.sum(dim=1) > 0).all(), "every cell was generated"


def test_fault_shares_that_upstream_asks_for():
    """Upstream's own formula leaves [0, 1] in some (pool, masked) pairs; unmask never asks for such a quantile."""
    above = below = 0
    for n in range(1, 200):
        for n_masked in range(1, n + 1):
            share = (n_masked / n - np.float32(0.0)) * n / n_masked
            above += share > 1
            below += share < 1
    assert above > 0
    assert below > 0


@pytest.mark.parametrize("n_query", [1, 3, pytest.param(50, marks=pytest.mark.slow), 280])
def test_fault_small_query_pools(n_query, gene_pickle):
    window = helpers.TINY.model_copy(update={"n_cells": 512, "n_layers": 1})
    if n_query < 140:
        genes = helpers.genes_of(window)
        prompt, query = (helpers.adata_of(helpers.counts_of(n, 60, n), genes) for n in (40, n_query))
        with pytest.raises((IndexError, ValueError)):
            upstream_generation(window, prompt, query, gene_pickle(genes))
    out = ours_generation(window, 40, n_query)
    library = torch.from_numpy(helpers.counts_of(n_query, 60, 2)).sum(dim=1)
    assert out.counts.shape == (n_query, 60)
    assert torch.isfinite(out.mean).all()
    assert (out.mean.sum(dim=1) > 0.2 * library).all()


def test_fault_query_embedding_one_position_early():
    """Upstream's own arithmetic puts a prompt cell under the query embedding in four of five steps; ours in none."""
    early = 0
    for step, share in zip(
        make_schedule(512, 5, 0.25, 0.4, 0.2), np.linspace(0.2, 0.4, 5, dtype=np.float32), strict=True
    ):
        n_context = int((0.25 + share) * 512)
        assert step.n_base - n_context in (0, 1)
        early += step.n_base - n_context
    assert early == 4
    assert [step.n_query for step in make_schedule(512, 5, 0.25, 0.4, 0.2)] == [281, 256, 230, 204, 179]


def test_fault_query_embedding_reaches_only_query_cells(monkeypatch):
    """With a huge query embedding, prompt positions keep the tokens of their own cells."""
    model = helpers.model_of(helpers.TINY)
    model.network.query_pos_embedding.fill_(100.0)
    seen = []
    original = generation.forward.run_rest

    def run_rest(network, kept, owner, tokens):
        seen.append((tokens.abs().amax(dim=(2, 3)) > 50).sum(dim=1).tolist())
        return original(network, kept, owner, tokens)

    monkeypatch.setattr(generation.forward, "run_rest", run_rest)
    schedule = make_schedule(32, 5, 0.25, 0.4, 0.2)
    prompt, query = (torch.from_numpy(helpers.counts_of(n, 60, n)) for n in (40, 45))
    generate_cells(model, [Job(prompt, query, 0)], schedule, batch_size=1)
    per_window = {len(window.query) for step in schedule for window in make_windows(step, 40, 45, KeptDraws(0))}
    assert {n for batch in seen for n in batch} == per_window


def test_fault_raw(gene_pickle):
    """`.raw` on the query: upstream raises; we take counts from X, or from .raw where X is not counts."""
    from haystack.config import ModelSettings
    from haystack.inference.stack import generate

    genes = helpers.genes_of(helpers.TINY)
    prompt, query = (helpers.adata_of(helpers.counts_of(n, 60, n), genes) for n in (30, 30))
    query.raw = query
    with pytest.raises(AttributeError):
        upstream_generation(helpers.TINY, prompt, query, gene_pickle(genes))
    cells = helpers.cells_of(genes, {"p": (20, 0)}, 10)
    plain = generate(helpers.model_of(helpers.TINY), cells, ModelSettings(), 0)
    cells.raw = cells
    cells.X = np.log1p(cells.X.toarray())
    from_raw = generate(helpers.model_of(helpers.TINY), cells, ModelSettings(), 0)
    assert (plain.X != from_raw.X).nnz == 0


def test_fault_no_seed(gene_pickle, caplog):
    from haystack.config import ModelSettings
    from haystack.inference.stack import generate

    genes = helpers.genes_of(helpers.TINY)
    prompt, query = (helpers.adata_of(helpers.counts_of(n, 60, n), genes) for n in (30, 30))
    with pytest.raises(TypeError):
        upstream_generation(helpers.TINY, prompt, query, gene_pickle(genes), random_seed=None)
    cells = helpers.cells_of(genes, {"p": (20, 0)}, 10)
    generate(helpers.model_of(helpers.TINY), cells, ModelSettings(), None)
    assert "no seed given" in caplog.text


def test_fault_device_is_heeded(tiny_dir, tmp_path):
    """Upstream's command line drops --device; ours refuses one that is not there."""
    import inspect

    from stack.cli import generation as upstream_cli

    from haystack.errors import ModelError
    from haystack.inference.store import load_model

    source = inspect.getsource(upstream_cli.generate)
    assert source.count("device") == 1, "arc-stack now uses its device argument: this fault is gone"
    with pytest.raises(ModelError, match="cuda:99"):
        load_model(tiny_dir, device="cuda:99")
    with pytest.raises(ModelError, match="unknown device"):
        load_model(tiny_dir, device="gpu")
    assert load_model(tiny_dir, device="cpu").device.type == "cpu"
