"""A question evaluated on an index: rows that may be prompts, and how near their cell types and samples are."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from haystack.config import RetrievalSettings
from haystack.contracts import Perturbation, StructuredQuery, TaskType
from haystack.knowledge import parts_of
from haystack.knowledge.names import key
from haystack.retrieval.celltypes import Relation, lineage_likeness, relate
from haystack.retrieval.index import HEALTHY, CellSetIndex
from haystack.retrieval.perturbations import (
    MATCH_QUALITY,
    SECONDARY,
    MatchKind,
    PerturbationMatch,
    known,
    match_combination,
    match_names,
    names_of,
    parts_of_gene,
    same_effect,
    turned,
)

CONTEXT_SHARE = 0.04
"""reduction of a perturbational relevance by a wrong tissue, donor, disease or dose: less than one ontology step"""


@dataclass(frozen=True)
class Proposals:
    """Rows of the index proposed by a strategy, their relevance in [0, 1], and a function that gives the reason."""

    rows: np.ndarray
    relevance: np.ndarray
    explain: Callable[[int], str]

    @classmethod
    def where(cls, relevance: np.ndarray, pool: np.ndarray, explain: Callable[[int], str]) -> Proposals:
        """Rows of `pool` with relevance above 0; both have one entry per row of the index."""
        rows = np.flatnonzero(pool & (relevance > 0))
        return cls(rows, np.clip(relevance[rows], 0, 1), explain)


class Question:
    """A query and the index on which it is evaluated."""

    def __init__(
        self,
        query: StructuredQuery,
        index: CellSetIndex,
        settings: RetrievalSettings,
        max_hops: int | None = None,
        query_atlas: str | None = None,
        prompt_atlases: frozenset[str] | None = None,
    ) -> None:
        self.query, self.asked = query, query.asked
        self.index = index
        self.settings = settings
        self.max_hops = settings.max_hops if max_hops is None else max_hops
        self.query_atlas = query_atlas
        """for hybrid questions, the atlas of the query cells, which provides no prompts"""
        self.prompt_atlases = prompt_atlases
        """for hybrid questions, the atlases named as source of prompts; None: any but query_atlas"""

    @property
    def wants_perturbed(self) -> bool:
        """Whether prompt cells must be perturbed: perturbational questions, and hybrid ones with a perturbation."""
        if self.query.task_type.is_perturbational:
            return True
        return self.query.task_type is TaskType.CROSS_DATASET_GENERATION and bool(self.asked_perturbations)

    @cached_property
    def asked_type(self) -> str | None:
        """CL id, or the label in lower case where it has none."""
        cells = self.asked.cells
        return cells.cl_id or (cells.label.lower() if cells.label else None)

    @property
    def asked_type_words(self) -> str:
        """Label of the query's cell type, for sentences."""
        return self.asked.cells.label or "any cell type"

    @cached_property
    def asked_perturbations(self) -> list[str]:
        """Canonical names, the main one first."""
        return list(dict.fromkeys(perturbation.name for perturbation in self.asked.given))

    @cached_property
    def pool(self) -> np.ndarray:
        """Rows that may provide prompt cells, whatever their relevance."""
        index = self.index
        pool = (index.n_cells >= self.settings.min_cells) & ~index.column("atlas").equals(self.query_atlas)
        if self.prompt_atlases is not None:
            sources = self.prompt_atlases
            pool &= index.column("atlas").spread(lambda atlas: float(atlas in sources)).astype(bool)
        if self.wants_perturbed:
            return pool & index.perturbed & ~self.turned_rows
        pool = pool & index.is_control
        if self.asked_type is not None:
            # Cells of the type in question from the target donor would be the answer itself.
            pool &= ~(self.target_donor_rows & self.is_asked_type)
        return pool

    # -- cell types --------------------------------------------------------------------------------------------------

    @cached_property
    def relations(self) -> dict[str, Relation]:
        """Cell type of the index -> its relation to the query's; unrelated ones are absent."""
        return relate(self.asked_type, self.index.cell_type.values, self.asked.cells.line)

    @cached_property
    def closeness(self) -> np.ndarray:
        """1 for the query's cell type, less for each hop, 0 beyond max_hops, per row; 1 everywhere if the question
        names none.
        """
        if self.asked_type is None:
            return np.ones(len(self.index))
        return self.index.cell_type.spread(self._closeness_of)

    def _closeness_of(self, cell_type: str) -> float:
        relation = self.relations.get(cell_type)
        return relation.closeness if relation and relation.hops <= self.max_hops else 0.0

    @cached_property
    def lineage(self) -> np.ndarray:
        """Lineage shared with the query's cell type in [0, 1] per row, at any distance; 0 if either has no CL id."""
        likeness = lineage_likeness(self.asked_type, self.index.cell_type.values)
        return self.index.cell_type.spread(lambda cell_type: likeness.get(cell_type, 0.0))

    @cached_property
    def cell_type_closeness(self) -> np.ndarray:
        """Closeness per row, or a quarter of the shared lineage beyond max_hops."""
        return np.where(self.closeness > 0, self.closeness, 0.25 * self.lineage)

    @cached_property
    def is_asked_type(self) -> np.ndarray:
        """Rows of the query's cell type or a subtype."""
        kinds = {"same", "descendant"}
        return self.index.cell_type.spread(
            lambda value: float(value in self.relations and self.relations[value].kind in kinds)
        ).astype(bool)

    def type_words(self, row: int) -> str:
        """Describe the relation of a row's cell type to the query's."""
        name = self.index.label("cell_type_name", row) or "an unnamed cell type"
        if self.asked_type is None:
            return f"{name} (no cell type was asked for)"
        relation = self.relations.get(self.index.cell_type.at(row) or "")
        if relation is None or relation.hops > self.max_hops:
            likeness = self.lineage[row]
            shared = f" (shared lineage {likeness:.2f})" if likeness > 0 else ""
            return f"{name} is another cell type than {self.asked_type_words}{shared}"
        return relation.words(name, self.asked_type_words)

    # -- perturbations -----------------------------------------------------------------------------------------------

    @cached_property
    def main_perturbation(self) -> Perturbation | None:
        """Knowledge of the main perturbation; None if there is none, or the question names none."""
        if self.asked.perturbation is None:
            return None
        main = _meant(self.asked.perturbation)
        informed = main.synonyms or main.expected_pathways or main.targets or main.signalling
        return main if informed else None

    @cached_property
    def perturbation_matches(self) -> dict[str, PerturbationMatch]:
        """Perturbation of the index -> how its name matches the question; those that do not match are absent."""
        matches: dict[str, PerturbationMatch] = {}
        names = self.index.column("perturbation_name").values
        for rank, asked in enumerate(self.asked.given):
            for name in names:
                kind = self._match(asked, name)
                if kind is None or len(parts_of(name)) > 1:
                    continue
                quality = MATCH_QUALITY[kind] * (1.0 if rank == 0 else SECONDARY)
                if name not in matches or quality > matches[name].quality:
                    matches[name] = PerturbationMatch(kind, quality, asked.name)
        for name in names:
            covered = match_combination(self.asked_perturbations, self._same, name)
            if covered:
                words = " and ".join(self.asked_perturbations)
                matches[name] = PerturbationMatch("exact" if covered == 1 else "partial", covered, words)
        if any(match.quality == 1 and len(parts_of(name)) > 1 for name, match in matches.items()):
            # The combination itself was measured: one of its arms is only a part of it.
            for name, match in list(matches.items()):
                if len(parts_of(name)) == 1:
                    quality = MATCH_QUALITY["partial"] * match.quality
                    matches[name] = PerturbationMatch("partial", quality, match.asked)
        return matches

    def _same(self, asked: str, part: str) -> bool:
        """Whether two single names mean the same; `asked` may be part of a combination."""
        own = next((one for one in self.asked.given if one.name == asked), None) or known(asked)
        one = own or Perturbation(query=asked, name=asked, resolved=False)
        return self._match(one, part) in {"exact", "synonym", "same_effect"}

    def _match(self, asked: Perturbation, name: str) -> MatchKind | None:
        """Match of a perturbation of the index with one of the question; None: no match, or the opposite."""
        if name in self.turned:
            return None
        kind = match_names(asked.name, [*asked.synonyms, asked.query], names_of(name))
        if kind in {None, "partial"} and same_effect(_meant(asked), known(name)):
            return "same_effect"
        return kind

    @cached_property
    def turned(self) -> set[str]:
        """Perturbations of the index of the question's gene in another or an unknown direction."""
        return turned([_meant(one) for one in self.asked.given], self.index.column("perturbation_name").values)

    @cached_property
    def unsigned_note(self) -> str:
        """Note on cells excluded because it is unknown whether their gene was lost or gained, or empty."""
        unsigned = {name for name in self.turned if None in {part.direction for part in parts_of_gene(name)}}
        rows = self.index.column("perturbation_name").spread(lambda name: float(name in unsigned)) > 0
        if not rows.any():
            return ""
        atlases = sorted({str(self.index.label("atlas", row)) for row in np.flatnonzero(rows).tolist()})
        return (
            f"{int(self.index.n_cells[rows].sum()):,} cells of {', '.join(sorted(unsigned))} in {', '.join(atlases)} "
            "are left out: nobody states whether the gene was lost or gained (set genetic_effect of its entry)"
        )

    @cached_property
    def turned_rows(self) -> np.ndarray:
        """Rows of `turned` perturbations, which no strategy proposes."""
        return self.index.column("perturbation_name").spread(lambda name: float(name in self.turned)).astype(bool)

    @cached_property
    def perturbation_match(self) -> np.ndarray:
        """Quality of the name match in [0, 1], per row."""
        matches = self.perturbation_matches
        return self.index.column("perturbation_name").spread(lambda v: matches[v].quality if v in matches else 0.0)

    # -- context of the sample ---------------------------------------------------------------------------------------

    @cached_property
    def target_donor_rows(self) -> np.ndarray:
        """Rows of the question's donor."""
        asked = self.asked.context.donor_id
        if not asked:
            return np.zeros(len(self.index), dtype=bool)
        return self.index.column("donor_id").spread(lambda donor: float(same_donor(asked, donor))).astype(bool)

    @cached_property
    def stated(self) -> dict[str, np.ndarray]:
        """Fact stated about the sample -> rows that fit it."""
        sample = self.asked.context
        out: dict[str, np.ndarray] = {}
        if sample.donor_id:
            out["donor"] = self.target_donor_rows
        if sample.tissue_uberon_id:
            out["tissue"] = self._in_tissue(sample.tissue_uberon_id)
        if sample.disease_mondo_id:
            out["disease"] = self._with_disease(sample.disease_mondo_id)
        for text in (self.asked.dose, self.asked.time, sample.condition):
            if text:
                out.setdefault("condition", np.ones(len(self.index), dtype=bool))
                out["condition"] &= self._in_condition(text)
        return out

    @cached_property
    def context(self) -> np.ndarray:
        """Share of the stated facts about the sample that each row fits; 1 if none is stated."""
        if not self.stated:
            return np.ones(len(self.index))
        return np.mean(list(self.stated.values()), axis=0)

    @cached_property
    def context_factor(self) -> np.ndarray:
        """Factor on perturbational relevance, from 1 - CONTEXT_SHARE to 1."""
        return 1 - CONTEXT_SHARE * (1 - self.context)

    def context_words(self, row: int) -> str:
        """Describe which stated facts a row fits and which it does not; empty if none is stated."""
        fits = [name for name, rows in self.stated.items() if rows[row]]
        fails = [name for name, rows in self.stated.items() if not rows[row]]
        parts = [f"same {' and '.join(fits)} as asked" if fits else "", f"other {' and '.join(fails)}" if fails else ""]
        return "; ".join(part for part in parts if part)

    def _in_condition(self, asked: str) -> np.ndarray:
        wanted = _amounts(asked)
        return self.index.column("sample_condition").spread(lambda c: float(wanted <= _amounts(c))).astype(bool)

    def _in_tissue(self, tissue: str) -> np.ndarray:
        relations = related_terms(tissue)
        return self.index.column("tissue_uberon_id").spread(lambda t: float(t in relations)).astype(bool)

    def _with_disease(self, disease: str) -> np.ndarray:
        relations = related_terms(disease)
        return self.index.column("disease_mondo_id").spread(lambda d: float(d in relations)).astype(bool)

    @property
    def is_healthy_asked(self) -> bool:
        """Whether the question is about a healthy state, or names no disease."""
        return self.asked.context.disease_mondo_id in {None, HEALTHY}


def _meant(asked: Perturbation) -> Perturbation:
    """Knowledge of a perturbation of the question, or the perturbation itself if the question gives only a name."""
    return asked if asked.resolved else known(asked.name) or asked


def related_terms(term_id: str) -> set[str]:
    """A term with its subclasses (parts of a tissue, forms of a disease); an unknown id alone."""
    from haystack import ontology
    from haystack.errors import OntologyError

    try:
        return {term_id, *ontology.descendants(term_id)}
    except OntologyError:
        return {term_id}


def same_donor(asked: str, donor_id: str) -> bool:
    """Whether a text names `donor_id`, with or without the atlas prefix and a word such as donor.

    >>> same_donor("donor 101", "kang:101"), same_donor("10", "kang:101")
    (True, False)
    """
    ours, theirs = _donor_key(asked), _donor_key(donor_id)
    if ":" in asked:
        return key(asked) == key(donor_id)
    return bool(ours) and ours == theirs


def _donor_key(text: str) -> str:
    label = text.rsplit(":", 1)[-1]
    short = re.sub(r"^(donor|patient|sample|subject|individual|participant)[\s_#-]*", "", label.strip(), flags=re.I)
    return key(short or label)


def _amounts(text: str) -> set[str]:
    """Numbers with the first letter of their unit, or the words if there is no number: `24 hours` -> {24h}."""
    text = text.lower().replace("µ", "u").replace("μ", "u")
    numbers = {f"{number}{unit}" for number, unit in re.findall(r"(\d+(?:\.\d+)?)\s*([a-z]?)", text)}
    return numbers or set(re.findall(r"[a-z]+", text))
