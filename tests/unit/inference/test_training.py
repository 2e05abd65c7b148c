"""Training: hold-outs, windows, losses, resuming, and that a small model learns to use its prompt."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import sparse, stats

torch = pytest.importorskip("torch")
ad = pytest.importorskip("anndata")

from haystack.config import AtlasEntry, CellFilter, ObsColumns, TrainSettings  # noqa: E402
from haystack.contracts import CELLS, write_table  # noqa: E402
from haystack.errors import ModelError  # noqa: E402
from haystack.inference import training  # noqa: E402
from haystack.inference.losses import nb_divergence, nb_negative_log_likelihood  # noqa: E402
from haystack.inference.store import load_model  # noqa: E402
from haystack.inference.training import train_model  # noqa: E402
from haystack.inference.training_cells import CONTROL, read_training_cells, residual_variance  # noqa: E402
from haystack.inference.validation import summarize, validate_held_out  # noqa: E402
from haystack.inference.windows import Mixture, WindowMaker  # noqa: E402

TYPES = ["alpha", "beta", "gamma", "delta"]
PERTURBATIONS = ["ctrl", "drug one", "drug two", "drug three", "drug four"]
GENES = [f"GENE{i}" for i in range(120)]
ENTRY = {"path": "", "obs": ObsColumns(cell_type="t", perturbation="p", donor="d"), "control_labels": ["ctrl"]}


def simulate(folder, per_set=40):
    """Four types, four drugs that each raise a block of eight genes, two donors; labels beyond any ontology."""
    rng = np.random.default_rng(0)
    base = rng.gamma(1.0, 1.0, 120) + 0.1
    marks = {t: np.where(np.arange(120) // 8 == i, 6.0, 1.0) for i, t in enumerate(TYPES)}
    rises = {p: np.where(np.arange(120) // 8 == 5 + i, 8.0, 1.0) for i, p in enumerate(PERTURBATIONS)}
    rises["ctrl"] = np.ones(120)
    blocks, rows = [], []
    for t in TYPES:
        for p in PERTURBATIONS:
            for donor in ("d1", "d2"):
                profile = base * marks[t] * rises[p]
                depth = rng.lognormal(np.log(400), 0.2, per_set)[:, None]
                blocks.append(rng.poisson(depth * profile / profile.sum() * rng.gamma(8, 1 / 8, (per_set, 120))))
                rows += [(t, p, donor)] * per_set
    frame = pd.DataFrame(rows, columns=["t", "p", "d"], index=[f"c{i}" for i in range(len(rows))])
    counts = sparse.csr_matrix(np.concatenate(blocks).astype(np.float32))
    path = folder / "atlas.h5ad"
    ad.AnnData(counts, obs=frame, var=pd.DataFrame(index=GENES)).write_h5ad(path)
    control = (frame["p"] == "ctrl").to_numpy()
    table = pd.DataFrame(
        {
            "row": np.arange(len(frame)),
            "cell_type_original": frame["t"].to_numpy(),
            "perturbation_original": frame["p"].to_numpy(),
            "cell_type_name": frame["t"].to_numpy(),
            "perturbation_name": frame["p"].where(~control).to_numpy(),
            "is_control": control,
            "donor_id": ("x:" + frame["d"]).to_numpy(),
        }
    )
    for column in CELLS.columns:
        if column.name not in table:
            table[column.name] = pd.Series([None] * len(table), dtype=object)
    write_table(folder / "cells.parquet", table, CELLS)
    return {"x": AtlasEntry(**{**ENTRY, "path": str(path)})}, {"x": folder / "cells.parquet"}


@pytest.fixture(scope="module")
def atlas(tmp_path_factory):
    return simulate(tmp_path_factory.mktemp("atlas"))


def settings(**kwargs):
    small = {"n_genes": 100, "n_hidden": 8, "n_layers": 2, "n_cells": 32, "steps": 20, "batch_size": 2, "n_heads": 2}
    return TrainSettings(atlases=["x"], **{**small, **kwargs})


HELD_OUT = [CellFilter(perturbation=["drug four"]), CellFilter(cell_type=["alpha"], perturbation=["drug one"])]


@pytest.fixture(scope="module")
def cells(atlas):
    return read_training_cells(*atlas, settings(), HELD_OUT, 0)


def test_held_out_cells_are_in_no_window_and_choose_no_gene(atlas, cells):
    held = (cells.perturbation == "drug four") | ((cells.perturbation == "drug one") & (cells.cell_type == "alpha"))
    assert (cells.held_out == held).all()
    assert not (cells.validation & cells.held_out).any()
    maker = WindowMaker(cells, 32, Mixture(0.3, 0.3), ~cells.validation & ~cells.held_out)
    used = np.concatenate(list(maker.controls.values()) + [r for t in maker.perturbed.values() for r in t.values()])
    assert not cells.held_out[used].any()
    assert not cells.validation[used].any()
    assert len(used) == (~cells.validation & ~cells.held_out).sum()
    few = read_training_cells(*atlas, settings(n_genes=50), HELD_OUT, 0)
    raised = {f"GENE{i}" for i in range(72, 80)}
    everything = read_training_cells(*atlas, settings(n_genes=50), [], 0)
    assert len(raised & set(everything.genes)) >= 6
    assert len(raised & set(few.genes)) <= 4, "genes that only the held-out drug raises are not chosen for it"


def test_always_genes_and_cells_per_set(atlas):
    few = read_training_cells(*atlas, settings(n_genes=50, always_genes=["gene119"], cells_per_set=10), [], 0)
    assert "GENE119" in few.genes
    assert len(few.counts) == 4 * 5 * 2 * 10
    with pytest.raises(ModelError, match="NOSUCH"):
        read_training_cells(*atlas, settings(always_genes=["NOSUCH"]), [], 0)


def test_nothing_left_to_train_on(atlas):
    with pytest.raises(ModelError, match="leave no labelled cell"):
        read_training_cells(*atlas, settings(), [CellFilter(cell_type=TYPES)], 0)
    with pytest.raises(ModelError, match="'y' is not among"):
        read_training_cells(*atlas, settings().model_copy(update={"atlases": ["y"]}), [], 0)
    only_controls = read_training_cells(*atlas, settings(), [CellFilter(perturbation=PERTURBATIONS[1:])], 0)
    with pytest.raises(ModelError, match="both control and perturbed"):
        WindowMaker(only_controls, 32, Mixture(0.3, 0.3), ~only_controls.held_out)


def test_residual_variance_is_scanpys():
    scanpy = pytest.importorskip("scanpy")
    rng = np.random.default_rng(0)
    counts = rng.poisson(rng.gamma(0.5, 2, size=(1, 40)) * rng.gamma(2, 1, size=(80, 1))).astype(np.float32)
    counts[:, 0] += rng.poisson(3, 80) * (np.arange(80) < 20)
    data = ad.AnnData(sparse.csr_matrix(counts))
    found = scanpy.experimental.pp.highly_variable_genes(data, n_top_genes=10, inplace=False)
    np.testing.assert_allclose(residual_variance(data.X.tocsc()), found["residual_variances"], rtol=1e-3, atol=1e-5)


def test_windows(cells):
    maker = WindowMaker(cells, 32, Mixture(0.3, 0.3), ~cells.validation & ~cells.held_out)
    rng = np.random.default_rng(0)
    for _ in range(60):
        n_base = maker.draw_base_size(rng)
        window = maker.draw(rng, n_base, 5)
        assert window.observed.shape == (32, 100)
        assert (window.observed >= 0).all()
        assert (window.observed % 1 == 0).all()
        np.testing.assert_allclose(window.target.sum(axis=1), 1, rtol=1e-4)
        assert len(window.unfinished) == 32 - n_base
    same = [maker.draw(np.random.default_rng(9), 16, 5) for _ in range(2)]
    assert (same[0].observed == same[1].observed).all()
    assert (same[0].target == same[1].target).all()


def test_targets_of_perturbed_and_control_windows(cells):
    pool = ~cells.validation & ~cells.held_out
    rng = np.random.default_rng(1)
    raised = [i for i, gene in enumerate(cells.genes) if 48 <= int(gene[4:]) < 80]
    perturbed, control = (WindowMaker(cells, 32, mixture, pool) for mixture in (Mixture(0, 0), Mixture(1, 0)))
    gains = []
    for maker in (perturbed, control):
        windows = [maker.draw(rng, 16, 8) for _ in range(20)]
        gains.append(
            np.mean([w.target[:, raised].sum(1).mean() / w.unchanged[:, raised].sum(1).mean() for w in windows])
        )
        labels = {float(value) for w in windows for value in w.unfinished}
        assert labels == ({0.0, 1.0} if maker is perturbed else {0.0})
    assert gains[0] > 1.5
    assert 0.9 < gains[1] < 1.1


def test_made_up_perturbations_change_prompt_and_target_alike(cells):
    maker = WindowMaker(cells, 32, Mixture(0, 1), ~cells.validation & ~cells.held_out)
    rng = np.random.default_rng(2)
    agreement = []
    for _ in range(30):
        plan = maker._plan_control(rng, 16, synthetic=True)
        genes, fold = plan.effect
        if not len(genes):
            continue
        rows = np.repeat(plan.base, 20)
        before, after = cells.counts[rows].mean(axis=0)[genes], maker._apply(rng, rows, plan.effect).mean(axis=0)[genes]
        seen = before > 0.5
        agreement.append(np.abs(np.log2(after[seen] / before[seen]) - np.log2(fold[seen])))
    assert np.median(np.concatenate(agreement)) < 0.15


def test_likelihood_is_scipys():
    rng = np.random.default_rng(0)
    counts, mean, theta = rng.poisson(2.0, (7, 9)), rng.gamma(2, 1, (7, 9)), rng.gamma(2, 1, 9)
    expected = -stats.nbinom.logpmf(counts, theta, theta / (theta + mean)).mean()
    from scipy.special import gammaln

    expected -= gammaln(counts + 1).mean()
    args = (torch.tensor(counts, dtype=torch.float64), torch.tensor(np.log(mean)), torch.tensor(theta))
    assert float(nb_negative_log_likelihood(*args)) == pytest.approx(expected, rel=1e-6)


def test_divergence_is_zero_at_the_truth_and_has_the_gradient_of_the_likelihood():
    rng = np.random.default_rng(1)
    mean, theta = torch.tensor(rng.gamma(2, 1, (1, 5))), torch.tensor(rng.gamma(2, 1, 5))
    assert float(nb_divergence(mean, mean.log(), theta)) == pytest.approx(0, abs=1e-9)
    log_mean = torch.zeros(1, 5, dtype=torch.float64, requires_grad=True)
    nb_divergence(mean, log_mean, theta).backward()
    expected = log_mean.grad.clone()
    log_mean.grad = None
    draws = torch.tensor(
        rng.poisson(rng.gamma(theta.numpy(), (mean / theta).numpy(), (200000, 5))), dtype=torch.float64
    )
    nb_negative_log_likelihood(draws, log_mean.expand(200000, 5), theta).backward()
    np.testing.assert_allclose(log_mean.grad, expected, rtol=0.1, atol=0.003)
    assert float(nb_divergence(mean, log_mean.detach(), theta)) > 0


@pytest.mark.slow
def test_same_seed_same_weights_and_a_killed_training_resumes(atlas, tmp_path, monkeypatch):
    monkeypatch.setattr(training, "EVERY", 2)
    monkeypatch.setattr(training, "HEAD_BATCHES", 2)
    monkeypatch.setattr(training, "VALIDATION_BATCHES", 1)
    train_model(*atlas, tmp_path / "a", settings(steps=8, batch_size=1), HELD_OUT, 1)
    original, saved = training._save_state, []

    def dies(*args):
        original(*args)
        saved.append(1)
        if len(saved) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(training, "_save_state", dies)
    with pytest.raises(KeyboardInterrupt):
        train_model(*atlas, tmp_path / "b", settings(steps=8, batch_size=1), HELD_OUT, 1)
    assert (tmp_path / "b" / training.STATE).exists()
    assert not (tmp_path / "b" / "provenance.json").exists()
    train_model(*atlas, tmp_path / "b", settings(steps=8, batch_size=1), HELD_OUT, 1)
    assert len(saved) == 4, "two of the four stretches were done before"
    a, b = (load_model(tmp_path / name) for name in "ab")
    for name, tensor in a.network.state_dict().items():
        assert torch.equal(tensor, b.network.state_dict()[name]), name
    assert a.provenance.training["loss"] == b.provenance.training["loss"]
    assert a.provenance.source["cells_held_out"] == 400
    assert "drug four" not in a.provenance.source["perturbations"]


def test_fine_tuning_keeps_genes_and_shape(atlas, tmp_path, monkeypatch):
    monkeypatch.setattr(training, "HEAD_BATCHES", 2)
    monkeypatch.setattr(training, "VALIDATION_BATCHES", 1)
    train_model(*atlas, tmp_path / "a", settings(steps=2), [], 1)
    train_model(*atlas, tmp_path / "b", settings(steps=1, n_hidden=4, start=str(tmp_path / "a"), n_genes=60), [], 1)
    a, b = (load_model(tmp_path / name) for name in "ab")
    assert (a.genes, a.architecture) == (b.genes, b.architecture)
    distance = max(float((t - b.network.state_dict()[n]).abs().max()) for n, t in a.network.state_dict().items())
    assert 0 < distance < 0.01


@pytest.mark.slow
def test_a_small_model_uses_its_prompt(atlas, tmp_path, monkeypatch):
    """A held-out cell type of known drugs: better than no change and the other drugs; off with control prompts."""
    monkeypatch.setattr(training, "HEAD_BATCHES", 20)
    held = [CellFilter(cell_type=["alpha"], perturbation=["drug one", "drug two", "drug three", "drug four"])]
    train_model(*atlas, tmp_path / "m", settings(steps=30, synthetic_windows=0.2), held, 0)
    model = load_model(tmp_path / "m")
    data = read_training_cells(*atlas, settings(), held, 0, model.genes)
    answers = validate_held_out(model, data, 0)
    assert {(a.cell_type, a.perturbation) for a in answers} == {
        ("alpha", f"drug {n}") for n in ("one", "two", "three", "four")
    }
    mean = summarize(answers)["mean"]
    assert mean["stack"] > 0.6
    assert mean["stack"] > mean["mean_of_others"] + 0.3
    assert mean["slope"] > 0.4
    assert abs(mean["control_slope"]) < 0.15


def test_validation_keeps_the_truths_controls_apart(cells, monkeypatch):
    from haystack.inference import validation

    used = {}
    monkeypatch.setattr(
        validation,
        "_generated",
        lambda m, d, query, prompts, *_: used.update(query=query) or [(np.zeros(100),) * 2, (np.ones(100),) * 2],
    )
    original, seen = validation.log_means, []
    monkeypatch.setattr(validation, "log_means", lambda counts: seen.append(counts) or original(counts))
    validation.validate_held_out(None, cells, 0, questions=1)
    apart = seen[1]
    query = {tuple(row) for row in cells.counts[used["query"]].tolist()}
    assert not query & {tuple(row) for row in apart.tolist()}
    assert CONTROL == ""
