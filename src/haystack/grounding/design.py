"""Findings on the measured contexts of the perturbation: donors, controls, rivals, power, distance."""

from __future__ import annotations

from itertools import combinations

import numpy as np

from haystack.contracts.contexts import ControlMatch
from haystack.contracts.design import Cap, Finding
from haystack.grounding.arms import EARLY, WORDS, programmes
from haystack.grounding.support import Measurements

SHAM = 1.5
"""squared distance of treated cells from untreated donors, relative to that between untreated donors"""
NEAR = 0.45
"""closeness of cell types (retrieval.celltypes) above which contexts are near the question's type"""


def context_findings(found: Measurements | None, query: np.ndarray | None = None) -> list[Finding]:
    """Findings on donors, their agreement, controls, sham contrasts and distance.

    Parameters
    ----------
    query
        log2(mean CP10k + 1) of untreated cells of another donor and the queried type, over `found.genes`; None where
        there are none.
    """
    if found is None:
        return []
    items = [_donors(found), _controls(found), _sham(found, query), _noise(found), _rivals(found), _distance(found)]
    return [item for item in items if item is not None]


def _donors(found: Measurements) -> Finding:
    """Number of independent donors (or atlases) measured, and how many of them agree."""
    n, agreeing = len(found.unit_agreement), found.n_agreeing
    if not n:
        recorded = any(donor is not None for donor in found.donors)
        why = (
            f"{len(found.units)} treated {'donor' if len(found.units) == 1 else 'donors'}, none independent of another"
            if recorded
            else "donors are not recorded, so replicates cannot be told from cells"
        )
        return Finding(name="replicates", value=0.0, sentence=f"Replicates: {why}.", cap="medium")
    low = [f"{unit} ({found.unit_agreement[unit]:.2f})" for unit in found.dissenting]
    against = f"; not {', '.join(low)}" if low and agreeing else ""
    sentence = (
        f"Replicates: the responses of {agreeing} of {n} independent donors or atlases agree with the others' "
        f"(median r {np.median(list(found.unit_agreement.values())):.2f}, corrected for sampling){against}."
    )
    cap: Cap = "low" if agreeing < 2 else "medium" if agreeing < n else "high"
    return Finding(name="replicates", value=float(agreeing), sentence=sentence, cap=cap)


def _controls(found: Measurements) -> Finding | None:
    share = float(np.mean([match is ControlMatch.OTHER_DONORS for match in found.matches]))
    if not share:
        return None
    cap: Cap = "low" if share > 0.5 and found.n_agreeing < 2 else "medium" if share > 0.25 else "high"
    sentence = (
        f"Controls from other donors: in {100 * share:.0f}% of the measured contexts the treated donor has no control "
        "cells, so the difference between two people is part of the response."
    )
    return Finding(name="control_donors", value=round(share, 3), sentence=sentence, cap=cap)


def sham_ratio(found: Measurements, query: np.ndarray | None = None) -> float | None:
    """Distance of treated cells from untreated donors, relative to that between untreated donors.

    Mean, over contexts with controls of other donors, of the squared distance of log2 profiles (sampling noise
    removed), within a cell type; about 1 if the "treated" cells are just another untreated donor. None without two
    untreated donors of one type.
    """
    ratios = []
    for i, match in enumerate(found.matches):
        if match is not ControlMatch.OTHER_DONORS:
            continue
        same = [j for j in range(len(found.names)) if found.cell_types[j] == found.cell_types[i]]
        untreated = {found.control_donors[j]: (found.control[j], found.noise[1, j]) for j in same}
        people = list(untreated.values())
        if query is not None and found.closeness[i] == 1:
            people.append((query, 0.0))
        between = [np.sum((a - b) ** 2) - va - vb for (a, va), (b, vb) in combinations(people, 2)]
        if not between or np.mean(between) <= 0:
            continue
        away = [np.sum((found.treated[i] - a) ** 2) - found.noise[0, i] - va for a, va in people]
        ratios.append(max(float(np.mean(away)), 0.0) / float(np.mean(between)))
    return float(np.mean(ratios)) if ratios else None


def _sham(found: Measurements, query: np.ndarray | None) -> Finding | None:
    value = sham_ratio(found, query)
    if value is None:
        return None
    sentence = (
        f"Sham contrasts: treated cells lie {value:.1f} times as far (squared) from untreated donors as these lie from "
        "each other; about 1 is what an untreated donor would show."
    )
    return Finding(name="sham", value=round(value, 3), sentence=sentence, cap="low" if value < SHAM else "medium")


def _noise(found: Measurements) -> Finding | None:
    value = float(np.max(found.reliability))
    sentence = f"Power: random halves of the best measured context agree with r {value / (2 - value):.2f}."
    return Finding(name="reliability", value=round(value, 3), sentence=sentence, cap="low" if value < 0.15 else "high")


def _rivals(found: Measurements) -> Finding | None:
    """Share of the mean response, sampling noise removed, in genes of the rival programme that explains most."""
    product = np.mean(found.halves[0] * found.halves[1], axis=0)
    total = float(product.sum())
    if total <= 0:
        return None
    columns = {name: found.columns.of(sorted(genes)) for name, genes in programmes().items() if name != "donor"}
    parts = {name: float(product[own[own >= 0]].sum()) / total for name, own in columns.items()}
    early = parts.pop("immediate_early")
    if early < EARLY * parts["dissociation"]:
        parts["dissociation"] = 0.0
    name = max(parts, key=lambda item: parts[item])
    value = round(min(max(parts[name], 0.0), 1.0), 3)
    cap: Cap = "low" if value >= 0.5 else "medium" if value >= 0.25 else "high"
    sentence = f"Rival explanation: genes of {WORDS[name]} make up {100 * value:.0f}% of the measured responses."
    return Finding(name=f"measured_{name}", value=value, sentence=sentence, cap=cap)


def _distance(found: Measurements) -> Finding:
    value = float(found.closeness.max())
    sentence = (
        "Distance: the perturbation was measured in this cell type."
        if value == 1
        else "Distance: no closely related cell type was measured under the perturbation."
        if value == 0
        else f"Distance: the closest measured cell type has an ontology similarity of {value:.2f} (1: the same type)."
    )
    cap: Cap = "high" if value >= NEAR else "medium"
    return Finding(name="distance", value=round(value, 3), sentence=sentence, cap=cap)
