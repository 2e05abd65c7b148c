"""Descriptors of models, components, strategies, storages and backends.

Modules with a descriptor import little (standard library and pydantic); their functions import what they need.
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
    """A model; its name is the value of `model.kind`."""

    name: str
    title: str
    """title within a sentence: `STACK`, `the additive baseline`"""
    description: str
    """one line: how it predicts"""
    predict: Callable[[Request], Prediction]
    """predicts all prompts of an iteration"""
    licences: tuple[str, ...]
    """licence terms of predictions, as sentences"""
    citation: Work | None = None
    detail: Callable[[ModelSettings], str] | None = None
    """text after the title in the methods: `, model “large”, by mask diffusion in 5 steps`"""
    baseline: bool = False
    """true: reported as a baseline"""
    weights: bool = False
    """true: needs a model folder (model.path, model.train or model.download)"""
    gpu: bool = False
    """true: runs on `model.device`; false: always on the CPU"""
    exam: bool = True
    """false: not tested on held-out contexts, because its accuracy there is already known"""
    exam_always: bool = False
    """true: tested in every iteration, because its prediction depends on it; false: in the first only"""
    sees_all: bool = False
    """true: predicts from all measured contexts, whatever the prompt"""
    needs: tuple[str, ...] = ()
    """further files of the run that it reads, as `results/runs/{run_id}/NAME`, inputs of the inference job"""
    package: str | None = None
    """distribution whose version is reported"""
    order: int = 100


TaskKind = Literal["perturbation", "observation"]
"""subject of a question: the effect of a perturbation, or unperturbed cells"""


@dataclass(frozen=True)
class ComponentSpec:
    """A component of the score."""

    name: str
    title: str
    """title in reports"""
    question: str
    """one line, in plain words: the question that it answers"""
    tasks: tuple[TaskKind, ...]
    """kinds of questions that it applies to"""
    weight: float
    """relative weight in the composite, unless set by `grounding.weights`"""
    evaluate: Callable[[Case], Component]
    """scores a prediction, or a null of it (`case.null`); what it cannot test is `evaluated=False` with a reason"""
    needs: str
    """requirements for its evaluation, for docs"""
    value: str
    """how its value is computed, for docs"""
    chance: str
    """value expected by chance, for docs"""
    p_value: str
    """computation of the p-value, for docs"""
    when_weak: Callable[[Round, Plan], None] | None = None
    """adds the response to a low score to the plan of the next iteration"""
    methods: str | None = None
    """sentence for the methods, if evaluated"""
    beside: bool = False
    """true: its weight does not count for the least share of evidence to be evaluated"""
    order: int = 100


@dataclass(frozen=True)
class StrategySpec:
    """A strategy to find cell sets."""

    name: str
    title: str
    """title in reports"""
    description: str
    """one line: which cell sets it proposes"""
    propose: Callable[[Question], Proposals]
    """evaluates the whole index and returns every row that it can score"""
    tasks: tuple[TaskKind, ...]
    """kinds of questions it is used for, unless set by `retrieval.strategies`"""
    order: int = 100


class Store(Protocol):
    """Files by address. A missing file is not an error; other failures are HaystackErrors that name the address."""

    def upload(self, source: Path, address: str) -> None:
        """Copy a file there."""

    def download(self, address: str, target: Path) -> None:
        """Copy a file from there; it appears whole or not at all."""

    def read(self, address: str) -> bytes | None:
        """Content of a small file; None if it does not exist."""

    def exists(self, address: str) -> bool:
        """Whether the file exists."""

    def delete(self, address: str) -> None:
        """Delete a file, if it exists."""

    def list(self, folder: str) -> list[str]:
        """Addresses of all files below a folder, sorted."""

    def holds(self, address: str, source: Path) -> bool:
        """Whether the file there has the content of a local one."""


@dataclass(frozen=True)
class StorageSpec:
    """Access to files of one URL scheme, where fsspec is not enough."""

    name: str
    """scheme of the addresses: gs"""
    title: str
    provider: str
    """name of Snakemake's storage plugin (`--default-storage-provider`)"""
    open: Callable[[], Store]
    order: int = 100


@dataclass(frozen=True)
class BackendSpec:
    """A backend that starts the runs of the service; its name is the value of the setting `backend`."""

    name: str
    title: str
    open: Callable[[ServiceSettings], Backend]
    order: int = 100


MODELS = Registry("models", ModelSpec, "haystack.inference.models")
STRATEGIES = Registry("strategies", StrategySpec, "haystack.retrieval.strategies")
STORAGES = Registry("storages", StorageSpec, "haystack.storages")
BACKENDS = Registry("backends", BackendSpec, "haystack.runs.backends")
COMPONENTS = Registry("components", ComponentSpec, "haystack.grounding.components")
