"""The baseline that gives the prompt cells."""

from __future__ import annotations

from typing import TYPE_CHECKING

from haystack.inference.models._baseline import licences
from haystack.specs import ModelSpec

if TYPE_CHECKING:
    from haystack.inference.prediction import Prediction, Request


def predict(request: Request) -> Prediction:
    """Turn every query cell into the mean prompt cell."""
    from haystack.inference.baselines import prompt_mean
    from haystack.inference.prediction import predict_each

    return predict_each(prompt_mean, request)


SPEC = ModelSpec(
    name="prompt_mean",
    title="the prompt-mean baseline",
    description="every query cell becomes the mean prompt cell at its own depth",
    predict=predict,
    licences=licences("prompt_mean"),
    baseline=True,
    exam=False,
    order=30,
)
