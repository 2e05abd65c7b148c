"""Predict with STACK: all prompts of an iteration with one load of the model."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
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
    from torch import Tensor

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
    # As many jobs at once as a batch has windows, so that memory grows with neither prompts nor generations.
    numbered = [(number, generation) for number in range(len(wanted)) for generation in range(settings.generations)]
    cells = [wanted[number][0].query.shape[0] * settings.steps for number, _ in numbered]

    def own_seed(number: int, generation: int) -> int:
        name = wanted[number][0].prompt_id
        return seed + 1000 * generation if draws == "upstream" else job_seed(seed, name, generation)

    tokens: dict[int, Tensor] = {}
    sums: dict[int, Generated] = {}
    results = []
    for start in range(0, len(numbered), settings.batch_size):
        round_ = numbered[start : start + settings.batch_size]
        jobs = []
        for number, generation in round_:
            prompt, _, source = wanted[number]
            own = own_seed(number, generation)
            jobs.append(Job(source, prompt.query, own, UpstreamDraws(own) if draws == "upstream" else None))
        before = sum(cells[:start])
        outputs = generate_cells(
            model,
            jobs,
            schedule,
            settings.batch_size,
            lambda done, _, before=before: progress(before + done, sum(cells)),
            tokens,
        )
        for (number, generation), one in zip(round_, outputs, strict=True):
            sums[number] = one if generation == 0 else _add(sums[number], one)
            if generation == settings.generations - 1:
                results.append(_averaged(model, sums.pop(number), settings.generations, own_seed(number, 0)))
    return results


def _add(one: Generated, other: Generated) -> Generated:
    return replace(one, mean=one.mean + other.mean, theta=one.theta + other.theta, logit=one.logit + other.logit)


def _averaged(model: Model, total: Generated, generations: int, seed: int) -> Predicted:
    """One prediction from the sum of several generations: means averaged, counts drawn from them."""
    from haystack.inference.generation import make_generator, sample_counts

    counts, mean = total.counts, total.mean
    if generations > 1:
        mean = mean / generations
        counts = sample_counts(mean, total.theta / generations, make_generator(model.device, seed ^ 0x5EED))
    logit = (total.logit / generations).astype(np.float32)
    return Predicted(counts.cpu().numpy(), mean.cpu().numpy(), logit)


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
