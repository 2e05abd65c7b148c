"""`query.json`: the question as exact entities."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Any, Literal

from pydantic import Field, TypeAdapter, ValidationError, computed_field, model_validator
from pydantic.fields import ComputedFieldInfo

from haystack.contracts.base import Contract, explain


class TaskType(StrEnum):
    """Kinds of question. The first two are perturbational, the next two observational, the last hybrid."""

    PERTURBATION_NOVEL_CELL_TYPES = "perturbation_novel_cell_types"
    PERTURBATION_NOVEL_SAMPLES = "perturbation_novel_samples"
    CELL_TYPE_IMPUTATION = "cell_type_imputation"
    DONOR_EXPRESSION_PREDICTION = "donor_expression_prediction"
    CROSS_DATASET_GENERATION = "cross_dataset_generation"

    @property
    def is_perturbational(self) -> bool:
        """Whether the question names a perturbation."""
        return self in {TaskType.PERTURBATION_NOVEL_CELL_TYPES, TaskType.PERTURBATION_NOVEL_SAMPLES}


class ControlStrategy(StrEnum):
    """Which cells the perturbed cells are compared with (design, section 1)."""

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
"""how genes were changed in an atlas -> (action in the canonical name, direction)"""


class Perturbation(Contract):
    """One resolved perturbation."""

    query: str = Field(description="the words of the question or the atlas")
    name: str = Field(description="canonical name; equal names mean the same perturbation everywhere")
    resolved: bool = Field(default=True, description="false: no table knows it, and `name` is made of its own words")
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
    """Words of the question from which a field was read."""

    field: str
    text: str
    start: int | None = Field(default=None, description="offset in characters; null if inferred, not read")
    end: int | None = None
    confidence: float = Field(ge=0, le=1)
    method: str


class Ambiguity(Contract):
    """Words with several meanings; the first alternative was used unless the field is null."""

    field: str
    text: str
    alternatives: list[str] = Field(description="id and name of each, best first")


class AskedCells(Contract):
    """The query cells."""

    query: str | None = Field(default=None, description="the words of the question")
    cl_id: str | None = Field(default=None, description="Cell Ontology id")
    name: str | None = None
    synonyms: list[str] = []
    markers: list[str] = Field(default=[], description="gene symbols")
    line: str | None = Field(default=None, description="cell line, if one was named (its name in Cellosaurus)")
    line_id: str | None = Field(default=None, description="accession of the line in Cellosaurus (CVCL_...)")
    line_sex: str | None = Field(default=None, description="sex of the line's donor")

    @property
    def label(self) -> str | None:
        """Name of the cells for sentences."""
        return self.line or self.name or self.query or self.cl_id


class AskedContext(Contract):
    """The sample of the cells, and the reference samples named in the question."""

    species: str | None = Field(default=None, description="NCBITaxon id; null: human")
    tissue_uberon_id: str | None = None
    tissue_name: str | None = None
    disease_mondo_id: str | None = Field(default=None, description="MONDO id, or PATO:0000461 for healthy")
    disease_name: str | None = None
    donor_id: str | None = None
    condition: str | None = None
    reference_donor_id: str | None = None
    reference_dataset: str | None = None


class Asked(Contract):
    """Perturbations, cells and sample of the question: the single record of what is asked."""

    perturbations: list[Perturbation] = Field(default=[], description="all of a combination, the main one first")
    background: list[str] = Field(
        default=[], description="names among `perturbations` of what the cells had before the others, as controls have"
    )
    absent: list[Perturbation] = Field(default=[], description="named as not given or blocked; never a treatment")
    perturbation_list: str | None = Field(
        default=None, description="words that name a list of perturbations: many questions, not a single one"
    )
    dose: str | None = None
    time: str | None = None
    cells: AskedCells = AskedCells()
    context: AskedContext = AskedContext()

    @property
    def given(self) -> list[Perturbation]:
        """The perturbations whose effect is asked for, the main one first."""
        return [item for item in self.perturbations if item.name not in self.background]

    @property
    def perturbation(self) -> Perturbation | None:
        """The main perturbation."""
        return self.perturbations[0] if self.perturbations else None

    @property
    def name(self) -> str | None:
        """Canonical name of the main perturbation."""
        return self.perturbation.name if self.perturbation else None

    @property
    def direction(self) -> Direction | None:
        """Sign of the intervention on a gene: -1 loss, +1 gain; None if unknown or no gene is changed."""
        return self.perturbation.direction if self.perturbation else None


def _public(kind: Any, value: Callable[[Asked], Any], description: str | None = None) -> Any:
    """A field of the specification in `query.json` that is derived from `asked`."""
    return computed_field(return_type=kind, description=description)(property(lambda self: value(self.asked)))


def _main(kind: Any, value: Callable[[Perturbation], Any], description: str | None = None) -> Any:
    """As `_public`, from the main perturbation; without one null, or an empty `kind`."""
    empty = {list[str]: list, dict[str, str]: dict, dict[str, Direction]: dict}.get(kind, lambda: None)
    return _public(kind, lambda asked: value(asked.perturbation) if asked.perturbation else empty(), description)


class StructuredQuery(Contract):
    """A question as exact entities. Absent fields are null or empty, never guessed.

    Code reads `asked`. The flat fields are those of the specification, for other readers of `query.json`.
    """

    raw_query: str
    task_type: TaskType
    asked: Asked = Asked()
    control_strategy: ControlStrategy | None = Field(default=None, description="asked for in the question, if so")
    control_strategy_fallback: ControlStrategy = ControlStrategy.QUERY_AS_CONTROL
    evidence: list[FieldEvidence] = []
    ambiguities: list[Ambiguity] = []
    not_understood: list[str] = Field(default=[], description="words of the question that no field holds")
    warnings: list[str] = Field(default=[], description="doubts, in plain words")
    understanding: float = Field(
        default=1.0, ge=0, le=1, description="probability that every field is as the question means it"
    )
    provenance: dict[str, str] = Field(default={}, description="parser and ontology versions")

    cell_type_query = _public(str | None, lambda asked: asked.cells.query)
    cell_type_cl_id = _public(str | None, lambda asked: asked.cells.cl_id)
    cell_type_name = _public(str | None, lambda asked: asked.cells.name)
    cell_type_synonyms = _public(list[str], lambda asked: asked.cells.synonyms)
    expected_marker_genes = _public(list[str], lambda asked: asked.cells.markers)
    perturbation_query = _main(str | None, lambda main: main.query)
    perturbation_resolved = _main(str | None, lambda main: main.name if main.resolved else None)
    perturbation_type = _main(PerturbationType | None, lambda main: main.type)
    perturbation_synonyms = _main(list[str], lambda main: main.synonyms)
    perturbation_external_ids = _main(dict[str, str], lambda main: main.external_ids)
    perturbation_dose = _public(str | None, lambda asked: asked.dose)
    perturbation_time = _public(str | None, lambda asked: asked.time)
    perturbations = _public(list[Perturbation], lambda asked: asked.perturbations, "all, the main one first")
    expected_targets = _main(list[str], lambda main: list(main.expected_targets), "gene symbols")
    expected_target_directions = _main(dict[str, Direction], lambda main: main.expected_targets)
    expected_pathways = _main(list[str], lambda main: list(main.expected_pathways), "gene set names")
    expected_pathway_directions = _main(dict[str, Direction], lambda main: main.expected_pathways)
    target_tissue = _public(str | None, lambda asked: asked.context.tissue_uberon_id, "UBERON id")
    target_tissue_name = _public(str | None, lambda asked: asked.context.tissue_name)
    target_disease_state = _public(str | None, lambda asked: asked.context.disease_mondo_id, "MONDO or PATO:0000461")
    target_disease_name = _public(str | None, lambda asked: asked.context.disease_name)
    target_donor_id = _public(str | None, lambda asked: asked.context.donor_id)
    target_condition = _public(str | None, lambda asked: asked.context.condition)
    reference_donor_id = _public(str | None, lambda asked: asked.context.reference_donor_id)
    reference_dataset = _public(str | None, lambda asked: asked.context.reference_dataset)

    @model_validator(mode="before")
    @classmethod
    def _read_flat(cls, data: Any) -> Any:
        """Derive `asked` from the flat fields of a file without it; refuse a file whose flat fields contradict it."""
        if not isinstance(data, dict):
            return data
        flat = {name: _typed(name, one, data[name]) for name, one in cls.model_computed_fields.items() if name in data}
        rest = {name: value for name, value in data.items() if name not in flat}
        if "asked" not in rest:
            return rest | {"asked": asked_of(flat)}
        derived = cls.model_construct(asked=Asked.model_validate(rest["asked"]))
        for name, value in flat.items():
            own = getattr(derived, name)
            if value != own:
                raise ValueError(f"{name} is {value!r}, but `asked` says {own!r}; edit `asked` and leave out {name}")
        return rest


def _typed(name: str, field: ComputedFieldInfo, value: Any) -> Any:
    try:
        return TypeAdapter(field.return_type).validate_python(value)
    except ValidationError as error:
        raise ValueError(f"{name}: {explain(error)}") from None


def asked_of(flat: dict[str, Any]) -> dict[str, Any]:
    """Data of `Asked` described by the flat fields (`query.json` before it had `asked`)."""
    get = flat.get
    listed = [one.model_dump() for one in get("perturbations", [])]
    name = get("perturbation_resolved") or get("perturbation_query")
    if name or listed:
        main = listed[0] if listed else {"query": name, "name": name}
        main["resolved"] = get("perturbation_resolved") is not None
        targets = dict.fromkeys(get("expected_targets", []), 1) | get("expected_target_directions", {})
        pathways = dict.fromkeys(get("expected_pathways", []), 1) | get("expected_pathway_directions", {})
        given = {
            "name": get("perturbation_resolved"),
            "query": get("perturbation_query"),
            "type": get("perturbation_type"),
            "synonyms": get("perturbation_synonyms"),
            "external_ids": get("perturbation_external_ids"),
            "expected_targets": targets,
            "expected_pathways": pathways,
        }
        listed[:1] = [main | {key: value for key, value in given.items() if value}]
    elif expected := [key for key in ("expected_targets", "expected_pathways") if get(key)]:
        raise ValueError(f"{expected[0]} are given, but no perturbation that they are expected of")
    return {
        "perturbations": listed,
        "dose": get("perturbation_dose"),
        "time": get("perturbation_time"),
        "cells": {
            "query": get("cell_type_query"),
            "cl_id": get("cell_type_cl_id"),
            "name": get("cell_type_name"),
            "synonyms": get("cell_type_synonyms", []),
            "markers": get("expected_marker_genes", []),
        },
        "context": {
            "tissue_uberon_id": get("target_tissue"),
            "tissue_name": get("target_tissue_name"),
            "disease_mondo_id": get("target_disease_state"),
            "disease_name": get("target_disease_name"),
            "donor_id": get("target_donor_id"),
            "condition": get("target_condition"),
            "reference_donor_id": get("reference_donor_id"),
            "reference_dataset": get("reference_dataset"),
        },
    }
