"""The baseline that changes nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from haystack.inference.models._baseline import licences
from haystack.specs import ModelSpec

if TYPE_CHECKING:
    from haystack.inference.prediction import Prediction, Request


def predict(request: Request) -> Prediction:
    """Give the query cells as they are."""
    from haystack.inference.baselines import no_change
    from haystack.inference.prediction import predict_each

    return predict_each(no_change, request)


SPEC = ModelSpec(
    name="no_change",
    title="the no-change baseline",
    description="the query cells as they are",
    predict=predict,
    licences=licences("no_change"),
    baseline=True,
    exam=False,
    order=20,
)
