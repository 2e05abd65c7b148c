"""The mask-diffusion schedule of arc-stack (`mdm`): windows and unmasking, without the network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from haystack.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    Indices = NDArray[np.int64]
    Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Step:
    """One step: how many positions of the window hold what, and how much stays masked after it.

    Positions in order: `n_kept` prompt cells that see only each other, prompt cells up to `n_base` that see the whole
    window, then `n_query` query cells.
    """

    number: int
    n_kept: int
    n_base: int
    n_query: int
    masked_after: float


@dataclass(frozen=True)
class Window:
    """Rows of prompt and query cells; the first `n_kept` prompt cells see only each other, the rest all cells.

    The first `n_real` query rows count; the others fill the window up.
    """

    base: Indices
    query: Indices
    n_kept: int
    n_real: int


def make_schedule(
    n_cells: int, steps: int, prompt_ratio: float, context_ratio: float, context_ratio_min: float
) -> list[Step]:
    """Window sizes and masked shares of `steps` steps.

    The context share rises linearly from `context_ratio_min` to `context_ratio`; the masked share falls linearly to
    zero. Sizes are rounded in single precision, as arc-stack does; the query embedding starts where the query cells do
    (arc-stack starts it one position early whenever that rounding cuts).

    Raises
    ------
    ModelError
        the ratios leave no room for query cells or none for prompt cells
    """
    if not 0 <= context_ratio_min <= context_ratio:
        raise ModelError(
            f"model.context_ratio_min ({context_ratio_min}) must lie between 0 and context_ratio ({context_ratio})"
        )
    if prompt_ratio + context_ratio >= 1:
        raise ModelError(f"model.prompt_ratio + model.context_ratio is {prompt_ratio + context_ratio}; must be below 1")
    n_kept = int(prompt_ratio * n_cells)
    if n_kept < 1:
        raise ModelError(f"model.prompt_ratio = {prompt_ratio} leaves no prompt position in a window of {n_cells}")
    single = np.float32
    context = (
        [single(context_ratio)] if steps == 1 else np.linspace(context_ratio_min, context_ratio, steps, dtype=single)
    )
    masked = 1 - (np.arange(steps, dtype=single) + single(1)) / single(steps)
    masked[-1] = 0.0
    schedule = []
    for number, (share, after) in enumerate(zip(context, masked, strict=True), start=1):
        n_query = max(1, int(n_cells * (single(1) - (single(prompt_ratio) + share))))
        schedule.append(Step(number, n_kept, n_cells - n_query, n_query, float(after)))
    return schedule


class Draws(Protocol):
    """Chooses the prompt cells of each window; everything else of a window is fixed."""

    keeps_prompt: bool
    """the first `n_kept` rows are the same in all windows of all steps"""

    def base_rows(self, step: Step, n_prompt: int) -> Iterator[Indices]:
        """Rows of prompt cells, window after window."""
        ...


class UpstreamDraws:
    """As `stack-generation --random-seed SEED`: a fresh permutation in every step, walked through window by window."""

    keeps_prompt = False

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def base_rows(self, step: Step, n_prompt: int) -> Iterator[Indices]:
        """Rows of prompt cells, window after window."""
        order = np.random.RandomState((self.seed + step.number) % 2**32).permutation(n_prompt)
        start = 0
        while True:
            yield order[np.arange(start, start + step.n_base) % n_prompt]
            start = (start + step.n_base) % n_prompt


class KeptDraws:
    """One permutation for the whole generation: its head stays in the kept positions, so they are computed once.

    The context positions walk on through the rest, from window to window and step to step, so that every prompt cell
    takes part. No cell is twice among the kept or twice in a context: where the prompt has fewer cells than there are
    positions, positions stay empty. Cells that are not kept come into the context first, then kept ones.
    """

    keeps_prompt = True

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self._start = 0

    def base_rows(self, step: Step, n_prompt: int) -> Iterator[Indices]:
        """Rows of prompt cells, window after window."""
        order = np.random.Generator(np.random.PCG64(self.seed)).permutation(n_prompt)
        kept, rest = np.split(order, [step.n_kept])
        size = min(step.n_base - step.n_kept, n_prompt)
        if size > len(rest):
            context = np.concatenate([rest, kept])[:size]
            while True:
                yield np.concatenate([kept, context])
        while True:
            context = rest[np.arange(self._start, self._start + size) % len(rest)]
            self._start = (self._start + size) % len(rest)
            yield np.concatenate([kept, context])


def make_windows(step: Step, n_prompt: int, n_query: int, draws: Draws) -> list[Window]:
    """Deal the query cells, in order, to as few windows as hold them.

    Draws that keep the prompt deal them evenly and leave no more positions than cells. For the others, as for
    arc-stack, the last window is filled up with query cells from the start, over and over where there are few
    (arc-stack raises IndexError there).
    """
    rows = draws.base_rows(step, n_prompt)
    if draws.keeps_prompt:
        n_windows, n_kept = -(-n_query // step.n_query), min(step.n_kept, n_prompt)
        return [Window(next(rows), part, n_kept, len(part)) for part in np.array_split(np.arange(n_query), n_windows)]
    windows = []
    for start in range(0, n_query, step.n_query):
        real = np.arange(start, min(start + step.n_query, n_query))
        filling = np.resize(np.arange(n_query), step.n_query - len(real))
        windows.append(Window(next(rows), np.concatenate([real, filling]), step.n_kept, len(real)))
    return windows


def unmask(masked: Mask, logits: NDArray[np.float32], masked_after: float) -> tuple[Mask, Mask]:
    """Which cells take their new counts in this step, and which count as masked after it.

    The most confident masked cells (lowest logit: most like finished ones) are taken, as many as the schedule asks for;
    cells whose logit is above zero stay, or become again, masked.

    Parameters
    ----------
    masked
        cells still masked
    logits
        confidence logits of this step
    masked_after
        share of all cells that the schedule leaves masked

    Returns
    -------
    taken, masked
        two boolean arrays over the cells

    Notes
    -----
    The quantile asked for is clipped to 1 (rounding brings arc-stack above it, and it raises), and nothing is taken
    when fewer cells are masked than the schedule leaves (arc-stack raises there too, always with four cells or fewer).
    """
    taken = np.zeros_like(masked)
    n_masked = int(masked.sum())
    if n_masked:
        share = (n_masked / masked.size - masked_after) * masked.size / n_masked
        if masked_after == 0.0 or share >= 1.0:
            taken = masked.copy()
        elif share >= 0.0:
            taken[masked] = logits[masked] <= np.quantile(logits[masked], share)
    after = masked & ~taken
    after |= logits > 0
    return taken, after
