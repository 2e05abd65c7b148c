"""Convert the run's log and tables to the words, rows and plot data of the report."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from haystack.contracts import CellSet, Component, PromptGrounding, StructuredQuery
from haystack.contracts.runlog import IterationLog, RunLog
from haystack.report.answer import best_grounding, best_iteration, ceiling
from haystack.report.design import matching
from haystack.report.libraries import set_url
from haystack.report.predictions import expected_genes
from haystack.report.words import NULLS, REASONS, component, listed, spoken, strategy

if TYPE_CHECKING:
    import pandas as pd

TERMS_SHOWN = 16
OTHERS_SHOWN = 3
"""number of non-significant gene sets shown"""
FACTORS_SHOWN = 16
DETAILS_SHOWN = 15
SHOWN_APART = {"papers", "sentences"}
"""details of components shown elsewhere"""
DONORS_SHOWN = 6
DOT_CELLS = 4
"""cells per dot of the prompt picture"""
MIN_NEGLOG = 1e-300


def component_rows(grounding: PromptGrounding | None) -> list[dict[str, Any]]:
    """One row per component, evaluated ones first, by weight."""
    if grounding is None:
        return []
    rows = []
    for name, part in grounding.components.items():
        title, asks = component(name)
        rows.append(
            {
                "name": name,
                "title": title,
                "asks": asks,
                "part": part,
                "weight": grounding.weights.get(name),
                "width": _position(part.score),
                "details": [
                    (detail_label(key, part), text)
                    for key, value in part.details.items()
                    if key not in SHOWN_APART and (text := detail(value))
                ],
            }
        )
    return sorted(rows, key=lambda row: (not row["part"].evaluated, -(row["weight"] or 0)))


def detail_label(key: str, part: Component) -> str:
    """Label of a detail."""
    if key != "agreement":
        return spoken(key)
    factors = part.details.get("transcription_factors")
    return "agreement beyond chance" + (", transcription factors included" if factors else "")


def detail(value: Any) -> str:
    """A detail of a component as a short text; empty if it is empty."""
    if isinstance(value, dict):
        items = [f"{spoken(str(key))} {text}" for key, part in value.items() if (text := detail(part))]
    elif isinstance(value, list):
        items = [text for part in value if (text := detail(part))]
    elif isinstance(value, float):
        return f"{value:.3g}"
    else:
        return "" if value is None else str(value)
    more = f" and {len(items) - DETAILS_SHOWN} more" if len(items) > DETAILS_SHOWN else ""
    return ", ".join(items[:DETAILS_SHOWN]) + more


def scale_marks(log: RunLog) -> list[dict[str, Any]]:
    """Marks on the composite's scale: prediction, nulls, ceiling, threshold."""
    grounding, top = best_grounding(log), ceiling(log)
    if grounding is None or grounding.composite_value is None:
        return []
    marks: list[dict[str, Any]] = [{"kind": "own", "label": "this prediction", "value": grounding.composite_value}]
    for name, value in grounding.nulls.items():
        if value is not None:
            marks.append({"kind": "null", "label": NULLS.get(name, spoken(name)), "value": value})
    if top is not None:
        marks.append({"kind": "ceiling", "label": "the measured truth (ceiling)", "value": top})
    marks.append({"kind": "threshold", "label": "threshold", "value": float(log.settings["score_threshold"])})
    return [mark | {"at": _position(mark["value"])} for mark in marks]


def _position(score: float | None) -> float:
    """Per cent of the scale from 1 to 10."""
    return 0.0 if score is None else round((min(10.0, max(1.0, score)) - 1) / 9 * 100, 2)


def component_history(log: RunLog) -> list[dict[str, Any]]:
    """Component scores of the best prompt of every iteration; None if not evaluated."""
    scores_per_iteration = []
    for item in log.iterations:
        by_id = {prompt.prompt_id: prompt for prompt in item.grounding.prompts}
        best = by_id.get(item.grounding.best_prompt_id or "")
        scores_per_iteration.append({name: part.score for name, part in best.components.items()} if best else {})
    names = list(dict.fromkeys(name for scores in scores_per_iteration for name in scores))
    return [
        {
            "title": component(name)[0],
            "scores": [scores.get(name) for scores in scores_per_iteration],
        }
        for name in names
    ]


def iteration_rows(log: RunLog) -> list[dict[str, Any]]:
    """One row per iteration: score, refinement, outcome."""
    rows = []
    for item in log.iterations:
        decision = item.decision
        refinement = item.refinement_applied
        rows.append(
            {
                "item": item,
                "value": item.grounding.composite_value,
                "score": item.grounding.composite_value,
                "width": _position(item.grounding.composite_value),
                "ticks": _ticks(item, ceiling(log)),
                "is_best": item.iteration == log.answer.best_iteration,
                "did": refinement.sentence if refinement else "First iteration, without refinement.",
                "end": f"Stopped: {REASONS[decision.reason.value]}." if decision.reason else "Continued.",
            }
        )
    return rows


def _ticks(item: IterationLog, top: float | None) -> list[tuple[str, float]]:
    """Positions of the best null of the iteration's best prompt and of the ceiling, in per cent."""
    best = next(
        (prompt for prompt in item.grounding.prompts if prompt.prompt_id == item.grounding.best_prompt_id), None
    )
    if best is None:
        return []
    nulls = [value for value in best.nulls.values() if value is not None]
    ticks = [("null", _position(max(nulls)))] if nulls else []
    return ticks + ([("ceiling", _position(top))] if top is not None else [])


def not_evaluated(log: RunLog, de: pd.DataFrame, methods: set[str]) -> list[str]:
    """What was not evaluated, and why."""
    grounding = best_grounding(log)
    reasons = []
    for row in component_rows(grounding):
        part: Component = row["part"]
        if not part.evaluated:
            reasons.append(f"{row['title']}: {part.reason}.".replace("..", "."))
    outside = genes_outside_model(log, de)
    if outside:
        reasons.append(
            f"Expected genes that are not in the model, so nothing is predicted for them: {listed(outside)}."
        )
    if log.answer.best_prompt_id is not None:
        if "ulm" not in methods:
            reasons.append(f"Transcription factor activities: {no_factors(log)}.")
        if grounding is not None and log.validation is None:
            reasons.append(
                "Comparison with the truth: the config names no held-out cells, so the score has no ceiling."
            )
    return reasons


def no_factors(log: RunLog) -> str:
    """Why there are no transcription factor activities."""
    if log.settings["enrichment"]["regulons"] is None:
        return "no table of regulons is configured (enrichment.regulons)"
    return "no factor has enough targets among the tested genes"


def genes_outside_model(log: RunLog, de: pd.DataFrame) -> list[str]:
    """Expected genes that the model does not hold."""
    absent = set(de.loc[~de["in_model"].astype(bool), "gene"].astype(str))
    return sorted(absent.intersection(expected_genes(log.query)))


def query_rows(query: StructuredQuery) -> list[dict[str, Any]]:
    """Interpretation of the question: field, words, entity, identifier."""
    words = {item.field: item.text for item in query.evidence if item.start is not None}
    asked = query.asked
    main, cells, sample = asked.perturbation, asked.cells, asked.context
    rows = [
        ("Cell type", cells.query, cells.name, cells.cl_id),
        ("Perturbation", main.query if main else None, main.name if main and main.resolved else None, None),
        ("Dose", asked.dose, asked.dose, None),
        ("Time", asked.time, asked.time, None),
        ("Tissue", words.get("target_tissue"), sample.tissue_name, sample.tissue_uberon_id),
        ("Disease", words.get("target_disease_state"), sample.disease_name, sample.disease_mondo_id),
        ("Donor", sample.donor_id, sample.donor_id, None),
        ("Condition", sample.condition, sample.condition, None),
        ("Reference donor", sample.reference_donor_id, sample.reference_donor_id, None),
        ("Reference dataset", sample.reference_dataset, sample.reference_dataset, None),
    ]
    return [
        {"field": field, "words": said, "name": name, "id": identifier}
        for field, said, name, identifier in rows
        if said or name or identifier
    ]


def marked_question(log: RunLog) -> list[tuple[str, str | None]]:
    """The question in pieces: (text, field read from it or None). Of overlapping spans the longest wins."""
    text = log.query.raw_query
    spans = sorted(
        (item.start, -item.end, item.field)
        for item in log.query.evidence
        if item.start is not None and item.end is not None and 0 <= item.start < item.end <= len(text)
    )
    pieces: list[tuple[str, str | None]] = []
    position = 0
    for start, minus_end, field in spans:
        end = -minus_end
        if start < position:
            continue
        pieces += [(text[position:start], None), (text[start:end], spoken(field))]
        position = end
    return [piece for piece in [*pieces, (text[position:], None)] if piece[0]]


def prompt_cards(log: RunLog) -> list[dict[str, Any]]:
    """Prompts of the best iteration, the best first."""
    item = best_iteration(log)
    if item is None:
        return []
    scores = {prompt.prompt_id: prompt for prompt in item.grounding.prompts}
    cards = []
    for prompt in item.prompts:
        grounding = scores.get(prompt.prompt_id)
        cards.append(
            {
                "prompt": prompt,
                "is_best": prompt.prompt_id == log.answer.best_prompt_id,
                "score": grounding.composite_value if grounding else None,
                "n_de": grounding.n_de if grounding else None,
                "groups": cell_groups(prompt.cell_sets, prompt.cells_per_set),
                "control_dots": math.ceil(prompt.n_control_cells / DOT_CELLS),
                "why": [strategy(name) for name in prompt.strategies],
                "matching": matching(prompt),
            }
        )
    return sorted(cards, key=lambda card: not card["is_best"])


def cell_groups(cell_sets: Sequence[CellSet], cells: dict[str, int]) -> list[dict[str, Any]]:
    """Cell sets grouped by cell type, perturbation, atlas and condition, with their donors; largest first."""
    groups: dict[tuple[str, str], dict[str, Any]] = {}
    for item in cell_sets:
        what = item.cell_type_name or "cells of unknown type"
        what += f" under {item.background}" if item.background else ""
        what += f" + {item.perturbation_name}" if item.perturbation_name else ""
        place = f"{item.atlas}, {item.sample_condition}" if item.sample_condition else item.atlas
        group = groups.setdefault((what, place), {"what": what, "n": 0, "donors": []})
        group["n"] += cells.get(item.cell_set_id, 0)
        if item.donor_id:
            group["donors"].append(item.donor_id.split(":", 1)[-1])
    for (_, place), group in groups.items():
        donors = sorted(set(group["donors"]))
        shown = listed(donors) if len(donors) <= DONORS_SHOWN else f"{len(donors)} donors"
        group["origin"] = place + (f"; {'donor' if len(donors) == 1 else 'donors'} {shown}" if donors else "")
        group["dots"] = math.ceil(group["n"] / DOT_CELLS)
    return sorted(groups.values(), key=lambda group: -group["n"])


def agreement(de: pd.DataFrame, best_prompt_id: str | None) -> list[dict[str, Any]]:
    """Agreement of the iteration's other prompts with the best prompt's called genes."""
    if best_prompt_id is None:
        return []
    own = de[(de["prompt_id"] == best_prompt_id) & de["is_de"]].set_index("gene")["log2fc"]
    if own.empty:
        return []
    rows = []
    for prompt_id, frame in de[de["prompt_id"] != best_prompt_id].groupby("prompt_id", sort=True):
        other = frame.set_index("gene")
        log2fc = other["log2fc"].reindex(own.index)
        same = (log2fc * own > 0).sum()
        both = (other["is_de"].reindex(own.index).eq(True) & (log2fc * own > 0)).sum()
        rows.append({"prompt_id": str(prompt_id), "same": int(same), "both": int(both), "of": len(own)})
    return rows


def gene_data(log: RunLog, de: pd.DataFrame) -> dict[str, Any]:
    """Columns of the best prompt's genes for table and plot, called genes first.

    Numbers have the digits that the page shows: rounding them again could give another last digit than elsewhere.
    """
    rows = de[de["prompt_id"] == log.answer.best_prompt_id]
    targets = set(expected_genes(log.query))
    return {
        "gene": rows["gene"].astype(str).tolist(),
        "log2fc": _shown(rows["log2fc"], ".2f"),
        "low": _shown(rows["low"], ".2f"),
        "high": _shown(rows["high"], ".2f"),
        "lfsr": _shown(rows["lfsr"], ".2g"),
        "perturbed": _shown(rows["mean_perturbed"], ".2f"),
        "control": _shown(rows["mean_control"], ".2f"),
        # 1: changed, 2: expected by knowledge, 4: not in the model
        "flag": [
            int(bool(is_de)) + 2 * (gene in targets) + 4 * (not in_model)
            for gene, is_de, in_model in zip(rows["gene"], rows["is_de"], rows["in_model"], strict=True)
        ],
        "limits": {key: log.settings["de"].get(key) for key in ("log2fc", "lfsr")},
    }


def _shown(values: Any, digits: str) -> list[float | None]:
    return [None if not math.isfinite(value) else float(f"{value:{digits}}") for value in values.astype("float64")]


def term_data(log: RunLog, enrichment: pd.DataFrame) -> list[dict[str, Any]]:
    """Over-represented gene sets of the best prompt by padj: significant ones, and at most `OTHERS_SHOWN` others.

    Sets without a called gene are left out.
    """
    sources = {term: source for library in log.gene_sets for term, source in library.sources.items()}
    rows = _of_best(log, enrichment, "ora").query("n_overlap > 0").sort_values(["padj", "pval", "term", "direction"])
    passed = int((rows["padj"] <= log.settings["enrichment"]["padj"]).sum())
    rows = rows.head(min(passed + OTHERS_SHOWN, TERMS_SHOWN))
    terms = [_term(row) for row in rows.itertuples(index=False)]
    return [term | {"url": set_url(term["term"], sources.get(term["term"]))} for term in terms]


def factor_data(log: RunLog, enrichment: pd.DataFrame) -> list[dict[str, Any]]:
    """Transcription factors of the best prompt with the largest absolute activity, at most `FACTORS_SHOWN`."""
    rows = _of_best(log, enrichment, "ulm").dropna(subset="statistic")
    rows = rows.reindex(rows["statistic"].abs().sort_values(ascending=False, kind="stable").index).head(FACTORS_SHOWN)
    rows = rows.sort_values(["statistic", "term"])
    return [_term(row) for row in rows.itertuples(index=False)]


def _of_best(log: RunLog, enrichment: pd.DataFrame, method: str) -> pd.DataFrame:
    return enrichment[(enrichment["prompt_id"] == log.answer.best_prompt_id) & (enrichment["method"] == method)]


def _term(row: Any) -> dict[str, Any]:
    return {
        "term": str(row.term),
        "library": str(row.library),
        "direction": str(row.direction),
        "statistic": _number(row.statistic),
        "padj": _number(row.padj),
        "neglog": None if _number(row.padj) is None else round(-math.log10(max(row.padj, MIN_NEGLOG)), 3),
        "n_overlap": int(row.n_overlap),
        "n_set": int(row.n_set),
        "genes": str(row.genes).split(";") if isinstance(row.genes, str) and row.genes else [],
    }


def _number(value: Any) -> float | None:
    return float(f"{value:.4g}") if value is not None and math.isfinite(value) else None


def sentences(grounding: PromptGrounding | None) -> list[dict[str, str]]:
    """Statements of papers on genes: gene, direction (up, down), sentence, paper."""
    keys = ("gene", "direction", "sentence", "paper")
    return [{key: str(item.get(key, "")) for key in keys} for item in _listed_details(grounding, "sentences")]


def papers(grounding: PromptGrounding | None) -> list[dict[str, str]]:
    """Papers behind the components: title, DOI, year where given."""
    keys = ("title", "doi", "year", "pmid")
    return [{key: str(paper[key]) for key in keys if paper.get(key)} for paper in _listed_details(grounding, "papers")]


def _listed_details(grounding: PromptGrounding | None, key: str) -> list[dict[str, Any]]:
    """All mappings that components list under a detail of this name."""
    parts = grounding.components.values() if grounding else []
    lists = [found for part in parts if isinstance(found := part.details.get(key), list)]
    return [item for found in lists for item in found if isinstance(item, dict)]
