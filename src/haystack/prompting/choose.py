"""Choose the prompts of one iteration: greedy by rank, small sets pooled, controls paired, no cell in two roles."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from haystack.config import Settings
from haystack.contracts import (
    Candidate,
    Candidates,
    CellSet,
    ControlStrategy,
    Pairing,
    Prompt,
    Prompts,
    RowSelection,
    StructuredQuery,
)
from haystack.contracts.retrieval import matched_fields
from haystack.errors import RetrievalError
from haystack.prompting.query_cells import draw_query_cells
from haystack.prompting.rows import RowBook, SetRows
from haystack.prompting.sampling import generator, sample, sample_alike
from haystack.retrieval.index import CellSetIndex
from haystack.retrieval.ranking import Pick, Ranker, features_of

if TYPE_CHECKING:
    import pandas as pd

SAME_DONOR = 0.04
"""added to the relevance of a set of the same donor when sets are pooled: less than one ontology step"""


def choose_prompts(
    query: StructuredQuery, candidates: Candidates, cell_sets: pd.DataFrame, book: RowBook, settings: Settings
) -> Prompts:
    """Choose query cells and up to `prompts_per_iteration` prompts.

    Parameters
    ----------
    query
        the parsed question.
    candidates
        of this iteration.
    cell_sets
        CELL_SETS with hold-outs already taken off (retrieval.holdout.apply_holdouts).
    book
        gives the cells of a set.
    settings
        retrieval, prompting, prompts_per_iteration, control_strategy, seed are read.

    Raises
    ------
    RetrievalError
        when no candidate has cells left after hold-outs, or there are no query cells.
    """
    query_cells = draw_query_cells(candidates.query, book, settings.seed)
    taken = {selection.cell_set_id: np.asarray(selection.rows) for selection in query_cells.rows}
    refinement = candidates.refinement
    wanted = (refinement.prompt_cells if refinement else None) or settings.prompting.prompt_cells
    chooser = _Chooser(candidates, cell_sets, book, settings, taken, wanted)
    asked = query.control_strategy or settings.control_strategy
    prompts = chooser.choose(asked)
    if not prompts:
        raise RetrievalError(
            f"iteration {candidates.iteration}: none of the {len(candidates.candidates)} candidates has "
            f"{settings.retrieval.min_cells} cells left after retrieval.exclude and the query cells; loosen the "
            "hold-outs or lower retrieval.min_cells"
        )
    used = {cell_set.cell_set_id for prompt in prompts for cell_set in prompt.cell_sets}
    spent = (used | chooser.unusable) - set(candidates.tried)
    return Prompts(
        run_id=candidates.run_id,
        iteration=candidates.iteration,
        seed=settings.seed,
        control_strategy_asked=asked,
        prompts=prompts,
        query_cells=query_cells,
        n_untried_after=max(candidates.n_untried - len(spent), 0),
    )


@dataclass
class _Seed:
    """A prompt being built: positions of candidates, the first one selected by rank."""

    pick: Pick
    members: list[int] = field(default_factory=list)
    pooled: bool = False
    """true if its sets were prompts before and are now pooled into one"""


@dataclass(frozen=True)
class _Part:
    """Cells of one set in a prompt."""

    candidate: Candidate
    prompt: SetRows
    pair: Pairing | None
    control: SetRows | None


POOLED = 4
"""largest size of a pooled prompt, relative to `prompting.prompt_cells`"""


class _Chooser:
    def __init__(
        self,
        candidates: Candidates,
        cell_sets: pd.DataFrame,
        book: RowBook,
        settings: Settings,
        taken: dict[str, np.ndarray],
        prompt_cells: int,
    ) -> None:
        self.cell_sets, self.book, self.settings, self.taken = cell_sets, book, settings, taken
        self.prompt_cells = prompt_cells
        self.candidates = candidates
        least = settings.retrieval.min_cells
        known = set(cell_sets["cell_set_id"])
        self.usable = [
            one
            for one in candidates.candidates
            if one.cell_set.cell_set_id in known and self._available(one.cell_set) >= least
        ]
        self.ids = [one.cell_set.cell_set_id for one in self.usable]
        self.unusable = {one.cell_set.cell_set_id for one in candidates.candidates} - set(self.ids)
        self.open = np.ones(len(self.usable), dtype=bool)
        self.as_prompt: set[str] = set()
        self.as_control: set[str] = set()
        self.ranker = self._ranker()

    def _available(self, cell_set: CellSet) -> int:
        """Cells of a set that are not query cells."""
        return cell_set.n_cells - len(self.taken.get(cell_set.cell_set_id, ()))

    def _pair(self, position: int, asked: ControlStrategy) -> Pairing | None:
        """Controls of a candidate, if requested."""
        return self.usable[position].control if asked is ControlStrategy.SYNTHETIC_CONTROL else None

    def _ranker(self) -> Ranker:
        relevance = np.array([candidate.relevance_score for candidate in self.usable])
        self.quality = np.array([candidate.quality or 0.0 for candidate in self.usable])
        vocabulary: dict[tuple[str, str | None], int] = {}
        features = features_of([candidate.cell_set for candidate in self.usable], vocabulary)
        ranker = Ranker(relevance, self.quality, features, self.ids, self.settings.retrieval)
        tried = CellSetIndex(self.cell_sets[self.cell_sets["cell_set_id"].isin(self.candidates.tried)])
        for code in features_of([tried.cell_set(row) for row in range(len(tried))], vocabulary):
            ranker.penalise_similar(code)
        return ranker

    def choose(self, asked: ControlStrategy) -> list[Prompt]:
        """Select the first set of each prompt by rank; pool a small one with sets of the same treatment."""
        seeds = self._pool(asked)
        while len(seeds) < self.settings.prompts_per_iteration and (pick := self.ranker.best(self.open)) is not None:
            self.open[pick.position] = False
            if not self._take(pick.position, asked):
                continue
            seed = _Seed(pick, [pick.position])
            self._join(seed, asked)
            for position in seed.members:
                self.ranker.penalise_similar(self.ranker.features[position])
            seeds.append(seed)
        members = [self.usable[i] for seed in seeds for i in seed.members]
        controls = [one.control.control_set for one in members if one.control is not None]
        self.book.load(part.cell_set_id for part in [*(one.cell_set for one in members), *controls])
        return [self._prompt(seed, number, asked) for number, seed in enumerate(seeds, start=1)]

    def _pool(self, asked: ControlStrategy) -> list[_Seed]:
        """The sets that the refinement pools, as one prompt; they are excluded from other prompts."""
        wanted = set(self.candidates.refinement.pool) if self.candidates.refinement else set()
        positions = [i for i, one in enumerate(self.usable) if one.cell_set.cell_set_id in wanted]
        self.open[positions] = False
        members = [position for position in positions if self._take(position, asked)]
        if not members:
            return []
        members.sort(key=lambda i: (-self.usable[i].relevance_score, self.usable[i].cell_set.cell_set_id))
        relevance = np.array([self.usable[i].relevance_score for i in members])
        score = float(self.ranker.score(relevance, np.zeros(len(members)), self.quality[members]).mean())
        return [_Seed(Pick(members[0], 0.0, score), members, pooled=True)]

    def _take(self, position: int, asked: ControlStrategy) -> bool:
        """Reserve a candidate, unless its cells are already controls of this iteration, or its controls prompt cells.

        Without perturbations the same set may be both; skipped sets stay untried for later iterations.
        """
        own, pair = self.ids[position], self._pair(position, asked)
        if own in self.as_control or (pair and pair.control_set.cell_set_id in self.as_prompt):
            return False
        self.as_prompt.add(own)
        if pair:
            self.as_control.add(pair.control_set.cell_set_id)
        return True

    def _join(self, seed: _Seed, asked: ControlStrategy) -> None:
        """Add free sets of the same treatment until the prompt has enough cells."""
        first = seed.members[0]
        needs_control = self._pair(first, asked) is not None
        size = self._available(self.usable[first].cell_set)
        for position in self._mates(first):
            if size >= self.prompt_cells:
                return
            if needs_control and self._pair(position, asked) is None:
                continue
            if not self._take(position, asked):
                continue
            seed.members.append(position)
            self.open[position] = False
            size += self._available(self.usable[position].cell_set)

    def _mates(self, first: int) -> list[int]:
        own = self.usable[first].cell_set
        keys = ["atlas", "perturbation_name", "sample_condition"]
        if own.is_control:
            keys = ["atlas", "donor_id", "disease_mondo_id", "tissue_uberon_id"]
        mates = []
        for position in np.flatnonzero(self.open).tolist():
            other = self.usable[position].cell_set
            if other.is_control == own.is_control and all(getattr(other, key) == getattr(own, key) for key in keys):
                affinity = self.usable[position].relevance_score + SAME_DONOR * (other.donor_id == own.donor_id)
                mates.append((-round(affinity, 9), other.cell_set_id, position))
        return [position for *_, position in sorted(mates)]

    def _prompt(self, seed: _Seed, number: int, asked: ControlStrategy) -> Prompt:
        parts = self._parts(seed, asked)
        n_controls = sum(len(part.control) for part in parts if part.control is not None)
        effective = asked
        if asked is ControlStrategy.SYNTHETIC_CONTROL and n_controls < self.settings.prompting.min_control_cells:
            effective = ControlStrategy.QUERY_AS_CONTROL
        paired = [part for part in parts if part.pair and part.control is not None and len(part.control)]
        if effective is ControlStrategy.QUERY_AS_CONTROL:
            paired = []
        weights = np.array([len(part.prompt) for part in parts], dtype=float)
        relevance = np.average([part.candidate.relevance_score for part in parts], weights=weights)
        rated = np.average(self.quality[seed.members], weights=weights)
        return Prompt(
            prompt_id=f"i{self.candidates.iteration}p{number}",
            strategies=list(dict.fromkeys(s for part in parts for s in part.candidate.strategies)),
            cell_sets=[part.candidate.cell_set for part in parts],
            prompt_rows=[_selection(part.candidate.cell_set, part.prompt.rows) for part in parts],
            control_rows=self._control_selections(paired),
            pairing_steps=_steps(paired),
            pairing_penalty=_penalty(paired),
            control_strategy=effective,
            relevance=round(float(relevance), 6),
            diversity=round(seed.pick.diversity, 6),
            quality=round(float(rated), 6),
            score=round(seed.pick.score, 6),
            rationale=self._rationale(parts, paired, asked, effective, seed.pooled),
        )

    def _parts(self, seed: _Seed, asked: ControlStrategy) -> list[_Part]:
        """Cells of each member, at most `prompt_cells` together, with as many controls each where available."""
        left = POOLED * self.settings.prompting.prompt_cells if seed.pooled else self.prompt_cells
        controls_used: dict[str, np.ndarray] = {}
        parts = []
        for number, position in enumerate(seed.members):
            candidate, cell_set_id = self.usable[position], self.ids[position]
            free = self._free(cell_set_id)
            share = -(-left // (len(seed.members) - number)) if seed.pooled else left
            chosen = sample(free, min(share, len(free)), generator(self.settings.seed, "prompt", cell_set_id))
            left -= len(chosen)
            pair = self._pair(position, asked)
            control = None
            if pair is not None:
                of = pair.control_set.cell_set_id
                used = controls_used.get(of, np.zeros(0, dtype=np.int64))
                rng = generator(self.settings.seed, "control", cell_set_id, of)
                control = sample_alike(self._free(of).without(used), chosen, len(chosen), rng)
                controls_used[of] = np.concatenate([used, control.rows])
            parts.append(_Part(candidate, chosen, pair, control))
        return parts

    def _free(self, cell_set_id: str) -> SetRows:
        """Cells of a set that are not query cells."""
        cells = self.book[cell_set_id]
        return cells.without(self.taken[cell_set_id]) if cell_set_id in self.taken else cells

    def _control_selections(self, paired: list[_Part]) -> list[RowSelection]:
        rows: dict[str, list[np.ndarray]] = {}
        sets: dict[str, CellSet] = {}
        for part in paired:
            assert part.pair is not None
            assert part.control is not None
            of = part.pair.control_set
            sets[of.cell_set_id] = of
            rows.setdefault(of.cell_set_id, []).append(part.control.rows)
        return [_selection(sets[name], np.sort(np.concatenate(chosen))) for name, chosen in rows.items()]

    def _rationale(
        self,
        parts: list[_Part],
        paired: list[_Part],
        asked: ControlStrategy,
        effective: ControlStrategy,
        pooled: bool,
    ) -> str:
        words = [_describe(parts[0], len(parts[0].prompt)), parts[0].candidate.rationale]
        if len(parts) > 1:
            others = "; ".join(_describe(part, len(part.prompt)) for part in parts[1:])
            why = "pooled with the sets that scored best so far:" if pooled else "one set has too few cells; added"
            words.append(f"{why} {others}")
        if effective is ControlStrategy.SYNTHETIC_CONTROL:
            n = sum(len(part.control) for part in paired if part.control is not None)
            steps = _steps(paired)
            matched = matched_fields([part.candidate.cell_set for part in paired], steps)
            words.append(
                f"{n} control cells matched in {', '.join(matched)}" + (f"; not in {', '.join(steps)}" if steps else "")
            )
        elif asked is ControlStrategy.SYNTHETIC_CONTROL:
            words.append(
                f"fewer than {self.settings.prompting.min_control_cells} control cells fit, even after giving up "
                "tissue, donor and cell type: the query cells themselves are the control"
            )
        else:
            words.append("the query cells themselves are the control, as asked")
        return ". ".join(words)


def _selection(cell_set: CellSet, rows: np.ndarray) -> RowSelection:
    return RowSelection(cell_set_id=cell_set.cell_set_id, atlas=cell_set.atlas, rows=rows.tolist())


def _steps(paired: list[_Part]) -> list[str]:
    """Constraints relaxed by any of the pairings."""
    return list(dict.fromkeys(step for part in paired if part.pair for step in part.pair.steps))


def _penalty(paired: list[_Part]) -> float:
    """Mean penalty of the pairings, weighted by control cells."""
    sizes = [len(part.control) for part in paired if part.control is not None]
    prices = [part.pair.penalty for part in paired if part.pair]
    return round(float(np.average(prices, weights=sizes)), 6) if paired else 0.0


def _describe(part: _Part, n: int) -> str:
    cell_set = part.candidate.cell_set
    what = f" with {cell_set.perturbation_name}" if cell_set.perturbation_name else ""
    donor = f" of {cell_set.donor_id.split(':', 1)[-1]}" if cell_set.donor_id else ""
    return f"{n} cells: {cell_set.cell_type_name or 'unnamed type'}{what}{donor} in {cell_set.atlas}"
