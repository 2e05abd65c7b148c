"""`validation.json`: a prediction beside the measured truth that was held out."""

from __future__ import annotations

from pydantic import Field

from haystack.contracts.base import Contract

Metrics = dict[str, float | None]


class Validation(Contract):
    """The best prompt of the best iteration against held-out cells, with what it must be seen beside."""

    run_id: str
    prompt_id: str
    conventions: dict[str, dict[str, Metrics]] = Field(
        description="control convention -> row (prediction, baselines, ceiling, null) -> metric -> value or null"
    )
    n_cells: dict[str, int] = Field(description="predicted, observed, control -> cells")
    n_de_observed: int = Field(ge=0, description="genes that the measured cells show as changed")
    top_n: int = Field(ge=1, description="N of overlap and precision at N")
    ceiling: float | None = Field(ge=1, le=10, description="composite of the measured cells, scored as a prediction")
    notes: list[str] = []
