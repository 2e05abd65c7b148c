"""Plain words for identifiers, and number formats of the report."""

from __future__ import annotations

import math
import re

from haystack.specs import COMPONENTS, STRATEGIES

REASONS = {
    "threshold_reached": "the score reached its threshold",
    "plateau": "further iterations no longer improved the score",
    "max_iterations": "the largest number of iterations was reached",
    "candidates_exhausted": "no untried prompt cells were left",
    "no_estimate": "no accuracy could be expected of any prompt, so the nearest one stands",
    "cancelled": "it was cancelled",
}
TASKS = {
    "perturbation_novel_cell_types": "a perturbation's effect on a cell type",
    "perturbation_novel_samples": "a perturbation's effect in a sample",
    "cell_type_imputation": "a cell type in a donor or tissue",
    "donor_expression_prediction": "the expression of a donor",
    "cross_dataset_generation": "cells of one dataset in the condition of another",
}
NULLS = {
    "no_change": "a prediction that changes nothing",
    "permuted_labels": "the same cells with shuffled labels",
    "random_expectation": "the same cells, judged as the answer to other questions",
}
METRICS = {
    "pearson_delta": "r",
    "mae_delta": "mean absolute error",
    "weighted_r2": "weighted R²",
    "overlap_at_n": "overlap, top {n}",
    "overlap": "overlap, all",
    "precision_at_n": "precision, top {n}",
    "direction_match": "direction",
    "de_spearman": "rank correlation",
    "pr_auc": "average precision",
    "systema_pearson": "r beyond the mean of perturbations",
}
STAGES = {
    "parse_query": "reading the question",
    "harmonize_atlas": "harmonising an atlas",
    "index_cell_sets": "indexing cell sets",
    "retrieve_cells": "finding prompt cells",
    "generate_prompts": "building prompts",
    "measure_contexts": "combining measured responses",
    "stack_inference": "generating cells",
    "enrich_predictions": "testing genes and gene sets",
    "ground_predictions": "scoring the evidence",
    "decide": "deciding whether to go on",
    "collect_outputs": "collecting the outputs",
    "render_report": "writing the report",
    "summarize_runs": "summarising the runs",
}


def strategy(name: str) -> str:
    """Title of a strategy; its name if it is no longer installed."""
    return STRATEGIES.get(name).title if name in STRATEGIES.names() else spoken(name)


def component(name: str) -> tuple[str, str]:
    """Title and question of a component; only its name if it is no longer installed."""
    if name in COMPONENTS.names():
        spec = COMPONENTS.get(name)
        return spec.title, spec.question
    return spoken(name).capitalize(), ""


def metric(name: str, top_n: int) -> str:
    """Column heading of a metric of the held-out comparison; `top_n`: N of overlap and precision at N."""
    return METRICS.get(name, spoken(name)).format(n=top_n)


def spoken(name: str) -> str:
    """`donor_context` -> `donor context`."""
    return name.replace("_", " ")


def number(value: float | None, digits: int = 2) -> str:
    """A number with `digits` decimals, a true minus sign, and a dash for missing."""
    if value is None or not math.isfinite(value):
        return "–"
    text = f"{value:.{digits}f}"
    return (text.removeprefix("-") if float(text) == 0 else text).replace("-", "−")


def p_value(value: float | None) -> str:
    """`0.031`, `2.1 × 10⁻⁸`, or `below 10⁻³⁰⁰` for underflow."""
    if value is None or not math.isfinite(value):
        return "–"
    if value == 0:
        return "below 10⁻³⁰⁰"
    if value >= 0.001:
        return f"{value:.2g}"
    mantissa, exponent = f"{value:.1e}".split("e")
    return f"{mantissa} × 10{_superscript(int(exponent))}"


def _superscript(value: int) -> str:
    return str(value).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))


def percent(share: float) -> str:
    """`75%` for 0.75."""
    return f"{share:.0%}"


def count(n: int, one: str, many: str | None = None) -> str:
    """`1 gene`, `2 genes`, `12,345 genes`."""
    return f"{n:,} {one if n == 1 else many or one + 's'}"


def listed(words: list[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}" if words else ""


def plural(cell_type: str) -> str:
    """`B cell` -> `B cells`, `fibroblast of lung` -> `lung fibroblasts`; plural words are unchanged."""
    head, link, rest = cell_type.partition(" of ")
    heads = head if head.endswith("s") else head + "s"
    return f"{rest} {heads}" if rest.isalpha() else heads + link + rest


def ontology_url(term_id: str | None) -> str | None:
    """Page of a term; None if the id is not an OBO id."""
    if term_id and re.fullmatch(r"(CL|UBERON|MONDO|CHEBI|PATO|GO|NCBITaxon):\d+", term_id):
        return f"http://purl.obolibrary.org/obo/{term_id.replace(':', '_')}"
    return None


_DATABASES = {
    "chebi": (r"(?:CHEBI:)?(\d+)", "http://purl.obolibrary.org/obo/CHEBI_{}"),
    "uniprot": (r"([A-Z0-9]{6,10})", "https://www.uniprot.org/uniprotkb/{}"),
    "hgnc": (r"(?:HGNC:)?(\d+)", "https://www.genenames.org/data/gene-symbol-report/#!/hgnc_id/HGNC:{}"),
    "ensembl": (r"(ENSG\d{11})", "https://www.ensembl.org/id/{}"),
    "ncbigene": (r"(\d+)", "https://www.ncbi.nlm.nih.gov/gene/{}"),
    "chembl": (r"(CHEMBL\d+)", "https://www.ebi.ac.uk/chembl/explore/compound/{}"),
    "drugbank": (r"(DB\d{5})", "https://go.drugbank.com/drugs/{}"),
    "pubchem": (r"(\d+)", "https://pubchem.ncbi.nlm.nih.gov/compound/{}"),
}


def database_url(database: str, identifier: str) -> str | None:
    """Page of an entry in a known database; None otherwise (the identifier is then shown as text)."""
    pattern, url = _DATABASES.get(re.sub(r"[^a-z]", "", database.lower()), (None, None))
    match = re.fullmatch(pattern, identifier) if pattern else None
    return url.format(match[1]) if match and url else None


def doi_url(doi: str) -> str | None:
    """Resolver URL of a DOI, percent-encoded; None if the text is not a DOI."""
    from urllib.parse import quote

    bare = re.sub(r"^(https?://(dx\.)?doi\.org/|doi:)", "", doi.strip(), flags=re.IGNORECASE)
    return f"https://doi.org/{quote(bare, safe='/.()-_;:')}" if re.fullmatch(r"10\.\d{4,9}/\S+", bare) else None
