"""Build the StructuredQuery from findings, with evidence for every field and warnings."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from haystack.contracts.query import Ambiguity, AskedCells, FieldEvidence, StructuredQuery
from haystack.ontology.diseaselabels import QUALIFIERS
from haystack.ontology.everyday import everyday_words
from haystack.ontology.index import ontology
from haystack.ontology.match import Match
from haystack.ontology.normalise import word_set
from haystack.query.doubts import understanding
from haystack.query.entities import Entity
from haystack.query.genetics import NO_GENES, opposite_changes
from haystack.query.lexicon import INSIDE, QUESTION_WORDS
from haystack.query.negation import unread_turns
from haystack.query.task import Named, task_type
from haystack.query.text import Span
from haystack.query.treatments import in_one_list

if TYPE_CHECKING:
    from haystack.query.findings import Findings
    from haystack.query.treatments import Group, Treatment

DOUBT = 0.8  # a score below this is worth a warning
_PATIENT_WITH = re.compile(r"\b(?:patients?|donors?|people|individuals?|subjects?)\s+with\s+(?:an?\s+|the\s+)?$", re.I)
_WHICH = re.compile(
    r"\b(?:which|what)\s+(?:drugs?|compounds?|cytokines?|(?:gene\s+)?knock-?outs?|perturbations?|treatments?)\s+"
    r"(?:(?:would|could|can|will|might|best)\s+)*(?:make|revers|rescu|restor|mimic|prevent|induc|activat|inhibit|block|"
    r"suppress|increas|decreas|kill|turn|driv|promot|protect)\w*",
    re.IGNORECASE,
)
_PROTEIN = re.compile(r"\bprotein\s+(?:levels?|abundance|expression)\b", re.IGNORECASE)
_CELL_WORDS = word_set("cell tissue type id human subset population marker level way pathway")
# Before the name of cells these say nothing that a field could hold.
_SAY_NOTHING = word_set("""
    human primary cultured adult normal healthy live living single isolated purified sorted fresh frozen resident total
    bulk own patient's donor's derived
""")
_STATES = word_set(
    "stimulated infected primed activated treated challenged polarized polarised perturbed exposed induced"
)
# Beside a treatment these say in what form it is given.
_FORMS = word_set("antibody antibodies mab monoclonal bispecific protein peptide hormone ligand molecule")
NEAR = 0.02  # alternatives so close to the first are named


def assemble(findings: Findings) -> StructuredQuery:
    """Build the query. The first cell type is used; others are recorded as ambiguity."""
    context = findings.context
    treatments, absent_notes = _with_absent(findings)
    findings.treatments = treatments
    datasets = {name for _, name in context.datasets}
    named = Named(
        treatment=bool(findings.treatments) or findings.group is not None,
        target_donor=bool(context.target_donors),
        reference_donor=bool(context.reference_donors),
        datasets=0 if findings.group and len(datasets) < 2 else len(datasets),  # one says where a list comes from
        disease=bool(findings.diseases),
    )
    task, confidence, why = task_type(findings.text, named)
    query = StructuredQuery(raw_query=findings.raw, task_type=task, warnings=list(findings.notes))
    query.evidence.append(FieldEvidence(field="task_type", text=why, confidence=confidence, method="rules"))
    if confidence < 0.7:
        query.warnings.append(f"the kind of question was guessed ({task.value}: {why})")
    query.warnings += absent_notes
    query.asked.absent = [item.perturbation for item, _ in findings.absent]
    _cells(query, findings)
    _perturbations(query, findings)
    _place(query, findings)
    _donors(query, findings)
    _leftovers(query, findings)
    query.warnings += _turned(findings)
    if which := _WHICH.search(findings.text):
        query.warnings.append(
            f"'{which[0]}' asks for a treatment; only the effect of one that is named can be predicted"
        )
    if _PROTEIN.search(findings.text):
        query.warnings.append("protein was asked for; what is predicted is RNA")
    for item in query.evidence:  # places are those of the question as it was written, markup and typos included
        if item.start is not None and item.end is not None:
            item.start, item.end = findings.repaired.origin(item.start), findings.repaired.origin(item.end, end=True)
            item.text = findings.raw[item.start : item.end]
    query.evidence += [
        FieldEvidence(field="words", text=written, confidence=0.8, method="spelling")
        for _, written, _ in findings.repaired.repairs
    ]
    query.understanding = understanding(query)
    cl = ontology("CL")
    query.provenance = {"parser": "rules", "cell_ontology": cl.version, "cellxgene_schema": cl.schema}
    return query


def _with_absent(findings: Findings) -> tuple[list[Treatment], list[str]]:
    """The treatments, including absent ones: a cytokine that is withdrawn, with no other treatment, is blocked."""
    from haystack.knowledge.resolve import blockade

    notes = []
    blocked: list[Treatment] = []
    for item, negation in findings.absent:
        name = item.perturbation.name
        if negation.absent and not findings.treatments and item.perturbation.type == "cytokine":
            against = blockade(item.perturbation).model_copy(update={"query": item.span.text, "direction": -1})
            blocked.append(replace(item, perturbation=against))
            notes.append(
                f"'{item.span.text}' is said to be absent and was read as its blockade ({against.name}); "
                "leave it out if untreated cells are meant"
            )
        else:
            notes.append(f"'{item.span.text}' is said to be absent: {name} is no treatment here")
    return findings.treatments + blocked, notes


def _turned(findings: Findings) -> list[str]:
    """A warning for each unused word that may reverse the question, if there is a treatment."""
    if not findings.treatments:
        return []
    used = [item.trigger for item in findings.negations] + [item.trigger for _, item in findings.absent]
    used += (
        [gene.trigger for gene in findings.genes if gene.trigger]
        + findings.classes
        + [item.span for item in findings.treatments]
    )
    used += [entity.span for entity in (*findings.cells, *findings.diseases)]
    unread = [*unread_turns(findings.text, used), *opposite_changes(findings.text, findings.genes, used)]
    return [f"'{where.text}' was not read: it may turn the question round" for where in unread]


def _cells(query: StructuredQuery, findings: Findings) -> None:
    """The named cell type, or that of the cell line."""
    if not findings.lines:
        _cell_type(query, findings.cells)
        return
    where, line = findings.lines[0]
    own = Entity(where, [Match(line.cell_type_cl_id, line.cell_type, 0.95, "cell line")])
    other = next((c for c in findings.cells if not _describes_line(findings.text, c, own)), None)
    if other is not None and other.span.start < where.start:
        query.warnings.append(f"'{other.span.text}' are named beside {line.name}, which was not taken: ask one by one")
        _cell_type(query, findings.cells)
        return
    _cell_type(query, [own] if other else findings.cells or [own])
    if other is not None:
        query.warnings.append(f"'{other.span.text}' are named beside {line.name}, which was taken: ask one by one")
    cells, sample = query.asked.cells, query.asked.context
    cells.line, cells.line_id, cells.line_sex = line.name, line.accession or None, line.sex or None
    query.evidence.append(_evidence("cell_line", where, 0.98, "cell line"))
    sample.tissue_uberon_id, sample.tissue_name = line.tissue_uberon_id, line.tissue
    sample.disease_mondo_id, sample.disease_name = line.disease_mondo_id or None, line.disease or None
    for field, value in (("target_tissue", line.tissue), ("target_disease_state", line.disease)):
        if value:
            query.evidence.append(_evidence(field, where, 0.9, "cell line"))
    others = list(dict.fromkeys(other.name for _, other in findings.lines[1:] if other != line))
    if others:
        query.ambiguities.append(Ambiguity(field="cell_line", text=where.text, alternatives=[line.name, *others]))
        query.warnings.append(f"several cell lines are named; {line.name} was taken, not {', '.join(others)}")


def _describes_line(text: str, cell: Entity, line: Entity) -> bool:
    """Whether a name of cells may be that of the line: it stands beside it, or is its type or a related one."""
    if in_one_list(text, line.span, cell.span):
        return False
    first, second = sorted((line.span, cell.span), key=lambda where: where.start)
    beside = re.fullmatch(r"[\s:(-]*(?:derived\s+)?", text[first.end : second.start])
    return bool(beside) or _related(cell.best.id, line.best.id) or cell.best.id == line.best.id


def _cell_type(query: StructuredQuery, cells: list[Entity]) -> None:
    from haystack.knowledge import markers

    first = cells[0]
    best = first.best
    query.asked.cells = AskedCells(
        query=first.span.text,
        cl_id=best.id,
        name=best.name,
        synonyms=list(ontology("CL").terms[best.id].synonyms),
        markers=markers(best.id),
    )
    query.evidence.append(_evidence("cell_type_cl_id", first.span, best.score, best.method))
    if best.score < DOUBT:
        query.warnings.append(
            f"'{first.span.text}' was taken for {best.name} ({best.id}) with a score of {best.score:.2f} only"
        )
    near = [m for m in first.matches[1:] if m.score >= best.score - NEAR and not _related(m.id, best.id)]
    if near:
        query.ambiguities.append(
            Ambiguity(field="cell_type_cl_id", text=first.span.text, alternatives=[_say(m) for m in (best, *near)])
        )
    others = {entity.best.id: entity for entity in cells[1:] if entity.best.id != best.id}
    if others:
        query.ambiguities.append(
            Ambiguity(
                field="cell_type_cl_id",
                text="; ".join(entity.span.text for entity in (first, *others.values())),
                alternatives=[_say(entity.best) for entity in (first, *others.values())],
            )
        )
        names = ", ".join(f"'{entity.span.text}'" for entity in others.values())
        query.warnings.append(
            f"several cell types are named; '{first.span.text}' was taken, not {names}: ask one by one"
        )


def _related(one: str, other: str) -> bool:
    """Whether one is a superclass of the other, so that they differ only in specificity."""
    from haystack.ontology.graph import ancestors

    return one in ancestors(other) or other in ancestors(one)


def _perturbations(query: StructuredQuery, findings: Findings) -> None:
    _amounts(query, findings)
    if findings.group is not None and not findings.treatments:
        _list(query, findings.group)
    unique: dict[str, Treatment] = {}
    for treatment in findings.treatments:
        unique.setdefault(treatment.perturbation.name, treatment)
    query.asked.perturbations = [
        item.perturbation.model_copy(update={"query": item.span.text, "resolved": item.known})
        for item in unique.values()
    ]
    for number, item in enumerate(unique.values()):
        field = "perturbation_resolved" if number == 0 else "perturbations"
        method = "knowledge" if item.known else "words around it"
        query.evidence.append(_evidence(field, item.span, 0.95 if item.known else 0.4, method))
        if not item.known:
            query.warnings.append(_unknown(item))
        elif item.doubt:
            query.warnings.append(item.doubt)
    given = [name for name, item in unique.items() if not item.before]
    if len(given) > 1:
        query.warnings.append(f"{len(given)} perturbations are named; {given[0]} is the main one")
    query.asked.background = [name for name, item in unique.items() if item.before]
    for name in query.asked.background:
        query.warnings.append(
            f"'{unique[name].span.text}' was read as what the cells had before {given[0]}: their controls have it too"
        )


def _list(query: StructuredQuery, group: Group) -> None:
    """A list is several questions, so none of its members is picked."""
    query.asked.perturbation_list = group.span.text
    query.evidence.append(_evidence("perturbation_list", group.span, 0.9, "pattern"))
    query.warnings.append(
        f"'{group.span.text}' is a list, so this is one question each. Make them with: {expand_command(query, group)}"
    )


def expand_command(query: StructuredQuery, group: Group) -> str:
    """Command that creates a table of runs from a list."""
    kind = f" --type {group.kind}" if group.kind else ""
    atlas = " --atlas NAME" if group.dataset else ""
    return f"haystack runs expand --cell-type '{query.asked.cells.label}'{atlas}{kind} --out config/runs.tsv"


def _amounts(query: StructuredQuery, findings: Findings) -> None:
    for name, spans in (("dose", findings.context.doses), ("time", findings.context.times)):
        distinct = list(dict.fromkeys(where.text for where in spans))
        if not distinct:
            continue
        setattr(query.asked, name, distinct[0])
        query.evidence.append(_evidence(f"perturbation_{name}", spans[0], 0.95, "pattern"))
        if len(distinct) > 1:
            query.ambiguities.append(
                Ambiguity(field=f"perturbation_{name}", text=", ".join(distinct), alternatives=distinct)
            )


def _unknown(item: Treatment) -> str:
    from haystack.knowledge import suggest_perturbations

    near = suggest_perturbations(item.span.text, 3)
    hint = f"; nearest: {', '.join(near)}" if near else ""
    what = "no known gene" if item.perturbation.type == "genetic" else "not a known cytokine, drug or gene"
    return f"'{item.span.text}' was understood as what is done to the cells, but is {what}{hint}"


def _place(query: StructuredQuery, findings: Findings) -> None:
    sample = query.asked.context
    if findings.tissues:
        chosen = _most_specific(_nearest_first(findings.tissues, findings.cells))
        sample.tissue_uberon_id, sample.tissue_name = chosen.best.id, chosen.best.name
        query.evidence.append(_evidence("target_tissue", chosen.span, chosen.best.score, chosen.best.method))
        _others(query, "target_tissue", chosen, findings.tissues)
    if findings.diseases:
        sick = [entity for entity in findings.diseases if entity.best.id.startswith("MONDO:")]
        chosen = (sick or findings.diseases)[0]
        sample.disease_mondo_id, sample.disease_name = chosen.best.id, chosen.best.name
        query.evidence.append(_evidence("target_disease_state", chosen.span, chosen.best.score, chosen.best.method))
        _others(query, "target_disease_state", chosen, findings.diseases)
    if findings.context.conditions:
        sample.condition = ", ".join(dict.fromkeys(where.text for where in findings.context.conditions))
        for where in findings.context.conditions:
            query.evidence.append(_evidence("target_condition", where, 0.8, "pattern"))


def _nearest_first(tissues: list[Entity], cells: list[Entity]) -> list[Entity]:
    """Tissues, those inside or directly before the name of the cells first: only liver, but spleen macrophages."""
    if not cells:
        return tissues
    first = cells[0].span
    return sorted(tissues, key=lambda tissue: not (first.holds(tissue.span) or 0 <= first.start - tissue.span.end <= 1))


def _most_specific(tissues: list[Entity]) -> Entity:
    """The first tissue, or a named part of it (kidney ... kidney cortex)."""
    from haystack.ontology.graph import ancestors

    chosen = tissues[0]
    for other in tissues[1:]:
        if chosen.best.id in ancestors(other.best.id):
            chosen = other
    return chosen


def _others(query: StructuredQuery, field: str, chosen: Entity, entities: list[Entity]) -> None:
    from haystack.ontology.graph import ancestors

    related = {chosen.best.id, *ancestors(chosen.best.id)}
    others = {entity.best.id: entity.best for entity in entities if entity.best.id not in related}
    near = {match.id: match for match in chosen.matches[1:] if match.score >= chosen.best.score - NEAR}
    alternatives = near | others
    if alternatives:
        query.ambiguities.append(
            Ambiguity(
                field=field,
                text=chosen.span.text,
                alternatives=[_say(m) for m in (chosen.best, *alternatives.values())],
            )
        )
    if others:
        names = ", ".join(match.name for match in others.values())
        query.warnings.append(f"{field}: {chosen.best.name} was taken; also named: {names}")


def _donors(query: StructuredQuery, findings: Findings) -> None:
    context, sample = findings.context, query.asked.context
    for name, own, spans in (
        ("target_donor_id", "donor_id", context.target_donors),
        ("reference_donor_id", "reference_donor_id", context.reference_donors),
    ):
        distinct = list(dict.fromkeys(where.text for where in spans))
        if distinct:
            setattr(sample, own, distinct[0])
            query.evidence.append(_evidence(name, spans[0], 0.95, "pattern"))
        if len(distinct) > 1:
            query.ambiguities.append(Ambiguity(field=name, text=", ".join(distinct), alternatives=distinct))
            query.warnings.append(f"{name}: '{distinct[0]}' was taken; also named: {', '.join(distinct[1:])}")
    if context.datasets:
        where, name = context.datasets[0]
        sample.reference_dataset = name
        query.evidence.append(_evidence("reference_dataset", where, 0.9, "pattern"))
        distinct = list(dict.fromkeys(other for _, other in context.datasets))
        if len(distinct) > 1:
            query.ambiguities.append(
                Ambiguity(field="reference_dataset", text=", ".join(distinct), alternatives=distinct)
            )
    if context.control:
        where, query.control_strategy = context.control
        query.evidence.append(_evidence("control_strategy", where, 0.9, "pattern"))


def _leftovers(query: StructuredQuery, findings: Findings) -> None:
    """Content words that no field explains, without question words and everyday words."""
    spans = [
        *findings.context.spans,
        *findings.controls,
        *(e.span for e in [*findings.cells, *findings.tissues, *findings.diseases]),
    ]
    spans += [t.span for t in findings.treatments] + ([findings.group.span] if findings.group else [])
    spans += findings.classes + [where for where, _ in findings.lines] + [item.span for item, _ in findings.absent]
    spans += [gene.trigger for gene in findings.genes if gene.trigger] + [
        gene.span for gene in findings.genes if gene.read_out
    ]
    rest = []
    for word in findings.tokens:
        where = Span(word.start, word.end, word.text)
        if any(where.overlaps(other) for other in spans):
            continue
        if word.text.upper() in NO_GENES and any(gene.trigger for gene in findings.genes):
            continue
        parts = [part for part in re.split(r"[-/'’]", word.lower) if len(part) > 1]
        if word.lower in _FORMS and any(_beside(findings.text, where, item.span) for item in findings.treatments):
            continue
        if not all(_is_plain(part) for part in parts) or _describes(findings, where) or _has(findings.text, where):
            rest.append(word.text)
    query.not_understood = list(dict.fromkeys(rest))
    if len(rest) >= 4 and len(rest) > len(findings.tokens) / 3:
        query.warnings.append("much of the question was not understood; is it one plain question in English?")


def _beside(text: str, one: Span, other: Span) -> bool:
    first, second = sorted((one, other), key=lambda where: where.start)
    gap = text[first.end : second.start]
    return re.fullmatch(r"[\s–-]*|\s+(?:against|to|for|targeting)\s+", gap) is not None


def _describes(findings: Findings, where: Span) -> bool:
    """Whether a word directly precedes the name of the cells or disease and may restrict it."""
    word = where.text.lower()
    if (word in QUESTION_WORDS and word not in _STATES) or word in INSIDE or word in _SAY_NOTHING or word.isdigit():
        return False
    if word in _STATES and any(_beside(findings.text, item.span, where) for item in findings.treatments):
        return False
    named = [*findings.cells[:1], *(d for d in findings.diseases if word not in QUALIFIERS)]
    return any(re.fullmatch(r"\s+", findings.text[where.end : item.span.start]) for item in named)


def _has(text: str, where: Span) -> bool:
    """Whether a word is in the position of a disease: patients with X."""
    said = where.text.lower() in QUESTION_WORDS or where.text.lower() in INSIDE or where.text.lower() in QUALIFIERS
    return not said and _PATIENT_WITH.search(text[: where.start]) is not None


def _is_plain(word: str) -> bool:
    known = word in QUESTION_WORDS or word in INSIDE or word in everyday_words() or word.isdigit()
    return known or word.removesuffix("s") in _CELL_WORDS


def _evidence(field: str, where: Span, confidence: float, method: str) -> FieldEvidence:
    return FieldEvidence(
        field=field,
        text=where.text,
        start=where.start if where.start >= 0 else None,
        end=where.end if where.start >= 0 else None,
        confidence=round(min(1.0, confidence), 4),
        method=method,
    )


def _say(match: Match) -> str:
    return f"{match.id} {match.name}"
