"""The baseline that adds what the prompt cells show."""

from __future__ import annotations

from typing import TYPE_CHECKING

from haystack.inference.models._baseline import licences
from haystack.specs import ModelSpec

if TYPE_CHECKING:
    from haystack.inference.prediction import Prediction, Request


def predict(request: Request) -> Prediction:
    """Add the prompt cells' change to every query cell."""
    from haystack.inference.baselines import additive
    from haystack.inference.prediction import predict_each

    return predict_each(additive, request)


SPEC = ModelSpec(
    name="additive",
    title="the additive baseline (prompt minus paired control, added to the query cells)",
    description="mean log expression of the prompt minus that of its paired control, added to each query cell",
    predict=predict,
    licences=licences("additive"),
    baseline=True,
    exam=False,
    order=40,
)
