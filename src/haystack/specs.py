"""Descriptors of what comes in kinds: all that the rest of the pipeline says or asks of one, in one object.

A module that holds a descriptor stays light (standard library and pydantic): its functions import what they need.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from haystack.registry import Registry

if TYPE_CHECKING:
    from haystack.config import ModelSettings
    from haystack.inference.prediction import Prediction, Request


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
    needs: tuple[str, ...] = ()
    """further files of the run that it reads, as `results/runs/{run_id}/NAME`: inputs of the inference job"""
    package: str | None = None
    """distribution whose version the methods name"""
    order: int = 100


MODELS = Registry("models", ModelSpec, "haystack.inference.models")
