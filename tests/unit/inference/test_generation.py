"""Generation beyond parity: sampling, batches, kept prompts, predictions of every kind of model."""

from __future__ import annotations

import importlib.util
import logging
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy import sparse, stats

torch = pytest.importorskip("torch")

from haystack.config import ModelSettings  # noqa: E402
from haystack.contracts import read_predictions, write_cells  # noqa: E402
from haystack.errors import ModelError  # noqa: E402
from haystack.inference import forward, generation  # noqa: E402
from haystack.inference.generation import Job, generate_cells, make_generator, sample_counts  # noqa: E402
from haystack.inference.predict import run_files, run_inference  # noqa: E402
from haystack.inference.schedule import KeptDraws, make_schedule, make_windows, unmask  # noqa: E402
from haystack.inference.stack import generate  # noqa: E402

_spec = importlib.util.spec_from_file_location("inference_helpers", Path(__file__).with_name("conftest.py"))
helpers = sys.modules.setdefault("inference_helpers", importlib.util.module_from_spec(_spec))
_spec.loader.exec_module(helpers)
GENES = helpers.genes_of(helpers.TINY)
SETTINGS = ModelSettings()


def tensors(*sizes):
    return [torch.from_numpy(helpers.counts_of(n, 60, seed)) for seed, n in enumerate(sizes)]


def schedule():
    return make_schedule(32, 5, 0.25, 0.4, 0.2)


@pytest.mark.parametrize(("mean", "theta"), [(0.3, 0.5), (4.0, 2.0), (60.0, 10.0)])
def test_counts_are_negative_binomial(mean, theta):
    rng = torch.Generator().manual_seed(0)
    draws = sample_counts(torch.full((20000,), mean), torch.full((20000,), theta), rng).numpy()
    law = stats.nbinom(theta, theta / (theta + mean))
    values = np.arange(int(law.ppf(0.999)) + 1)
    assert abs(draws.mean() - mean) < 5 * law.std() / np.sqrt(20000)
    found = (draws[:, None] <= values).mean(axis=0)
    assert np.abs(found - law.cdf(values)).max() < 0.02


def test_a_mean_of_zero_gives_no_counts():
    assert sample_counts(torch.zeros(50), torch.ones(50), torch.Generator().manual_seed(0)).sum() == 0


def test_batch_size_and_neighbours_do_not_change_a_job(tiny, monkeypatch):
    monkeypatch.setattr(generation, "sample_counts", lambda mean, theta, rng: mean)
    prompt, query, other = tensors(50, 40, 30)
    alone = generate_cells(tiny, [Job(prompt, query, 7)], schedule(), batch_size=1)[0]
    together = generate_cells(tiny, [Job(other, query, 1), Job(prompt, query, 7)], schedule(), batch_size=5)[1]
    np.testing.assert_allclose(together.mean, alone.mean, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(together.logit, alone.logit, atol=1e-4)


def test_kept_prompt_cells_are_computed_once(tiny, monkeypatch):
    calls = []
    original = forward.run_kept
    monkeypatch.setattr(
        forward, "run_kept", lambda network, tokens: calls.append(len(tokens)) or original(network, tokens)
    )
    generate_cells(tiny, [Job(*tensors(50, 60), 0)], schedule())
    assert calls == [1]


def test_kept_draws_use_every_prompt_cell_and_keep_the_first():
    draws = KeptDraws(3)
    windows = [window for step in schedule() for window in make_windows(step, 40, 100, draws)]
    kept = {tuple(window.base[:8]) for window in windows}
    assert len(kept) == 1
    assert {row for window in windows for row in window.base} == set(range(40))
    assert all(len(window.base) + len(window.query) <= 32 for window in windows)


def test_windows_cover_each_query_cell_once():
    for n_query in (1, 5, 17, 64):
        for step in schedule():
            real = [row for w in make_windows(step, 9, n_query, KeptDraws(0)) for row in w.query[: w.n_real]]
            assert real == list(range(n_query))


def test_kept_draws_compute_no_position_twice():
    """Neither query cells, nor a prompt cell twice among the kept or in a context, however few there are."""
    for n_prompt in (3, 9, 12, 40):
        draws = KeptDraws(0)
        for step in schedule():
            windows = make_windows(step, n_prompt, 40, draws)
            sizes = [len(window.query) for window in windows]
            assert sum(sizes) == 40
            assert len(sizes) == -(-40 // step.n_query)
            assert max(sizes) - min(sizes) <= 1
            for window in windows:
                kept, context = window.base[: window.n_kept], window.base[window.n_kept :]
                assert len(set(kept)) == len(kept) == min(step.n_kept, n_prompt)
                assert len(set(context)) == len(context) == min(step.n_base - step.n_kept, n_prompt)
                unkept = set(range(n_prompt)) - set(kept)
                assert len(unkept & set(context)) == min(len(unkept), len(context)), "cells not kept come first"


def test_unmask_takes_the_most_confident():
    logits = np.array([-3, -1, -2, 0.5, -4], dtype=np.float32)
    taken, masked = unmask(np.ones(5, dtype=bool), logits, 0.6)
    assert taken.tolist() == [True, False, False, False, True]
    assert masked.tolist() == [False, True, True, True, False]
    taken, masked = unmask(np.array([True, False, False, False, False]), logits, 0.6)
    assert not taken.any(), "fewer are masked than the schedule leaves: nothing to take"
    assert masked.tolist() == [True, False, False, True, False]


@pytest.mark.parametrize("ratios", [(0.25, 0.8, 0.2), (0.25, 0.2, 0.4), (0.001, 0.4, 0.2)])
def test_ratios_that_leave_no_room(ratios):
    with pytest.raises(ModelError, match="ratio"):
        make_schedule(32, 5, *ratios)


def test_out_of_memory_halves_the_batch(tiny, monkeypatch, caplog):
    sizes = []
    original = forward.run_rest

    def run_rest(network, kept, owner, tokens):
        sizes.append(len(tokens))
        if len(tokens) > 2:
            raise torch.OutOfMemoryError("no room")
        return original(network, kept, owner, tokens)

    monkeypatch.setattr(forward, "run_rest", run_rest)
    job = Job(*tensors(50, 100), 0)
    small = generate_cells(tiny, [job], schedule(), batch_size=8)[0]
    assert sizes[:4] == [2, 4, 2, 2]
    assert "out of memory: going on with" in caplog.text
    monkeypatch.setattr(forward, "run_rest", original)
    again = generate_cells(tiny, [Job(*tensors(50, 100), 0)], schedule(), batch_size=2)[0]
    assert torch.equal(small.counts, again.counts)


def test_out_of_memory_with_one_window_is_an_error(tiny, monkeypatch):
    def run_rest(*_):
        raise torch.OutOfMemoryError("no room")

    monkeypatch.setattr(forward, "run_rest", run_rest)
    with pytest.raises(torch.OutOfMemoryError):
        generate_cells(tiny, [Job(*tensors(50, 100), 0)], schedule(), batch_size=4)


def test_predictions_are_written_without_a_word_about_columns(tiny_dir, tmp_path, caplog, monkeypatch):
    write_cells(tmp_path / "cells.h5ad", helpers.cells_of(GENES, {"p1": (20, 20)}, 12))
    monkeypatch.setattr(logging.getLogger("anndata"), "handlers", [caplog.handler])  # it does not propagate
    caplog.clear()
    with caplog.at_level(logging.INFO, logger="anndata"):
        run_inference(tiny_dir, tmp_path / "cells.h5ad", tmp_path / "out.h5ad", SETTINGS, 5)
    assert "as categorical" not in caplog.text


def test_predictions_have_the_contracts_form(tiny_dir, tmp_path, caplog):
    cells = helpers.cells_of(GENES, {"p1": (20, 20), "p2": (9, 0)}, 12)
    write_cells(tmp_path / "cells.h5ad", cells)
    with caplog.at_level(logging.INFO):
        report = run_inference(tiny_dir, tmp_path / "cells.h5ad", tmp_path / "out.h5ad", SETTINGS, 5)
    out = read_predictions(tmp_path / "out.h5ad")
    assert out.obs.groupby(["prompt_id", "role"], observed=True).size().to_dict() == {
        ("p1", "perturbed"): 12,
        ("p1", "control"): 12,
        ("p2", "perturbed"): 12,
        ("p2", "control"): 12,
        ("p2", "reconstruction"): 12,
    }
    assert out.obs_names.is_unique
    assert sparse.isspmatrix_csr(out.X)
    assert out.layers["mean"].dtype == np.float32
    assert set(out.obs["query_cell_id"]) == set(cells.obs_names[-12:])
    original = out[(out.obs["prompt_id"] == "p2") & (out.obs["role"] == "control")]
    assert (original.X != cells[-12:].X).nnz == 0
    assert original.obs["gen_logit"].isna().all()
    library = np.asarray(cells[-12:].X.sum(axis=1)).ravel()
    mean = out[(out.obs["prompt_id"] == "p1") & (out.obs["role"] == "perturbed")].layers["mean"]
    assert (np.abs(mean.sum(axis=1) / library - 1) < 0.6).all()
    assert report["device"] == "cpu"
    assert set(report["seconds"]) == {"read", "load", "generate", "write"}
    assert report["peak_memory_gib"] > 0
    assert "cells per second" in caplog.text


def test_same_seed_same_bytes(tiny_dir, tmp_path):
    write_cells(tmp_path / "cells.h5ad", helpers.cells_of(GENES, {"p1": (20, 20)}, 12))
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        run_inference(tiny_dir, tmp_path / "cells.h5ad", tmp_path / f"{name}.h5ad", SETTINGS, seed)
    a, b, c = ((tmp_path / f"{name}.h5ad").read_bytes() for name in "abc")
    assert a == b
    assert a != c


def test_a_failed_run_leaves_no_file(tiny_dir, tmp_path, monkeypatch):
    write_cells(tmp_path / "cells.h5ad", helpers.cells_of(GENES, {"p1": (20, 20)}, 12))
    monkeypatch.setattr(generation, "sample_counts", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run_inference(tiny_dir, tmp_path / "cells.h5ad", tmp_path / "out.h5ad", SETTINGS, 1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cells.h5ad", "model"]


def test_prompt_results_do_not_depend_on_other_prompts(tiny):
    both = helpers.cells_of(GENES, {"p1": (20, 20), "p2": (20, 20)}, 12)
    one = both[(both.obs["prompt_id"] != "p1").to_numpy()].copy()
    together = generate(tiny, both, SETTINGS, 3)
    alone = generate(tiny, one, SETTINGS, 3)
    shared = together[(together.obs["prompt_id"] == "p2").to_numpy()]
    assert shared.obs_names.tolist() == alone.obs_names.tolist()
    np.testing.assert_allclose(
        np.corrcoef(shared.layers["mean"].ravel(), alone.layers["mean"].ravel())[0, 1], 1, atol=0.02
    )


@pytest.mark.slow
def test_averaging_generations_has_less_noise(tiny):
    cells = helpers.cells_of(GENES, {"p1": (40, 0)}, 30)

    def mean(generations, seed):
        out = generate(tiny, cells, ModelSettings(generations=generations), seed)
        return out[(out.obs["role"] == "perturbed").to_numpy()].layers["mean"]

    one = np.abs(mean(1, 1) - mean(1, 2)).mean()
    five = np.abs(mean(5, 1) - mean(5, 2)).mean()
    assert five < 0.7 * one


def test_genes_missing_extra_and_in_lower_case(tiny, caplog):
    cells = helpers.cells_of([*(gene.lower() for gene in GENES[:25]), "OTHER"], {"p": (9, 9)}, 4)
    out = generate(tiny, cells, SETTINGS, 0)
    assert out.var_names.tolist() == GENES
    assert out.var["measured"].sum() == 25
    assert "only 25 of the model's 60 genes" in caplog.text


def test_symbols_that_coincide_are_summed(tiny):
    from haystack.inference.cells import align

    cells = helpers.adata_of(np.array([[1.0, 2.0, 4.0]], dtype=np.float32), ["GENE1", "gene1", "GENE2"])
    counts, _ = align(cells, GENES)
    assert counts.toarray()[0, :4].tolist() == [0, 3, 4, 0]


def test_cells_that_are_refused(tiny):
    with pytest.raises(ModelError, match="no gene of the cells is known"):
        generate(tiny, helpers.cells_of(["A", "B"], {"p": (3, 0)}, 2), SETTINGS, 0)
    empty = helpers.cells_of(GENES, {"p": (3, 0)}, 2)
    empty.X = sparse.csr_matrix(empty.shape, dtype=np.float32)
    with pytest.raises(ModelError, match="no cell has a count"):
        generate(tiny, empty, SETTINGS, 0)
    no_query = helpers.cells_of(GENES, {"p": (3, 0)}, 0)
    with pytest.raises(ModelError, match="prompt p has no query cells"):
        generate(tiny, no_query, SETTINGS, 0)
    logged = helpers.cells_of(GENES, {"p": (3, 0)}, 2)
    logged.X = logged.X.log1p()
    with pytest.raises(ModelError, match="no raw counts"):
        generate(tiny, logged, SETTINGS, 0)


def test_empty_and_repeated_cells(tiny, caplog):
    cells = helpers.cells_of(GENES, {"p": (6, 6)}, 5)
    counts = cells.X.toarray()
    counts[1] = counts[0]
    counts[-1] = 0
    cells.X = sparse.csr_matrix(counts)
    out = generate(tiny, cells, SETTINGS, 0)
    assert "1 of 5 cells have no count" in caplog.text
    last = out[(out.obs["query_cell_id"] == cells.obs_names[-1]).to_numpy()]
    assert last.X.sum() == 0
    assert np.isfinite(out.layers["mean"]).all()


@pytest.mark.parametrize("kind", ["no_change", "prompt_mean", "additive"])
def test_baselines(kind, tmp_path):
    cells = helpers.cells_of(GENES, {"p": (200, 200)}, 40)
    counts = cells.X.toarray()
    counts[:200, 3] += 25
    cells.X = sparse.csr_matrix(counts)
    write_cells(tmp_path / "cells.h5ad", cells)
    run_inference(None, tmp_path / "cells.h5ad", tmp_path / "out.h5ad", ModelSettings(kind=kind, path=None), 0)
    out = read_predictions(tmp_path / "out.h5ad")
    perturbed, control = (out[(out.obs["role"] == role).to_numpy()] for role in ("perturbed", "control"))
    query = counts[-40:]
    gain = perturbed.layers["mean"][:, 3].mean() - control.layers["mean"][:, 3].mean()
    if kind == "no_change":
        assert (perturbed.X.toarray() == query).all()
    else:
        assert gain > 10
        np.testing.assert_allclose(perturbed.X.toarray().mean(), perturbed.layers["mean"].mean(), rtol=0.05)
    if kind == "additive":
        cp = 1e4 * counts / counts.sum(axis=1, keepdims=True)
        change = np.log2((cp[:200].mean(axis=0) + 1) / (cp[200:400].mean(axis=0) + 1))
        made = perturbed.layers["mean"]
        fold = (made.mean(axis=0) / made.sum() * len(made) * 1e4 + 1) / (cp[-40:].mean(axis=0) + 1)
        assert abs(np.log2(fold[3]) - change[3]) < 0.1
        np.testing.assert_allclose(control.layers["mean"], query, rtol=1e-3, atol=1e-3)
    if kind == "prompt_mean":
        share = (counts[:200] / counts[:200].sum(axis=1, keepdims=True)).mean(axis=0)
        np.testing.assert_allclose(perturbed.layers["mean"][0], share * query[0].sum(), rtol=1e-3)


def test_own_files(tiny_dir, tmp_path):
    paths = {}
    for role, n in (("prompt", 20), ("control", 15), ("query", 10)):
        paths[role] = tmp_path / f"{role}.h5ad"
        helpers.adata_of(helpers.counts_of(n, 50, n), GENES[:50], role).write_h5ad(paths[role])
    files = paths["prompt"], paths["control"], paths["query"]
    run_files(tiny_dir, *files, tmp_path / "out.h5ad", SETTINGS, 0)
    out = read_predictions(tmp_path / "out.h5ad")
    assert out.obs["role"].value_counts().to_dict() == {"perturbed": 10, "control": 10}
    assert out.var["measured"].sum() == 50
    with pytest.raises(ModelError, match="nowhere"):
        run_files(tiny_dir, tmp_path / "nowhere.h5ad", None, paths["query"], tmp_path / "x.h5ad", SETTINGS, 0)


def test_bf16_is_close(tiny):
    single, query = generate, helpers.cells_of(GENES, {"p": (30, 30)}, 20)
    half = helpers.model_of(helpers.TINY)
    half.network.to(torch.bfloat16)
    means = [single(model, query, ModelSettings(steps=1), 0).layers["mean"] for model in (tiny, half)]
    assert np.corrcoef(means[0].ravel(), means[1].ravel())[0, 1] > 0.99


def test_apples_devices_which_draw_no_poisson_get_the_processors_draws():
    mean, theta = torch.full((20, 30), 4.0), torch.full((20, 30), 2.0)
    apple = make_generator(torch.device("mps"), 3)
    assert apple.device == torch.device("cpu")
    drawn = sample_counts(mean, theta, apple)
    assert torch.equal(drawn, sample_counts(mean, theta, make_generator(torch.device("cpu"), 3)))
    assert not torch.equal(drawn, sample_counts(mean, theta, make_generator(torch.device("cpu"), 4)))


def test_a_round_of_jobs_bounds_memory_and_changes_nothing(tiny, monkeypatch):
    """As many jobs at once as a batch has windows, whatever the generations; cells are read once for all of them."""
    cells = helpers.cells_of(GENES, {"a": (20, 15), "b": (12, 12), "c": (9, 9)}, n_query=10)
    held, steps, plain = [], [], generation.generate_cells
    read, tokenize = [], forward.tokenize

    def spy(model, jobs, *more):
        held.append(len(jobs))
        return plain(model, jobs, *more)

    monkeypatch.setattr(generation, "generate_cells", spy)
    monkeypatch.setattr(
        forward, "tokenize", lambda network, counts: read.append(len(counts)) or tokenize(network, counts)
    )
    settings = SETTINGS.model_copy(update={"generations": 3, "batch_size": 4, "steps": 1})
    small = generate(tiny, cells, settings, 0, progress=lambda done, total: steps.append((done, total)))
    assert held == [4, 4, 4, 4, 2]  # three prompts, perturbed and control, three generations
    assert sorted(read) == [9, 9, 10, 12, 12, 15, 20]
    assert steps[-1] == (10 * 18, 10 * 18)
    assert steps == sorted(steps)
    whole = generate(tiny, cells, settings.model_copy(update={"batch_size": 64}), 0, progress=lambda done, total: None)
    assert held[5:] == [18]
    np.testing.assert_array_equal(small.X.toarray(), whole.X.toarray())
    np.testing.assert_allclose(small.layers["mean"], whole.layers["mean"], rtol=1e-5)


def test_generations_of_a_prompt_share_its_kept_cells(tiny, monkeypatch):
    """Where all prompt cells are kept, every generation keeps the same ones."""
    groups, run_kept = [], forward.run_kept
    monkeypatch.setattr(forward, "run_kept", lambda *given: groups.append(given[1].shape[:2]) or run_kept(*given))
    few, many, query = tensors(8, 50, 20)
    generate_cells(tiny, [Job(prompt, query, seed) for prompt in (few, many) for seed in range(3)], schedule())
    assert groups == [(4, 8)]
