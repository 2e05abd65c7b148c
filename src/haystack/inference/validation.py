"""How good is a model on what it never saw? Always beside the baselines, with the truth's controls kept apart."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np

from haystack.correlation import pearson
from haystack.inference.training_cells import CONTROL, TrainingCells

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from haystack.inference.store import Model

    Rows = NDArray[np.int64]
    Floats = NDArray[np.float64]

PROMPT_CELLS, QUERY_CELLS = 128, 128


@dataclass
class HeldOut:
    """One question: cells of `cell_type` under `perturbation`, prompted with cells of `prompt_type`.

    Figures are Pearson correlations, over the model's genes, of predicted and true changes of mean log(1 + CP10k). What
    STACK predicts are its negative-binomial means: counts drawn from them add the noise of the draw (one generation of
    counts 0.16, five averaged 0.21, means 0.24 on the demo's held-out questions). The true change is that of held-out
    perturbed cells against control cells that served neither as query nor as prompt.
    """

    atlas: str
    perturbation: str
    cell_type: str
    prompt_type: str
    new_perturbation: bool
    """no cell at all of this perturbation was in training"""
    stack: float
    additive: float
    """change of the prompt's cell type against its paired control cells"""
    mean_of_others: float
    """mean change of this cell type under the perturbations in training; no change scores 0"""
    top50_overlap: int
    """genes shared by the 50 largest true and predicted changes"""
    slope: float
    """predicted change per true change, least squares: 1 is full strength"""
    control_slope: float
    """the same with control prompt cells against the query cells: 0 means that nothing changes"""


def validate_held_out(
    model: Model, data: TrainingCells, seed: int, questions: int = 24, generations: int = 1
) -> list[HeldOut]:
    """Ask at most `questions` questions whose answers were held out of training; those of all perturbations in turn."""
    asked = _questions(data, seed)[:questions]
    return [_ask(model, data, question, seed, generations) for question in asked]


def summarize(answers: list[HeldOut]) -> dict[str, object]:
    """Means over the questions, and every answer, for provenance.json."""
    if not answers:
        return {"questions": 0}
    rows = [asdict(answer) for answer in answers]
    figures = ("stack", "additive", "mean_of_others", "top50_overlap", "slope", "control_slope")
    means = {key: round(float(np.mean([row[key] for row in rows])), 3) for key in figures}
    for row in rows:
        row.update({key: round(float(row[key]), 3) for key in figures})
    return {"questions": len(rows), "mean": means, "answers": rows}


def log_means(counts: NDArray[np.generic]) -> Floats:
    """Mean of log(1 + counts per 10,000) over the cells, per gene."""
    depth = np.maximum(counts.sum(axis=1, dtype=np.float64), 1)[:, None]
    return np.log1p(counts * (1e4 / depth)).mean(axis=0)


@dataclass(frozen=True)
class _Question:
    atlas: str
    perturbation: str
    cell_type: str
    prompt_type: str


def _questions(data: TrainingCells, seed: int) -> list[_Question]:
    """One prompt type for each held-out set of cells, the sets of different perturbations alternating."""
    rng = np.random.default_rng([seed, 5])
    everything = data.pools(np.ones(len(data.counts), dtype=bool))
    by_perturbation: dict[tuple[str, str], list[_Question]] = {}
    for atlas, perturbation, cell_type in data.pools(data.held_out):
        others = [
            t
            for a, p, t in everything
            if (a, p) == (atlas, perturbation) and t != cell_type and (a, CONTROL, t) in everything
        ]
        if perturbation == CONTROL or not others or (atlas, CONTROL, cell_type) not in everything:
            continue
        prompt_type = others[rng.integers(len(others))]
        question = _Question(atlas, perturbation, cell_type, prompt_type)
        by_perturbation.setdefault((atlas, perturbation), []).append(question)
    shuffled = [[group[i] for i in rng.permutation(len(group))] for group in by_perturbation.values()]
    longest = max((len(group) for group in shuffled), default=0)
    return [group[i] for i in range(longest) for group in shuffled if i < len(group)]


def _ask(model: Model, data: TrainingCells, question: _Question, seed: int, generations: int) -> HeldOut:
    rng = np.random.default_rng([seed, 6])
    pools = data.pools(np.ones(len(data.counts), dtype=bool))
    atlas, perturbation, cell_type, prompt_type = asdict(question).values()
    controls = rng.permutation(pools[atlas, CONTROL, cell_type])
    query, apart = controls[: min(QUERY_CELLS, len(controls) // 2)], controls[len(controls) // 2 :]
    prompt = _some(rng, pools[atlas, perturbation, prompt_type])
    prompt_control = _some(rng, pools[atlas, CONTROL, prompt_type])
    truth = log_means(data.counts[pools[atlas, perturbation, cell_type]]) - log_means(data.counts[apart])
    (perturbed, _), (control, control_counts) = _generated(
        model, data, query, [prompt, prompt_control], seed, generations
    )
    predicted = perturbed - control
    unchanged = log_means(data.counts[query])
    trained = [
        log_means(data.counts[rows[~data.held_out[rows]]]) - unchanged
        for (a, p, t), rows in pools.items()
        if (a, t) == (atlas, cell_type) and p not in (CONTROL, perturbation) and not data.held_out[rows].all()
    ]
    of_perturbation = (data.atlas == atlas) & (data.perturbation == perturbation)
    return HeldOut(
        atlas=atlas,
        perturbation=perturbation,
        cell_type=cell_type,
        prompt_type=prompt_type,
        new_perturbation=bool(data.held_out[of_perturbation].all()),
        stack=pearson(predicted, truth) or 0.0,
        additive=pearson(log_means(data.counts[prompt]) - log_means(data.counts[prompt_control]), truth) or 0.0,
        mean_of_others=(pearson(np.mean(trained, axis=0), truth) or 0.0) if trained else 0.0,
        top50_overlap=len(_top(predicted) & _top(truth)),
        slope=float(predicted @ truth) / max(float(truth @ truth), 1e-12),
        control_slope=float((control_counts - unchanged) @ truth) / max(float(truth @ truth), 1e-12),
    )


def _generated(
    model: Model, data: TrainingCells, query: Rows, prompts: list[Rows], seed: int, generations: int
) -> list[tuple[Floats, Floats]]:
    """Mean log expression of the query cells as generated from each prompt: of means, and of counts drawn from them.

    The means are set against each other, the counts against the query's own: a logarithm's mean depends on noise.
    """
    import torch

    from haystack.inference.generation import Job, generate_cells
    from haystack.inference.schedule import make_schedule

    def tensor(rows: Rows) -> torch.Tensor:
        return torch.from_numpy(data.counts[rows].astype(np.float32)).to(model.device)

    jobs = [
        Job(tensor(prompt), tensor(query), seed + generation) for prompt in prompts for generation in range(generations)
    ]
    schedule = make_schedule(model.architecture.n_cells, 5, 0.25, 0.4, 0.2)
    outputs = generate_cells(model, jobs, schedule)
    means = [log_means(one.mean.cpu().numpy()) for one in outputs]
    counts = [log_means(one.counts.cpu().numpy()) for one in outputs]
    groups = [slice(i, i + generations) for i in range(0, len(outputs), generations)]
    return [(np.mean(means[group], axis=0), np.mean(counts[group], axis=0)) for group in groups]


def _some(rng: np.random.Generator, rows: Rows) -> Rows:
    return rng.choice(rows, min(PROMPT_CELLS, len(rows)), replace=False)


def _top(change: Floats, n: int = 50) -> set[int]:
    return set(np.argsort(-np.abs(change), kind="stable")[:n].tolist())
