"""Predict with STACK: all prompts of an iteration with one load of the model."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from time import perf_counter
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from haystack.contracts import PredictionRole
from haystack.errors import ModelError
from haystack.inference.cells import PromptCells, align, split_prompts
from haystack.inference.prediction import Predicted, Prediction, Request, generated_roles, job_seed

if TYPE_CHECKING:
    import anndata as ad
    from scipy import sparse

    from haystack.config import ModelSettings
    from haystack.inference.generation import Generated
    from haystack.inference.store import Model

log = logging.getLogger(__name__)

Progress = Callable[[int, int], None]
DrawsKind = Literal["kept", "upstream"]


def predict_stack(request: Request) -> Prediction:
    """Load the model and generate every prompt.

    Raises
    ------
    ModelError
        without a model folder, or where it is broken.
    """
    from haystack.inference.generation import log_progress
    from haystack.inference.store import load_model

    settings = request.settings
    if request.folder is None:
        raise ModelError("model.kind is stack, but there is no model folder")
    model = (request.load or load_model)(request.folder, settings.device, settings.precision)
    made = _generate_prompts(model, request.prompts, settings, request.seed, "kept", log_progress(perf_counter()))
    return Prediction(made, _facts(settings, model), model.seconds["load"], _peak_memory_gib(model))


def generate(
    model: Model,
    cells: ad.AnnData,
    settings: ModelSettings,
    seed: int | None,
    *,
    draws: DrawsKind = "kept",
    progress: Progress | None = None,
) -> ad.AnnData:
    """Generate every prompt of `cells`, perturbed and control, side by side.

    Parameters
    ----------
    model
        from `load_model`
    cells
        raw counts in X; obs `role` and `prompt_id` as in `cells.h5ad`
    settings
        steps, ratios, batch size, generations
    seed
        null: a random one, which is logged
    draws
        how prompt cells are dealt to windows: `kept` computes the kept positions once per generation; `upstream` deals
        as `stack-generation` does for the same seed, and uses the seed itself for every prompt
    progress
        called with (cell steps done, in all); null: logged

    Returns
    -------
    AnnData
        as `predictions.h5ad`: X sampled counts (CSR), layers["mean"], obs role, prompt_id, query_cell_id, gen_logit;
        var the model's genes, `measured` where the cells have them
    """
    from haystack.inference.generation import log_progress
    from haystack.inference.predict import assemble

    if seed is None:
        seed = int(np.random.SeedSequence().generate_state(1)[0])
        log.warning("no seed given: using %d", seed)
    counts, measured = align(cells, model.genes)
    prompts = split_prompts(cells, counts)
    callback = progress if progress is not None else log_progress(perf_counter())
    made = _generate_prompts(model, prompts, settings, seed, draws, callback)
    return assemble(prompts, made, model.genes, measured)


def _generate_prompts(
    model: Model,
    prompts: Sequence[PromptCells],
    settings: ModelSettings,
    seed: int,
    draws: DrawsKind,
    progress: Progress,
) -> list[Mapping[PredictionRole, Predicted]]:
    """Generate all prompts in one go, so that their windows fill the batches together."""
    wanted = [(prompt, role, source) for prompt in prompts for role, source in generated_roles(prompt)]
    results = _generate_all(model, wanted, settings, seed, draws, progress)
    by_role = {(prompt.prompt_id, role): part for (prompt, role, _), part in zip(wanted, results, strict=True)}
    return [{role: by_role[prompt.prompt_id, role] for role, _ in generated_roles(prompt)} for prompt in prompts]


def _generate_all(
    model: Model,
    wanted: list[tuple[PromptCells, PredictionRole, sparse.csr_matrix]],
    settings: ModelSettings,
    seed: int,
    draws: DrawsKind,
    progress: Progress,
) -> list[Predicted]:
    from haystack.inference.generation import Job, generate_cells
    from haystack.inference.schedule import UpstreamDraws, make_schedule

    schedule = make_schedule(
        model.architecture.n_cells,
        settings.steps,
        settings.prompt_ratio,
        settings.context_ratio,
        settings.context_ratio_min,
    )
    # Jobs of a round fill its batches together; one round at a time, so that memory does not grow with the prompts.
    size = max(1, settings.batch_size // settings.generations)
    cells = [settings.generations * prompt.query.shape[0] * settings.steps for prompt, _, _ in wanted]
    results: list[Predicted] = []
    for start in range(0, len(wanted), size):
        round_ = wanted[start : start + size]
        queries = {id(prompt): _tensor(model, prompt.query) for prompt, _, _ in round_}
        jobs = []
        for prompt, _, source in round_:
            shown = _tensor(model, source)
            for generation in range(settings.generations):
                own = seed + 1000 * generation if draws == "upstream" else job_seed(seed, prompt.prompt_id, generation)
                dealt = UpstreamDraws(own) if draws == "upstream" else None
                jobs.append(Job(shown, queries[id(prompt)], own, dealt))
        before = sum(cells[:start])
        outputs = generate_cells(
            model,
            jobs,
            schedule,
            settings.batch_size,
            lambda done, _, before=before: progress(before + done, sum(cells)),
        )
        for first in range(0, len(outputs), settings.generations):
            results.append(_averaged(model, outputs[first : first + settings.generations], jobs[first].seed))
    return results


def _averaged(model: Model, generations: Sequence[Generated], seed: int) -> Predicted:
    """One prediction from several generations: means averaged, counts drawn from them."""
    import torch

    from haystack.inference.generation import make_generator, sample_counts

    counts, mean = generations[0].counts, generations[0].mean
    if len(generations) > 1:
        rng = make_generator(model.device, seed ^ 0x5EED)
        mean = torch.stack([one.mean for one in generations]).mean(dim=0)
        counts = sample_counts(mean, torch.stack([one.theta for one in generations]).mean(dim=0), rng)
    logit = np.stack([one.logit for one in generations]).mean(axis=0, dtype=np.float32)
    return Predicted(counts.cpu().numpy(), mean.cpu().numpy(), logit)


def _tensor(model: Model, counts: sparse.csr_matrix) -> Any:
    import torch

    return torch.from_numpy(counts.toarray()).to(model.device)


def _facts(settings: ModelSettings, model: Model) -> dict[str, Any]:
    import torch

    known = {"device": str(model.device), "precision": settings.precision, "torch": torch.__version__}
    known |= {"steps": settings.steps, "generations": settings.generations}
    if model.device.type == "cuda":
        known["card"] = torch.cuda.get_device_name(model.device)
    return known


def _peak_memory_gib(model: Model) -> float | None:
    if model.device.type != "cuda":
        return None
    import torch

    return round(torch.cuda.max_memory_allocated(model.device) / 2**30, 2)
