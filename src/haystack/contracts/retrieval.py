"""`candidates.json` and `prompts.json`: cell sets found, and cells chosen."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field

from haystack.contracts.base import Contract
from haystack.contracts.query import ControlStrategy


class CellSet(Contract):
    """All cells that share these keys: the unit of retrieval (a row of `cell_sets.parquet`)."""

    cell_set_id: str
    atlas: str
    perturbation_name: str | None = Field(description="null where nothing was done to the cells")
    cell_type_cl_id: str | None
    cell_type_name: str | None
    donor_id: str | None
    tissue_uberon_id: str | None
    disease_mondo_id: str | None
    sample_condition: str | None
    background: str | None = Field(
        default=None, description="what the cells and their controls had before the perturbation of the question"
    )
    is_control: bool
    n_cells: int = Field(ge=1)


MATCHED = {
    "cell type": "cell_type_name",
    "donor": "donor_id",
    "tissue": "tissue_uberon_id",
    "disease": "disease_mondo_id",
    "sample": "sample_condition",
}
"""constraint of a control -> field of `CellSet`"""


def matched_fields(cell_sets: Sequence[CellSet], steps: Sequence[str]) -> list[str]:
    """Fields in which controls match `cell_sets`: recorded for all of them, and not relaxed in `steps`.

    Controls of unperturbed cells are of another donor by design, and healthy where the cells are not.
    """
    recorded = [name for name, key in MATCHED.items() if all(getattr(item, key) is not None for item in cell_sets)]
    contrast = {"donor", "disease"} if all(item.is_control for item in cell_sets) else set()
    return [name for name in ("atlas", *recorded) if name not in contrast and not any(name in step for step in steps)]


class Pairing(Contract):
    """The control cells of a cell set, and the constraints that had to be relaxed to find them."""

    control_set: CellSet
    steps: list[str] = Field(description="constraints given up, in order; empty for an exact match")
    penalty: float = Field(ge=0, le=1)


class Candidate(Contract):
    """A cell set that a strategy proposes."""

    cell_set: CellSet
    strategy: str = Field(description="the one that finds it most relevant")
    strategies: list[str] = Field(default=[], description="all that propose it")
    relevance_score: float = Field(ge=0, le=1)
    quality: float | None = Field(
        default=None, ge=0, le=1, description="cells left beside the query cells, depth, control; null: not rated"
    )
    rationale: str
    control: Pairing | None = None


class Refinement(Contract):
    """Changes for the next iteration, as data and one sentence."""

    sentence: str
    reasons: list[str] = Field(default=[], description="the weak components that led here")
    strategy_weights: dict[str, float] = Field(default={}, description="strategy -> factor on relevance, 1 = as before")
    prefer_perturbations: dict[str, float] = Field(default={}, description="perturbation name -> added relevance")
    prefer_cell_types: dict[str, float] = Field(default={}, description="CL id -> added relevance")
    prefer_cell_sets: dict[str, float] = Field(default={}, description="cell_set_id -> added relevance")
    pool: list[str] = Field(default=[], description="cell_set_ids, tried before, that make one deeper prompt together")
    max_hops: int | None = Field(default=None, description="ontology hops; null = as configured")
    prompt_cells: int | None = Field(default=None, description="cells per prompt; null = as configured")


class QuerySet(Contract):
    """A cell set that provides query cells."""

    cell_set: CellSet
    n_cells: int = Field(ge=1, description="query cells that it gives")


class QueryPlan(Contract):
    """Origin of the query cells; the same in every iteration."""

    sets: list[QuerySet]
    rationale: str


class Candidates(Contract):
    """`candidates.json`: all results of retrieval, so that prompting does not recompute them."""

    run_id: str
    iteration: int = Field(ge=1)
    candidates: list[Candidate] = Field(
        description="best first, over all strategies; tried sets left out, but for those that the refinement pools"
    )
    n_untried: int = Field(ge=0, description="cell sets that some strategy can still propose, these included")
    counts: dict[str, int] = Field(default={}, description="strategy -> cell sets proposed")
    tried: list[str] = Field(default=[], description="cell sets that prompts of earlier iterations used")
    refinement: Refinement | None = Field(default=None, description="what was applied, from the last iteration")
    query: QueryPlan = Field(default=QueryPlan(sets=[], rationale=""), description="where query cells come from")
    notes: list[str] = Field(
        default=[],
        description="cells that were left out, and why, in plain words; also in grounding.json",
    )


class RowSelection(Contract):
    """Rows of one cell set."""

    cell_set_id: str
    atlas: str
    rows: list[int] = Field(description="positions in the atlas's matrix, ascending")


class Prompt(Contract):
    """Chosen prompt cells with their paired controls."""

    prompt_id: str
    strategies: list[str]
    cell_sets: list[CellSet]
    prompt_rows: list[RowSelection]
    control_rows: list[RowSelection] = Field(description="empty under query_as_control")
    pairing_steps: list[str] = []
    pairing_penalty: float = Field(default=0, ge=0, le=1)
    control_strategy: ControlStrategy = Field(description="effective, after fallback")
    relevance: float
    diversity: float
    quality: float
    score: float
    rationale: str


class QueryCells(Contract):
    """The cells whose response is predicted; all prompts of an iteration share them."""

    rows: list[RowSelection]
    cell_sets: list[CellSet]
    rationale: str


class Prompts(Contract):
    """`prompts.json`: the K chosen prompts."""

    run_id: str
    iteration: int = Field(ge=1)
    seed: int
    control_strategy_asked: ControlStrategy
    prompts: list[Prompt]
    query_cells: QueryCells
    n_untried_after: int = Field(ge=0, description="cell sets left for later iterations")
