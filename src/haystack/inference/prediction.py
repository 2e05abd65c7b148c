"""What a model is asked and what it answers: the interface behind which all models stand."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from haystack.contracts import PredictionRole

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from scipy import sparse

    from haystack.config import ModelSettings
    from haystack.inference.cells import PromptCells
    from haystack.inference.store import Model

    Floats = NDArray[np.float32]

Counts: TypeAlias = Any
"""sparse.csr_matrix (cells x genes), whole numbers"""
Loader: TypeAlias = Callable[[Path, str, str], "Model"]
"""(folder, device, precision) -> the model, in memory"""


@dataclass
class Predicted:
    """Counts (cells x genes, whole numbers), their expectation, and confidence logits (NaN where there are none)."""

    counts: Floats
    mean: Floats
    logit: Floats


@dataclass(frozen=True)
class Request:
    """All prompts of one iteration."""

    prompts: Sequence[PromptCells]
    genes: Sequence[str]
    """columns of all counts, upper-case symbols: the model's, or those of the cells"""
    settings: ModelSettings
    seed: int
    folder: Path | None = None
    """the model's files; None for a model without weights"""
    files: Mapping[str, Path] = field(default_factory=dict)
    """the further files that the model's descriptor `needs`, by file name"""
    load: Loader | None = None
    """instead of `load_model`: a process that keeps a model"""


@dataclass(frozen=True)
class Prediction:
    """Predicted cells, one mapping per prompt. A missing role=control stands for the query cells as they are."""

    prompts: Sequence[Mapping[PredictionRole, Predicted]]
    facts: Mapping[str, Any] = field(default_factory=dict)
    """what made it (device, precision, ...): the same for the same request, kept with the predictions"""
    load_seconds: float | None = None
    """spent on loading the model; None where there is none to load"""
    peak_device_memory_gib: float | None = None


CellFunction: TypeAlias = Callable[[Counts, Counts, Counts, np.random.Generator], Predicted]
"""(query, prompt, control, random numbers) -> the query cells under the prompt"""


def predict_each(function: CellFunction, request: Request) -> Prediction:
    """Predict prompt by prompt and role by role with a function of count matrices."""
    made = []
    for prompt in request.prompts:
        rng = np.random.default_rng(job_seed(request.seed, prompt.prompt_id, 0))
        made.append(
            {
                role: function(
                    prompt.query, source, prompt.control if role is PredictionRole.PERTURBED else source, rng
                )
                for role, source in generated_roles(prompt)
            }
        )
    return Prediction(made)


def unchanged(query: Counts) -> Predicted:
    """Query cells as they are."""
    counts = query.toarray()
    return predicted(counts, counts)


def predicted(counts: NDArray[np.generic], mean: NDArray[np.generic]) -> Predicted:
    """Counts and their expectation, without confidence logits."""
    logit = np.full(len(counts), np.nan, dtype=np.float32)
    return Predicted(counts.astype(np.float32), mean.astype(np.float32), logit)


def job_seed(seed: int, prompt_id: str, generation: int) -> int:
    """A seed for one prompt: perturbed and control share it, other prompts do not change it."""
    digest = hashlib.sha256(f"{seed}:{prompt_id}:{generation}".encode()).digest()
    return int.from_bytes(digest[:4], "little")


def generated_roles(prompt: PromptCells) -> list[tuple[PredictionRole, sparse.csr_matrix]]:
    """Which rows are generated, and from which prompt cells."""
    second = PredictionRole.CONTROL if prompt.control.shape[0] else PredictionRole.RECONSTRUCTION
    source = prompt.control if prompt.control.shape[0] else prompt.query
    return [(PredictionRole.PERTURBED, prompt.prompt), (second, source)]
