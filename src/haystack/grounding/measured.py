"""Cells of a prompt, and measured contexts of the question's perturbation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from haystack.contracts import CellRole, Prompt, StructuredQuery
from haystack.contracts.contexts import QUERY_CONTEXT
from haystack.contracts.design import Finding
from haystack.grounding.arms import own_batches, prompt_findings
from haystack.grounding.design import context_findings
from haystack.grounding.support import Measurements, measurements_of

if TYPE_CHECKING:
    import anndata as ad

    from haystack.contracts import ExpectedAccuracy


@dataclass(frozen=True)
class Shown:
    """Measurements related to a prompt."""

    measurements: Measurements | None
    """measured contexts of the question's perturbation; None if there are none"""
    donors: frozenset[str]
    """donors of the prompt and its controls, which are not independent support"""
    findings: tuple[Finding, ...]
    accuracy: ExpectedAccuracy | None = None
    contexts: tuple[int, ...] = ()
    """rows of `measurements` used by the prediction"""

    @property
    def kept(self) -> float:
        """Share of the agreement with measured contexts (Fisher's z) expected to remain in the query cells."""
        return self.accuracy.kept if self.accuracy is not None else 1.0


def prompts_shown(
    cells: ad.AnnData,
    prompts: Sequence[Prompt],
    query: StructuredQuery,
    contexts: ad.AnnData | None,
    measured: Measurements | None,
    accuracy: ExpectedAccuracy | None,
    seed: int,
    sees_all: bool = False,
) -> dict[str, Shown]:
    """Donors, measured contexts and findings of each prompt of an iteration.

    Parameters
    ----------
    cells
        `cells.h5ad`: prompt, control prompt and query cells with raw counts.
    contexts, measured
        `contexts.h5ad` and its `measurements`; None: nothing was measured, or the run has none.
    sees_all
        the model predicts from all contexts, so none of them is independent support.
    """
    cells = _labelled(cells)
    role, owner = (cells.obs[name].astype(str).to_numpy() for name in ("role", "prompt_id"))
    findings = context_findings(measured, _untreated(cells, contexts, measured))
    shows_asked = {prompt.prompt_id for prompt in prompts if shows(prompt, query)}
    all_treated = (role == CellRole.PROMPT.value) & np.isin(owner, sorted(shows_asked))
    own_batch = own_batches(cells[all_treated])
    found = {}
    for prompt in prompts:
        mine = owner == prompt.prompt_id
        treated, control = (cells[mine & (role == part.value)] for part in (CellRole.PROMPT, CellRole.CONTROL_PROMPT))
        donors = [frozenset(part.obs["donor_id"].dropna().astype(str)) if "donor_id" in part.obs else frozenset()
                  for part in (treated, control)]  # fmt: skip
        own: list[Finding] = []
        if prompt.prompt_id in shows_asked:
            if treated.n_obs and control.n_obs:
                apart = bool(donors[0]) and bool(donors[1]) and not donors[0] & donors[1]
                own = prompt_findings(treated, control, seed, other_donors=apart, own=own_batch)
        else:
            own = [_other_perturbation(prompt, query)]
        if query.asked.background and not all(part.background for part in prompt.cell_sets):
            own.append(_without_background(query.asked.background))
        people, rows = donors[0] | donors[1], contexts_shown(measured, prompt)
        if sees_all and measured is not None:
            people |= measured.people
            rows = tuple(range(len(measured.names)))
        found[prompt.prompt_id] = Shown(measured, people, (*findings, *own), accuracy, rows)
    return found


def contexts_shown(measured: Measurements | None, prompt: Prompt) -> tuple[int, ...]:
    """Measured contexts among the cell types and donors of a prompt."""
    if measured is None:
        return ()
    keys = {(part.cell_type_cl_id or part.cell_type_name, part.donor_id) for part in prompt.cell_sets}
    pairs = zip(measured.cell_types, measured.donors, strict=True)
    return tuple(row for row, key in enumerate(pairs) if key in keys)


def measurements(contexts: ad.AnnData | None, query: StructuredQuery) -> Measurements | None:
    """Contexts with the question's perturbation itself; None if there are none."""
    from haystack.retrieval.celltypes import relate

    if contexts is None:
        return None
    names = contexts.obs["perturbation_name"].astype(object)
    asked = {name: _is_asked(name, query) for name in names.dropna().unique()}
    if not any(asked.values()):
        return None
    query_cells = (contexts.obs["context_id"].astype(str) == QUERY_CONTEXT).to_numpy()
    kept = contexts[np.array([asked.get(name, False) for name in names], dtype=bool) | query_cells]
    types = [str(name) for name in kept.obs["cell_type"].dropna().unique()]
    asked_type = query.asked.cells.cl_id
    closeness = {
        name: relation.closeness for name, relation in relate(asked_type, types, query.asked.cells.line).items()
    }
    return measurements_of(kept, closeness if asked_type else None)


def shows(prompt: Prompt, query: StructuredQuery) -> bool:
    """Whether all cells of a prompt are under the question's perturbation, under any of its names."""
    return bool(prompt.cell_sets) and all(_is_asked(part.perturbation_name, query) for part in prompt.cell_sets)


def _is_asked(name: str | None, query: StructuredQuery) -> bool:
    from haystack.knowledge import resolve_perturbation

    if not name:
        return False
    main = query.asked.perturbation
    names = {query.perturbation_resolved, query.perturbation_query, *([main.name, *main.synonyms] if main else [])}
    if name.lower() in {item.lower() for item in names if item}:
        return True
    known = resolve_perturbation(name)
    return known is not None and main is not None and known.name.lower() == main.name.lower()


def _untreated(cells: ad.AnnData, contexts: ad.AnnData | None, measured: Measurements | None) -> np.ndarray | None:
    """Log2 profile of the query cells, if they come from a donor without a context."""
    if contexts is None or measured is None or "donor_id" not in cells.obs:
        return None
    query = cells.obs["role"].astype(str) == CellRole.QUERY.value
    donors = set(cells.obs.loc[query, "donor_id"].dropna().astype(str))
    known = {donor for donor in measured.donors if donor} | frozenset().union(*measured.control_donors)
    own = contexts[(contexts.obs["context_id"].astype(str) == QUERY_CONTEXT).to_numpy()]
    if not donors or donors & known or not own.n_obs:
        return None
    n = own.obs["n_cells"].to_numpy(float)
    return np.asarray(np.log2(np.nan_to_num(np.average(np.asarray(own.X, float), axis=0, weights=n)) + 1))


def _labelled(cells: ad.AnnData) -> ad.AnnData:
    """The cells with only the labels that findings need: AnnData prepares every label anew for each selection."""
    import anndata as ad

    obs = cells.obs.astype(object)
    column = "cell_type_cl_id" if "cell_type_cl_id" in obs else "cell_type_name"
    obs = obs.assign(cell_type=obs.get(column)).rename(columns={"sample_condition": "batch"})
    kept = [name for name in ("role", "prompt_id", "donor_id", "cell_type", "batch") if name in obs]
    return ad.AnnData(cells.X, obs[kept], cells.var)


def _without_background(had: Sequence[str]) -> Finding:
    sentence = f"Background: the question is about cells under {' and '.join(had)}; the cells of the prompt had none."
    return Finding(name="background", value=None, sentence=sentence, cap="medium")


def _other_perturbation(prompt: Prompt, query: StructuredQuery) -> Finding:
    names = sorted({part.perturbation_name or "no perturbation" for part in prompt.cell_sets})
    sentence = (
        f"Prompt: its cells show {', '.join(names[:3])}, not {query.perturbation_resolved or query.perturbation_query}."
    )
    return Finding(name="other_perturbation", value=None, sentence=sentence, cap="medium")
