"""`query.json`: what was asked, as exact entities."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

from pydantic import Field

from haystack.contracts.base import Contract


class TaskType(StrEnum):
    """The kinds of question. The first two are perturbational, the next two observational, the last hybrid."""

    PERTURBATION_NOVEL_CELL_TYPES = "perturbation_novel_cell_types"
    PERTURBATION_NOVEL_SAMPLES = "perturbation_novel_samples"
    CELL_TYPE_IMPUTATION = "cell_type_imputation"
    DONOR_EXPRESSION_PREDICTION = "donor_expression_prediction"
    CROSS_DATASET_GENERATION = "cross_dataset_generation"

    @property
    def is_perturbational(self) -> bool:
        """True when the question names something done to cells."""
        return self in {TaskType.PERTURBATION_NOVEL_CELL_TYPES, TaskType.PERTURBATION_NOVEL_SAMPLES}


class ControlStrategy(StrEnum):
    """How the baseline of a prediction is made (design, section 1)."""

    SYNTHETIC_CONTROL = "synthetic_control"
    QUERY_AS_CONTROL = "query_as_control"


PerturbationType = Literal["drug", "cytokine", "genetic", "unknown"]
Direction = Literal[-1, 1]
GENETIC_EFFECTS: dict[str, tuple[str, Direction]] = {
    "knock-out": ("knock-out", -1),
    "CRISPRi": ("knock-down", -1),
    "CRISPRa": ("overexpression", 1),
    "ORF": ("overexpression", 1),
}
"""how an atlas changed its genes -> (action in the canonical name, direction)"""


class Perturbation(Contract):
    """One thing done to cells, resolved."""

    query: str = Field(description="the words of the question or the atlas")
    name: str = Field(description="canonical name; equal names mean the same perturbation everywhere")
    type: PerturbationType = "unknown"
    synonyms: list[str] = []
    external_ids: dict[str, str] = Field(default={}, description="database -> identifier (ChEBI, UniProt, HGNC, ...)")
    direction: Direction | None = Field(default=None, description="genetic: -1 loss, +1 gain of the gene; else null")
    receptors: list[str] = Field(default=[], description="gene symbols")
    targets: list[str] = Field(default=[], description="gene symbols of the molecules acted on")
    signalling: list[str] = Field(default=[], description="direct signalling, for example JAK/STAT")
    expected_targets: dict[str, Direction] = Field(default={}, description="gene symbol -> expected direction")
    expected_tfs: dict[str, Direction] = Field(
        default={}, description="transcription factor -> expected direction of its activity"
    )
    expected_pathways: dict[str, Direction] = Field(default={}, description="gene set name -> expected direction")


class FieldEvidence(Contract):
    """Where in the question a field comes from."""

    field: str
    text: str
    start: int | None = Field(default=None, description="offset in characters; null if inferred, not read")
    end: int | None = None
    confidence: float = Field(ge=0, le=1)
    method: str


class Ambiguity(Contract):
    """Words that fit several entities; the first alternative was taken unless the field is null."""

    field: str
    text: str
    alternatives: list[str] = Field(description="id and name of each, best first")


class StructuredQuery(Contract):
    """A question as exact entities. Absent is null or empty, never a guess."""

    raw_query: str
    task_type: TaskType
    cell_type_query: str | None = None
    cell_type_cl_id: str | None = None
    cell_type_name: str | None = None
    cell_type_synonyms: list[str] = []
    perturbation_query: str | None = None
    perturbation_resolved: str | None = None
    perturbation_type: PerturbationType | None = None
    perturbation_synonyms: list[str] = []
    perturbation_external_ids: dict[str, str] = {}
    perturbation_dose: str | None = None
    perturbation_time: str | None = None
    perturbations: list[Perturbation] = Field(default=[], description="all of them, the first is the main one")
    expected_targets: list[str] = Field(default=[], description="gene symbols of the main perturbation")
    expected_target_directions: dict[str, Direction] = {}
    expected_pathways: list[str] = Field(default=[], description="gene set names of the main perturbation")
    expected_pathway_directions: dict[str, Direction] = {}
    target_donor_id: str | None = None
    target_tissue: str | None = Field(default=None, description="UBERON id")
    target_tissue_name: str | None = None
    target_disease_state: str | None = Field(default=None, description="MONDO id, or PATO:0000461 for healthy")
    target_disease_name: str | None = None
    target_condition: str | None = None
    reference_donor_id: str | None = None
    reference_dataset: str | None = None
    expected_marker_genes: list[str] = []
    control_strategy: ControlStrategy | None = Field(default=None, description="asked for in the question, if so")
    control_strategy_fallback: ControlStrategy = ControlStrategy.QUERY_AS_CONTROL
    evidence: list[FieldEvidence] = []
    ambiguities: list[Ambiguity] = []
    not_understood: list[str] = Field(default=[], description="words of the question that no field holds")
    warnings: list[str] = Field(default=[], description="doubts, in plain words")
    provenance: dict[str, str] = Field(default={}, description="parser and ontology versions")
