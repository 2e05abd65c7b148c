"""Compare the prompt cells with the cells of the question: whether they were measured, or extrapolated from others."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache

from haystack.contracts import CellSet, StructuredQuery
from haystack.contracts.runlog import PromptLog, RunLog
from haystack.ontology.lines import line_of_label
from haystack.report.words import count, listed, plural

KINDS_SHOWN = 3
HEALTHY = "PATO:0000461"


def measured_sentences(log: RunLog) -> list[str]:
    """A sentence if prompts of any iteration include the cells of the question, under the perturbation or in the
    sample.

    Held-out cells, and cells that no prompt took, are not in the log and do not count.
    """
    query = log.query
    if len(query.asked.given) > 1:
        return []
    shown = _shown([prompt for item in log.iterations for prompt in item.prompts])
    measured = [(item, n) for item, n in shown if _is_asked(query, item)]
    if not measured:
        return []
    places = []
    for atlas in sorted({item.atlas for item, _ in measured}):
        own = [(item, n) for item, n in measured if item.atlas == atlas]
        donors = {item.donor_id for item, _ in own if item.donor_id}
        of = f" of {count(len(donors), 'donor')}" if donors else ""
        places.append(f"atlas {atlas} ({count(sum(n for _, n in own), 'cell')}{of} shown to the model)")
    amount = [text for text in (query.asked.dose, query.asked.time) if text]
    differ = f" Whether their dose and time match ({listed(amount)}) was not checked." if amount else ""
    kinds = _kinds(measured)
    state = f"under {_perturbations(measured)}" if query.task_type.is_perturbational else f"of {_sample(query)}"
    return [f"{kinds[:1].upper()}{kinds[1:]} {state} are measured in {listed(places)}. See the measurements.{differ}"]


def carried_sentences(log: RunLog) -> list[str]:
    """A sentence if the answer's prompt cells are of another type, perturbation or sample than the question's.

    A model that sees all measurements does not answer from its prompt.
    """
    query, prompt = log.query, _best_prompt(log)
    if prompt is None or query.asked.cells.cl_id is None:
        return []
    if log.inference.get("sees_all"):
        return ["The response is combined from all measured contexts of the perturbation, whichever prompt is shown."]
    shown = _shown([prompt])
    foreign = [(item, n) for item, n in shown if not _is_asked(query, item)]
    if not foreign:
        return []
    if not query.task_type.is_perturbational:
        part = " partly" if len(foreign) < len(shown) else ""
        asked = f"{plural(query.asked.cells.label or 'cells')} of {_sample(query)}"
        return [f"The prediction is{part} extrapolated from {_kinds(foreign)} of other samples, in place of {asked}."]
    asked = query.asked.name or "the perturbation in question"
    under = [(item, n) for item, n in foreign if item.perturbation_name]
    other = any(not _asked_perturbation(query, item) for item, _ in under)
    states = f" under {_perturbations(under)}" if under else ""
    part = " partly" if len(foreign) < len(shown) else ""
    instead = f", in place of {asked}" if other else ""
    return [f"The response is{part} extrapolated from {_kinds(foreign)}{states}{instead}."]


def not_shown(log: RunLog) -> list[str]:
    """Properties of the sample in the question that no prompt or query cell of the answer is known to have."""
    from haystack.retrieval.question import same_donor

    query, prompt = log.query, _best_prompt(log)
    if prompt is None:
        return []
    best = next(item for item in log.iterations if item.iteration == log.answer.best_iteration)
    cells = [*prompt.cell_sets, *best.query_cell_sets]
    sentences = []
    sample, cell_type = query.asked.context, query.asked.cells
    donor = sample.donor_id
    if donor and not any(item.donor_id and same_donor(donor, item.donor_id) for item in cells):
        sentences.append(_absent(f"come from {donor_words(donor)}", "that donor"))
    tissue, disease = sample.tissue_uberon_id, sample.disease_mondo_id
    if tissue and not related(tissue).intersection(item.tissue_uberon_id for item in cells):
        sentences.append(_absent(f"come from {sample.tissue_name or tissue}", "it"))
    if disease and not related(disease).intersection(item.disease_mondo_id for item in cells):
        state = "be healthy" if disease == HEALTHY else f"come from a donor with {sample.disease_name or disease}"
        sentences.append(_absent(state, "that"))
    starts = [item for item in best.query_cell_sets if not _asked_type(query, item)]
    if cell_type.cl_id and len(starts) == len(best.query_cell_sets) > 0:
        groups = [(item, best.query_cells_per_set.get(item.cell_set_id, 0)) for item in starts]
        asked = plural(cell_type.name or cell_type.cl_id)
        sentences.append(f"The cells whose change is predicted are {_kinds(groups)}, not {asked}.")
    return sentences


@cache
def related(term_id: str) -> frozenset[str]:
    """The term and its subclasses."""
    from haystack.retrieval.question import related_terms

    return frozenset(related_terms(term_id))


def _absent(what: str, it: str) -> str:
    return f"None of the prompt and query cells is known to {what}; the prediction is not specific to {it}."


def _best_prompt(log: RunLog) -> PromptLog | None:
    prompts = [p for item in log.iterations if item.iteration == log.answer.best_iteration for p in item.prompts]
    return next((prompt for prompt in prompts if prompt.prompt_id == log.answer.best_prompt_id), None)


def _shown(prompts: Iterable[PromptLog]) -> list[tuple[CellSet, int]]:
    """Every cell set once, with the largest number of cells in a prompt."""
    sets: dict[str, tuple[CellSet, int]] = {}
    for prompt in prompts:
        for item in prompt.cell_sets:
            n = max(prompt.cells_per_set.get(item.cell_set_id, 0), sets.get(item.cell_set_id, (item, 0))[1])
            sets[item.cell_set_id] = (item, n)
    return [(item, n) for item, n in sets.values() if n > 0]


def _is_asked(query: StructuredQuery, item: CellSet) -> bool:
    """Whether cells match the question: its cell type and perturbation, or donor, tissue and disease where stated."""
    if not _asked_type(query, item):
        return False
    if query.task_type.is_perturbational:
        return _asked_perturbation(query, item)
    from haystack.retrieval.question import same_donor

    sample = query.asked.context
    return (
        (not sample.donor_id or bool(item.donor_id and same_donor(sample.donor_id, item.donor_id)))
        and (not sample.tissue_uberon_id or item.tissue_uberon_id in related(sample.tissue_uberon_id))
        and (not sample.disease_mondo_id or item.disease_mondo_id in related(sample.disease_mondo_id))
    )


def donor_words(donor: str) -> str:
    """`donor KD_047`; an id that says what it is stays as it is (`Donor 3`)."""
    return donor if donor.lower().startswith(("donor", "patient")) else f"donor {donor}"


def _sample(query: StructuredQuery) -> str:
    """`donor KD_047 (kidney, chronic kidney disease)`, `kidney with chronic kidney disease`."""
    sample = query.asked.context
    state = [text for text in (sample.tissue_name, sample.disease_name) if text]
    if sample.donor_id:
        return donor_words(sample.donor_id) + (f" ({', '.join(state)})" if state else "")
    if sample.disease_mondo_id == HEALTHY:
        return f"healthy {sample.tissue_name or 'donors'}"
    if sample.disease_name:
        return f"{sample.tissue_name or 'donors'} with {sample.disease_name}"
    return sample.tissue_name or "the sample in question"


def _asked_type(query: StructuredQuery, item: CellSet) -> bool:
    """Whether cells are of the question's cell line, or of its cell type or a subtype."""
    if query.asked.cells.line is not None:
        line = line_of_label(item.cell_type_name or "")
        return line is not None and line.name == query.asked.cells.line
    asked = query.asked.cells.cl_id
    return asked is not None and item.cell_type_cl_id in related(asked)


def _asked_perturbation(query: StructuredQuery, item: CellSet) -> bool:
    """Whether a perturbation is one of the question by name or synonym; partial matches do not count."""
    from haystack.retrieval.perturbations import match_combination, match_names, names_of

    if not item.perturbation_name:
        return False
    asked = {one.name: one.synonyms for one in query.asked.given}

    def same(name: str, part: str) -> bool:
        return match_names(name, asked.get(name, []), names_of(part)) in {"exact", "synonym"}

    together = match_combination(list(asked), same, item.perturbation_name)
    return together == 1 if together is not None else any(same(name, item.perturbation_name) for name in asked)


def _kinds(shown: list[tuple[CellSet, int]]) -> str:
    """`B cells, monocytes and 2 other cell types`, most cells first."""
    counts: dict[str, int] = {}
    for item, n in shown:
        name = plural(item.cell_type_name) if item.cell_type_name else "cells of unknown type"
        counts[name] = counts.get(name, 0) + n
    names = sorted(counts, key=lambda name: (-counts[name], name))
    if len(names) > KINDS_SHOWN + 1:
        names = [*names[:KINDS_SHOWN], f"{len(names) - KINDS_SHOWN} other cell types"]
    if len(names) > 2 and any("," in name for name in names):
        return f"{'; '.join(names[:-1])}; and {names[-1]}"
    return listed(names)


def _perturbations(shown: list[tuple[CellSet, int]]) -> str:
    return listed(sorted({item.perturbation_name for item, _ in shown if item.perturbation_name}))
