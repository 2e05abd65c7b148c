"""Choose the prompts of one iteration: greedy by rank, small sets joined, controls paired, no cell in two roles."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from haystack.config import Settings
from haystack.contracts import Candidate, Candidates, ControlStrategy, Prompt, Prompts, RowSelection, StructuredQuery
from haystack.errors import RetrievalError
from haystack.prompting.query_cells import draw_query_cells
from haystack.prompting.rows import RowBook, SetRows
from haystack.prompting.sampling import generator, sample, sample_alike
from haystack.retrieval.index import CellSetIndex
from haystack.retrieval.pairing import Pair, Pairer
from haystack.retrieval.question import Question
from haystack.retrieval.ranking import Pick, Ranker, features_of, quality

if TYPE_CHECKING:
    import pandas as pd

SAME_DONOR = 0.04
"""added to the relevance of a set of the same donor that may join a prompt: less than a step to a farther cell type"""


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
    index = CellSetIndex(cell_sets)
    question = Question(query, index, settings.retrieval)
    query_cells = draw_query_cells(question, book, settings)
    taken = {selection.cell_set_id: np.asarray(selection.rows) for selection in query_cells.rows}
    refinement = candidates.refinement
    wanted = (refinement.prompt_cells if refinement else None) or settings.prompting.prompt_cells
    chooser = _Chooser(candidates, index, book, settings, taken, wanted)
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
    """A prompt in the making: positions among the candidates, the first one picked by rank."""

    pick: Pick
    members: list[int] = field(default_factory=list)
    pooled: bool = False
    """its sets were prompts before, and make one deeper prompt now"""


@dataclass(frozen=True)
class _Part:
    """The cells that one set gives to a prompt."""

    candidate: Candidate
    prompt: SetRows
    pair: Pair | None
    control: SetRows | None


POOLED = 4
"""cells of a pooled prompt, at most, relative to `prompting.prompt_cells`"""


class _Chooser:
    def __init__(
        self,
        candidates: Candidates,
        index: CellSetIndex,
        book: RowBook,
        settings: Settings,
        taken: dict[str, np.ndarray],
        prompt_cells: int,
    ) -> None:
        self.index, self.book, self.settings, self.taken = index, book, settings, taken
        self.prompt_cells = prompt_cells
        self.candidates = candidates
        self.available = index.n_cells.copy()
        for cell_set_id, rows in taken.items():
            self.available[index.positions[cell_set_id]] -= len(rows)
        self.pairer = Pairer(index, self.available, settings.prompting.min_control_cells)
        usable = [candidate for candidate in candidates.candidates if self._usable(candidate)]
        self.unusable = {c.cell_set.cell_set_id for c in candidates.candidates} - {
            c.cell_set.cell_set_id for c in usable
        }
        self.usable = usable
        self.rows = [index.positions[c.cell_set.cell_set_id] for c in usable]
        self.open = np.ones(len(usable), dtype=bool)
        self.as_prompt: set[int] = set()
        self.as_control: set[int] = set()
        self.ranker = self._ranker()

    def _usable(self, candidate: Candidate) -> bool:
        row = self.index.positions.get(candidate.cell_set.cell_set_id)
        return row is not None and bool(self.available[row] >= self.settings.retrieval.min_cells)

    def _ranker(self) -> Ranker:
        relevance = np.array([candidate.relevance_score for candidate in self.usable])
        rows = np.array(self.rows, dtype=np.int64)
        genes = self.index.frame["mean_n_genes"].to_numpy(dtype=float, na_value=np.nan)[rows]
        self.quality = quality(self.available[rows], genes, self.pairer.closeness(rows))
        vocabulary: dict[tuple[str, str | None], int] = {}
        features = features_of([candidate.cell_set for candidate in self.usable], vocabulary)
        ids = [candidate.cell_set.cell_set_id for candidate in self.usable]
        ranker = Ranker(relevance, self.quality, features, ids, self.settings.retrieval)
        tried = [self.index.positions[name] for name in self.candidates.tried if name in self.index.positions]
        for code in features_of([self.index.cell_set(row) for row in tried], vocabulary):
            ranker.saw(code)
        return ranker

    def choose(self, asked: ControlStrategy) -> list[Prompt]:
        """Pick the first set of each prompt by rank; a small one is joined by sets of the same treatment."""
        seeds = self._pool(asked)
        while len(seeds) < self.settings.prompts_per_iteration and (pick := self.ranker.best(self.open)) is not None:
            self.open[pick.position] = False
            if not self._take(pick.position, asked):
                continue
            seed = _Seed(pick, [pick.position])
            self._join(seed, asked)
            for position in seed.members:
                self.ranker.saw(self.ranker.features[position])
            seeds.append(seed)
        members = [self.rows[i] for seed in seeds for i in seed.members]
        controls = [pair.row for row in members if (pair := self.pairer.pair(row)) is not None]
        self.book.load(str(self.index.ids[row]) for row in [*members, *controls])
        return [self._prompt(seed, number, asked) for number, seed in enumerate(seeds, start=1)]

    def _pool(self, asked: ControlStrategy) -> list[_Seed]:
        """The sets that the refinement pools, as one prompt; they are no candidates for other prompts."""
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
        """Claim a candidate, unless its cells are controls of this iteration already, or its controls prompt cells.

        Without perturbations the same set may be both; what is passed over stays untried for later iterations.
        """
        row = self.rows[position]
        pair = self.pairer.pair(row) if asked is ControlStrategy.SYNTHETIC_CONTROL else None
        if row in self.as_control or (pair and pair.row in self.as_prompt):
            return False
        self.as_prompt.add(row)
        if pair:
            self.as_control.add(pair.row)
        return True

    def _join(self, seed: _Seed, asked: ControlStrategy) -> None:
        """Add open sets of the same treatment until the prompt has enough cells."""
        first = seed.members[0]
        needs_control = asked is ControlStrategy.SYNTHETIC_CONTROL and self.pairer.pair(self.rows[first]) is not None
        size = int(self.available[self.rows[first]])
        for position in self._mates(first):
            if size >= self.prompt_cells:
                return
            if needs_control and self.pairer.pair(self.rows[position]) is None:
                continue
            if not self._take(position, asked):
                continue
            seed.members.append(position)
            self.open[position] = False
            size += int(self.available[self.rows[position]])

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
            prompt_rows=[_selection(part.candidate.cell_set.cell_set_id, self, part.prompt) for part in parts],
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
        """The cells of each member, at most `prompt_cells` together, and as many controls each where there are."""
        left = POOLED * self.settings.prompting.prompt_cells if seed.pooled else self.prompt_cells
        controls_used: dict[int, np.ndarray] = {}
        parts = []
        for number, position in enumerate(seed.members):
            candidate, row = self.usable[position], self.rows[position]
            cell_set_id = candidate.cell_set.cell_set_id
            free = self._free(row)
            share = -(-left // (len(seed.members) - number)) if seed.pooled else left
            chosen = sample(free, min(share, len(free)), generator(self.settings.seed, "prompt", cell_set_id))
            left -= len(chosen)
            pair = self.pairer.pair(row) if asked is ControlStrategy.SYNTHETIC_CONTROL else None
            control = None
            if pair is not None:
                used = controls_used.get(pair.row, np.zeros(0, dtype=np.int64))
                rng = generator(self.settings.seed, "control", cell_set_id, str(self.index.ids[pair.row]))
                control = sample_alike(self._free(pair.row).without(used), chosen, len(chosen), rng)
                controls_used[pair.row] = np.concatenate([used, control.rows])
            parts.append(_Part(candidate, chosen, pair, control))
        return parts

    def _free(self, row: int) -> SetRows:
        """Cells of a set that are no query cells."""
        cell_set_id = str(self.index.ids[row])
        cells = self.book[cell_set_id]
        return cells.without(self.taken[cell_set_id]) if cell_set_id in self.taken else cells

    def _control_selections(self, paired: list[_Part]) -> list[RowSelection]:
        rows: dict[int, list[int]] = {}
        for part in paired:
            assert part.pair is not None
            assert part.control is not None
            rows.setdefault(part.pair.row, []).extend(part.control.rows.tolist())
        return [
            RowSelection(
                cell_set_id=str(self.index.ids[row]), atlas=self.index.label("atlas", row) or "", rows=sorted(chosen)
            )
            for row, chosen in rows.items()
        ]

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
            joined = "; ".join(_describe(part, len(part.prompt)) for part in parts[1:])
            why = "that scored best so far" if pooled else "because one set has too few cells"
            words.append(f"pooled with others {why}: {joined}" if pooled else f"joined, {why}, by {joined}")
        if effective is ControlStrategy.SYNTHETIC_CONTROL:
            n = sum(len(part.control) for part in paired if part.control is not None)
            steps = _steps(paired)
            perturbed = parts[0].candidate.cell_set.perturbation_name is not None
            matched = f"matched in atlas, cell type, {'donor and sample' if perturbed else 'tissue; of healthy donors'}"
            given_up = f"given up: {', '.join(steps)}" if steps else matched
            words.append(f"{n} control cells, {given_up}")
        elif asked is ControlStrategy.SYNTHETIC_CONTROL:
            words.append(
                f"fewer than {self.settings.prompting.min_control_cells} control cells fit, even after giving up "
                "tissue, donor and cell type: the query cells themselves are the control"
            )
        else:
            words.append("the query cells themselves are the control, as asked")
        return ". ".join(words)


def _selection(cell_set_id: str, chooser: _Chooser, cells: SetRows) -> RowSelection:
    row = chooser.index.positions[cell_set_id]
    atlas = chooser.index.label("atlas", row) or ""
    return RowSelection(cell_set_id=cell_set_id, atlas=atlas, rows=cells.rows.tolist())


def _steps(paired: list[_Part]) -> list[str]:
    """Constraints given up by any of the pairings."""
    return list(dict.fromkeys(step for part in paired if part.pair for step in part.pair.steps))


def _penalty(paired: list[_Part]) -> float:
    """Mean price of the pairings, weighted by control cells."""
    sizes = [len(part.control) for part in paired if part.control is not None]
    prices = [part.pair.penalty for part in paired if part.pair]
    return round(float(np.average(prices, weights=sizes)), 6) if paired else 0.0


def _describe(part: _Part, n: int) -> str:
    cell_set = part.candidate.cell_set
    what = f" with {cell_set.perturbation_name}" if cell_set.perturbation_name else ""
    donor = f" of {cell_set.donor_id}" if cell_set.donor_id else ""
    return f"{n} cells: {cell_set.cell_type_name or 'unnamed type'}{what}{donor} in {cell_set.atlas}"
