"""The cells that a model is trained on: hold-outs dropped, genes chosen, counts in memory."""

from __future__ import annotations

import logging
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from haystack.contracts import CELLS, read_table
from haystack.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from numpy.typing import NDArray

    from haystack.config import AtlasEntry, CellFilter, TrainSettings

log = logging.getLogger(__name__)

CONTROL = ""
"""perturbation of cells to which nothing was done"""
VALIDATION_SHARE = 0.1
THETA = 100.0
"""inverse dispersion of the Pearson residuals that rank genes"""


@dataclass
class TrainingCells:
    """Counts (cells x genes, uint16) and what each cell is.

    Cells of `validation` and of `held_out` never enter a training window, nor the choice of genes.
    """

    genes: list[str]
    counts: NDArray[np.uint16]
    atlas: NDArray[np.str_]
    cell_type: NDArray[np.str_]
    perturbation: NDArray[np.str_]
    donor: NDArray[np.str_]
    validation: NDArray[np.bool_]
    """a tenth of the cells that are not held out"""
    held_out: NDArray[np.bool_]

    def pools(self, cells: NDArray[np.bool_]) -> dict[tuple[str, str, str], NDArray[np.int64]]:
        """Rows of the chosen cells by (atlas, perturbation, cell type)."""
        return _group(np.flatnonzero(cells), self.atlas, self.perturbation, self.cell_type)

    def depth(self) -> NDArray[np.float32]:
        """Total counts of each cell."""
        return self.counts.sum(axis=1, dtype=np.float32)


def read_training_cells(
    atlases: dict[str, AtlasEntry],
    cells: dict[str, Path],
    settings: TrainSettings,
    exclude: Sequence[CellFilter],
    seed: int,
    genes: Sequence[str] | None = None,
) -> TrainingCells:
    """Read at most `settings.cells_per_set` cells per atlas, perturbation, cell type and donor.

    Parameters
    ----------
    atlases, cells
        entries and `cells.parquet` by atlas name
    settings
        names of the atlases, genes
    exclude
        hold-outs; those of the settings come on top
    seed
        which cells are taken where there are more, and which are kept for validation
    genes
        fixed genes (fine-tuning); null: the most variable ones

    Raises
    ------
    ModelError
        an atlas is not there, or the hold-outs leave nothing to train on
    """
    from haystack.atlas import read_rows

    frames, matrices, names = [], [], []
    for name in settings.atlases:
        if name not in atlases or name not in cells:
            raise ModelError(f"model.train.atlases: '{name}' is not among the atlases in use: {', '.join(atlases)}")
        frame = read_table(cells[name], CELLS)
        frame["held_out"] = _held_out(frame, name, [*exclude, *settings.exclude])
        taken = _label(_sample(frame, settings.cells_per_set, seed), name)
        if taken["held_out"].all():
            raise ModelError(f"model.train: the hold-outs leave no labelled cell of atlas '{name}' to train on")
        data = read_rows(atlases[name], taken["row"].tolist())
        frames.append(taken)
        matrices.append(data.X.tocsc())
        names.append([str(gene) for gene in data.var_names])
        log.info("%s: %d cells, %d of them held out", name, len(taken), taken["held_out"].sum())
    if genes is None:
        seen = [matrix[~frame["held_out"].to_numpy()] for matrix, frame in zip(matrices, frames, strict=True)]
        chosen = choose_genes(seen, names, settings.n_genes, settings.always_genes)
    else:
        chosen = list(genes)
    counts = np.concatenate([_columns(*pair, chosen) for pair in zip(matrices, names, strict=True)])
    columns = {
        key: np.concatenate([frame[key].to_numpy(dtype=str) for frame in frames])
        for key in ("atlas", "cell_type", "perturbation", "donor")
    }
    held_out = np.concatenate([frame["held_out"].to_numpy(dtype=bool) for frame in frames])
    validation = ~held_out & (np.random.default_rng([seed, 1]).random(len(counts)) < VALIDATION_SHARE)
    return TrainingCells(genes=chosen, counts=counts, validation=validation, held_out=held_out, **columns)


def choose_genes(matrices: Sequence, names: Sequence[Sequence[str]], n_genes: int, always: Sequence[str]) -> list[str]:
    """The genes with the largest variance of Pearson residuals, averaged over the atlases that measure them; sorted.

    Residuals are those of a negative binomial with inverse dispersion 100, clipped at the root of the number of cells
    (Lause, Berens and Kobak 2021).
    """
    variances: dict[str, list[float]] = defaultdict(list)
    for matrix, symbols in zip(matrices, names, strict=True):
        for symbol, variance in zip(symbols, residual_variance(matrix), strict=True):
            variances[symbol.upper()].append(float(variance))
    wanted = [gene.upper() for gene in always]
    unknown = [gene for gene in wanted if gene not in variances]
    if unknown:
        raise ModelError(f"model.train.always_genes: no atlas in training measures {', '.join(unknown[:5])}")
    ranked = sorted(variances, key=lambda gene: (-float(np.mean(variances[gene])), gene))
    return sorted({*ranked[:n_genes], *wanted})


def residual_variance(matrix) -> NDArray[np.float64]:  # type: ignore[no-untyped-def]
    """Variance of the clipped Pearson residuals of each column of a sparse count matrix (cells x genes)."""
    n_cells = matrix.shape[0]
    depth = np.asarray(matrix.sum(axis=1), dtype=np.float64).ravel()
    share = np.asarray(matrix.sum(axis=0), dtype=np.float64).ravel() / max(depth.sum(), 1.0)
    clip = np.sqrt(n_cells)
    variance = np.zeros(matrix.shape[1])
    for start in range(0, matrix.shape[1], 256):
        block = matrix[:, start : start + 256].toarray().astype(np.float64)
        expected = depth[:, None] * share[None, start : start + 256]
        spread = np.sqrt(expected + expected**2 / THETA)
        residual = np.divide(block - expected, spread, out=np.zeros_like(block), where=spread > 0)
        variance[start : start + 256] = residual.clip(-clip, clip).var(axis=0)
    return variance


def _held_out(frame: pd.DataFrame, atlas: str, exclude: Sequence[CellFilter]) -> NDArray[np.bool_]:
    from haystack.atlas.filters import matches

    hit = np.zeros(len(frame), dtype=bool)
    for one in exclude:
        hit |= matches(one, frame, atlas).to_numpy(dtype=bool)
    return hit


def _label(frame: pd.DataFrame, atlas: str) -> pd.DataFrame:
    """The four labels as plain strings; cells without a cell type cannot be used."""
    labels = [column for column in frame.columns if column.endswith(("_cl_id", "_name", "_original", "donor_id"))]
    frame = frame.astype(dict.fromkeys(labels, object))
    cell_type = frame["cell_type_cl_id"]
    for other in ("cell_type_name", "cell_type_original"):
        cell_type = cell_type.where(cell_type.notna(), frame[other])
    name = frame["perturbation_name"].where(frame["perturbation_name"].notna(), frame["perturbation_original"])
    perturbation = name.where(~frame["is_control"].astype(bool), CONTROL)
    labelled = frame[["row", "held_out"]].assign(
        atlas=atlas,
        cell_type=cell_type,
        perturbation=perturbation,
        donor=frame["donor_id"].where(frame["donor_id"].notna(), ""),
    )
    return labelled[labelled["cell_type"].notna() & labelled["perturbation"].notna()]


def _sample(frame: pd.DataFrame, per_set: int, seed: int) -> pd.DataFrame:
    keys = ["perturbation_original", "perturbation_name", "cell_type_original", "cell_type_cl_id", "donor_id"]
    shuffled = frame.sample(frac=1.0, random_state=np.random.default_rng([seed, 2]))
    order = shuffled.groupby(keys, dropna=False, observed=True).cumcount()
    return shuffled[order < per_set].sort_values("row")


def _columns(matrix, names: Sequence[str], genes: Sequence[str]) -> NDArray[np.uint16]:  # type: ignore[no-untyped-def]
    position = {name.upper(): index for index, name in enumerate(names)}
    found = [(target, position[gene]) for target, gene in enumerate(genes) if gene in position]
    out = np.zeros((matrix.shape[0], len(genes)), dtype=np.uint16)
    if found:
        targets, sources = (list(part) for part in zip(*found, strict=True))
        out[:, targets] = np.minimum(matrix[:, sources].toarray(), np.iinfo(np.uint16).max).astype(np.uint16)
    return out


def _group(rows: NDArray[np.int64], *labels: NDArray[np.str_]) -> dict:
    groups: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for row, key in zip(rows.tolist(), zip(*(label[rows].tolist() for label in labels), strict=True), strict=True):
        groups[key].append(row)
    return {key: np.array(groups[key]) for key in sorted(groups)}
