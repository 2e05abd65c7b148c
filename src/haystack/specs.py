"""Descriptors of what comes in kinds: all that the rest of the pipeline says or asks of one, in one object.

A module that holds a descriptor stays light (standard library and pydantic): its functions import what they need.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

from haystack.registry import Registry

if TYPE_CHECKING:
    from haystack.config import ModelSettings
    from haystack.contracts import Component
    from haystack.grounding.case import Case
    from haystack.inference.prediction import Prediction, Request
    from haystack.loop.refinement import Plan, Round
    from haystack.retrieval.question import Proposals, Question
    from haystack.runs.backend import Backend
    from haystack.runs.settings import ServiceSettings


@dataclass(frozen=True)
class Work:
    """A publication to cite."""

    text: str
    """authors, title, journal (year)"""
    doi: str


@dataclass(frozen=True)
class ModelSpec:
    """A way to predict cells; the value of `model.kind`."""

    name: str
    title: str
    """as reports name it, within a sentence: `STACK`, `the additive baseline`"""
    description: str
    """one line: how it predicts"""
    predict: Callable[[Request], Prediction]
    """predicts all prompts of an iteration"""
    licences: tuple[str, ...]
    """sentences: what binds whoever uses a prediction of this model"""
    citation: Work | None = None
    detail: Callable[[ModelSettings], str] | None = None
    """words that follow the title in the methods: `, model “large”, by mask diffusion in 5 steps`"""
    baseline: bool = False
    """true: the report says that this is no more than a baseline"""
    weights: bool = False
    """true: needs a model folder (model.path, model.train or model.download)"""
    gpu: bool = False
    """true: runs on the device of `model.device`; false: on processors, whatever the settings say"""
    exam: bool = True
    """false: sits no exam, because what it would reach on measured contexts is known without"""
    exam_always: bool = False
    """true: in every iteration, because the exam decides how it predicts; false: in the first"""
    sees_all: bool = False
    """true: predicts from all that was measured, whatever the prompt shows"""
    needs: tuple[str, ...] = ()
    """further files of the run that it reads, as `results/runs/{run_id}/NAME`: inputs of the inference job"""
    package: str | None = None
    """distribution whose version the methods name"""
    order: int = 100


TaskKind = Literal["perturbation", "observation"]
"""what a question asks about: the effect of a perturbation, or cells as they are"""


@dataclass(frozen=True)
class ComponentSpec:
    """A component of the score."""

    name: str
    title: str
    """as reports name it"""
    question: str
    """one line, in plain words: what it asks of a prediction"""
    tasks: tuple[TaskKind, ...]
    """kinds of questions that it speaks to"""
    weight: float
    """share in the composite, relative to the other weights, where `grounding.weights` does not name it"""
    evaluate: Callable[[Case], Component]
    """scores a prediction, or a null of it (`case.null`); what it cannot test is `evaluated=False` with a reason"""
    needs: str
    """what must be there for it to be evaluated, as docs say it"""
    value: str
    """how its value is computed, for docs"""
    chance: str
    """what its value is by chance, for docs"""
    p_value: str
    """how its p-value is found, for docs"""
    when_weak: Callable[[Round, Plan], None] | None = None
    """adds to the plan of the next iteration what a low score of the best prompt asks for"""
    methods: str | None = None
    """sentence for the methods of a report, where it was evaluated"""
    knowledge: bool = False
    """true: asks curated tables what should happen, so measured cells say how far it can be trusted"""
    beside: bool = False
    """true: its weight does not count for the share of the evidence that must be evaluated"""
    order: int = 100


@dataclass(frozen=True)
class StrategySpec:
    """A way to find cell sets."""

    name: str
    title: str
    """as reports name it"""
    description: str
    """one line: which cell sets it proposes"""
    propose: Callable[[Question], Proposals]
    """sees the whole index and returns every row that it can speak for, however weakly"""
    tasks: tuple[TaskKind, ...]
    """kinds of questions for which it is used, where `retrieval.strategies` names none"""
    order: int = 100


class Store(Protocol):
    """Files by address. A missing file is an answer, all else that fails a HaystackError that names the address."""

    def upload(self, source: Path, address: str) -> None:
        """Copy a file there."""

    def download(self, address: str, target: Path) -> None:
        """Copy a file from there; it appears whole or not at all."""

    def read(self, address: str) -> bytes | None:
        """Content of a small file; None where there is none."""

    def exists(self, address: str) -> bool:
        """Whether there is such a file."""

    def delete(self, address: str) -> None:
        """Delete a file; one that is gone is no error."""

    def list(self, folder: str) -> list[str]:
        """Addresses of all files below a folder, sorted."""

    def holds(self, address: str, source: Path) -> bool:
        """Whether the file there has the content of a local one."""


@dataclass(frozen=True)
class StorageSpec:
    """How files of one scheme are reached, where fsspec's own way does not do."""

    name: str
    """scheme of the addresses: gs"""
    title: str
    provider: str
    """name of Snakemake's storage plugin (`--default-storage-provider`)"""
    open: Callable[[], Store]
    order: int = 100


@dataclass(frozen=True)
class BackendSpec:
    """What starts the runs of the service; the value of its setting `backend`."""

    name: str
    title: str
    open: Callable[[ServiceSettings], Backend]
    order: int = 100


MODELS = Registry("models", ModelSpec, "haystack.inference.models")
STRATEGIES = Registry("strategies", StrategySpec, "haystack.retrieval.strategies")
STORAGES = Registry("storages", StorageSpec, "haystack.storages")
BACKENDS = Registry("backends", BackendSpec, "haystack.runs.backends")
COMPONENTS = Registry("components", ComponentSpec, "haystack.grounding.components")
