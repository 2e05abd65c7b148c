"""`validation.json`: a prediction compared with the held-out measurement."""

from __future__ import annotations

from pydantic import Field

from haystack.contracts.base import Contract

Metrics = dict[str, float | None]


class Validation(Contract):
    """The best prompt of the best iteration compared with held-out cells, with baselines, ceiling and null."""

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
