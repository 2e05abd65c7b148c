"""How a question would be understood: the pipeline's own parser, in words for the page."""

from __future__ import annotations

from collections.abc import Iterator

from haystack.api.catalogue import Catalogue
from haystack.api.schemas import Controls, Understanding, UnderstoodField
from haystack.contracts.query import ControlStrategy, StructuredQuery
from haystack.errors import QueryParsingError
from haystack.report.words import TASKS

FIELDS = (
    ("cell_type", "Cells", "cell_type_name", "cell_type_cl_id"),
    ("perturbation", "Perturbation", "perturbation_resolved", None),
    ("perturbation_dose", "Dose", "perturbation_dose", None),
    ("perturbation_time", "Time", "perturbation_time", None),
    ("target_tissue", "Tissue", "target_tissue_name", "target_tissue"),
    ("target_disease_state", "Disease", "target_disease_name", "target_disease_state"),
    ("target_condition", "Condition", "target_condition", None),
    ("target_donor_id", "Donor", "target_donor_id", None),
    ("reference_donor_id", "Compared with donor", "reference_donor_id", None),
    ("reference_dataset", "Data set", "reference_dataset", None),
)
"""field, label, attribute of the value, attribute of the id"""


def understand(question: str, asked: ControlStrategy | None, catalogue: Catalogue) -> Understanding:
    """Parse (offline, by rules) and look for controls. A question that cannot be parsed is an answer, not an error."""
    from haystack.query import parse_question

    try:
        query = parse_question(question, catalogue.query_settings, offline=True)
    except QueryParsingError as error:
        return Understanding(
            valid=False, query=question, message=str(error), controls=Controls(available=None, message="")
        )
    if query.control_strategy or asked is ControlStrategy.QUERY_AS_CONTROL:
        message = "The original cells are the control, as asked."
        own = (query.control_strategy or asked) is ControlStrategy.QUERY_AS_CONTROL
        controls = Controls(available=None, message=message) if own else catalogue.controls(query)
    else:
        controls = catalogue.controls(query)
    return described(query, controls)


def described(query: StructuredQuery, controls: Controls) -> Understanding:
    """A parsed question in words."""
    return Understanding(
        valid=True,
        query=query.raw_query,
        message=f"Read as a question about {TASKS.get(query.task_type, query.task_type)}.",
        fields=list(_fields(query)),
        ambiguities=query.ambiguities,
        not_understood=query.not_understood,
        warnings=query.warnings,
        controls=controls,
        structured_query=query,
    )


def _fields(query: StructuredQuery) -> Iterator[UnderstoodField]:
    for field, label, value, identifier in FIELDS:
        found = getattr(query, value) or (getattr(query, identifier) if identifier else None)
        if field == "cell_type":
            found = found or query.asked.cells.query
        if field == "perturbation" and len(query.asked.perturbations) > 1:
            found = " and ".join(item.name for item in query.asked.given)
            found += f" (cells under {' and '.join(query.asked.background)})" if query.asked.background else ""
        if found is None:
            continue
        names = {field, value, identifier, f"{field}_query"}
        span = next((item for item in query.evidence if item.field in names and item.start is not None), None)
        yield UnderstoodField(
            field=field,
            label=label,
            value=found,
            id=getattr(query, identifier) if identifier else _external(query) if field == "perturbation" else None,
            start=span.start if span else None,
            end=span.end if span else None,
        )


def _external(query: StructuredQuery) -> str | None:
    main = query.asked.perturbation
    ids = main.external_ids if main else {}
    name = next((name for name in ("ChEBI", "UniProt", "HGNC") if name in ids), None)
    if name is None:
        return main.type if main else None
    return ids[name] if ids[name].casefold().startswith(name.casefold()) else f"{name} {ids[name]}"
