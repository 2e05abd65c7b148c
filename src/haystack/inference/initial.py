"""First weights of a small model: a linear autoencoder whose context already speaks.

From random weights most of a short training goes into learning what cell types are. These weights know it from the
start: the input layer projects onto the directions in which cell types and perturbed cells of the training data differ,
one attention layer copies the perturbation directions of the window to each cell, and the head is a ridge regression.
Nothing of it is frozen.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from haystack.inference.training_cells import CONTROL, TrainingCells

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]

SIGNALS = 6
"""dimensions of each token that carry signals; the last two hold constants, so that layer norms change little"""
ANCHOR, LIFT = 3.0, 4.0
"""size of those constants; offset that puts signals on the straight part of GELU"""
LOW = 1.1444
"""where GELU is LIFT - ANCHOR"""
SPREAD = 0.5, 0.1
"""standard deviation over cells of the signals that tell types apart, and of those that tell perturbations apart: a
single cell says little about its perturbation, the mean of the prompt cells much"""
COPY = 20.0
"""factor on the mean of the window's perturbation signals that is added to each cell: it outweighs the cell's own"""
QUIET = 0.02
"""factor on the weights that write to the residual stream"""
TYPE_SHARE = 1 / 3
"""signals that tell cell types apart, at most; the others tell perturbed from control cells"""
RIDGE, SHRINK = 1.0, 0.1
"""ridge penalties of the head: absolute for types; relative to the mean square for corrections of changes"""
FLOOR = 0.3
"""CP10k added before the logarithm that the head is fitted to"""


@dataclass
class Start:
    """Where the perturbation signals are in a cell's state, and the change of log expression that each stands for."""

    change_slots: NDArray[np.int64]
    changes: NDArray[np.float64]
    """(signals, genes)"""


def start_from_data(network: Any, data: TrainingCells, rows: NDArray[np.bool_]) -> Start:
    """Set encoder and attention from the cells in `rows` (the training cells); the head is fitted by `fit_head`."""
    basis, n_types = directions(data, rows, network.n_hidden * SIGNALS)
    cells = np.flatnonzero(rows)
    cells = cells[:: max(1, len(cells) // 4000)]
    features = np.log1p(data.counts[cells].astype(np.float32))
    centre = features.mean(axis=0)
    wanted = np.where(np.arange(len(basis)) < n_types, *SPREAD)
    scale = (wanted / ((features - centre) @ basis.T).std(axis=0).clip(1e-3))[:, None]
    start = Start(_slots(network, len(basis))[n_types:].numpy(), (basis / scale)[n_types:].astype(np.float64))
    basis *= scale
    _set_encoder(network, basis, centre)
    with torch.no_grad():
        for number, layer in enumerate(network.layers):
            layer.cell_attn.proj.weight.mul_(QUIET)
            layer.mlp[3].weight.mul_(QUIET)
            layer.gene_attn.qkv.weight[: 2 * layer.gene_attn.d_model].mul_(QUIET)
            if number == 0:
                _copy_context(network, layer.gene_attn, n_types, len(basis))
            else:
                layer.gene_attn.proj.weight.mul_(QUIET)
    return start


def fit_head(network: Any, start: Start, states: Floats, targets: Floats) -> None:
    """Fit the mean half of the head so that final states (n, width) give these shares of counts (n, genes).

    Perturbations in training are few, so what the perturbation signals say is shrunk towards the encoder's own
    directions, with one strength for all: a change outside of what was seen is passed on as it came.
    """
    wanted = np.log(1e4 * targets.astype(np.float64) + FLOOR)
    offset, middle = wanted.mean(axis=0), states.astype(np.float64).mean(axis=0)
    centred, wanted = states - middle, wanted - offset
    other = np.setdiff1d(np.arange(centred.shape[1]), start.change_slots)
    weights = np.zeros((centred.shape[1], wanted.shape[1]))
    # the types first, with the change signals as nuisance; then one strength of all changes; then corrections
    weights[other] = _ridge(centred, wanted, RIDGE)[other]
    rest = wanted - centred @ weights
    passed = centred[:, start.change_slots] @ start.changes
    strength = float((passed * rest).sum() / (passed**2).sum())
    weights[start.change_slots] = strength * start.changes
    size = float((centred[:, start.change_slots] ** 2).sum() / len(start.change_slots))
    weights[start.change_slots] += _ridge(centred[:, start.change_slots], rest - strength * passed, SHRINK * size)
    first, last = network.output_mlp[0], network.output_mlp[-1]
    with torch.no_grad():
        eye = torch.eye(len(weights))
        first.weight.copy_(torch.cat([eye, -eye]))
        first.bias.zero_()
        solved = torch.from_numpy(weights.T).float()
        last.weight[0::2] = torch.cat([solved, -solved], dim=1)  # gelu(x) - gelu(-x) = x
        last.weight[1::2] *= QUIET
        bias = offset - middle @ weights
        last.bias[0::2] = torch.from_numpy(bias - bias.mean()).float()
        last.bias[1::2] = 1.0


def _ridge(features: NDArray[np.float64], wanted: NDArray[np.float64], penalty: float) -> NDArray[np.float64]:
    gram = features.T @ features + penalty * np.eye(features.shape[1])
    return np.asarray(np.linalg.solve(gram, features.T @ wanted), dtype=np.float64)


def directions(data: TrainingCells, rows: NDArray[np.bool_], n: int) -> tuple[Floats, int]:
    """Orthonormal directions (n, genes) of log(1 + counts), those between cell types first, and how many of them.

    Those between cell types are principal components of the mean control cell of each type and atlas; then come
    principal components of the changes under each perturbation, outside of the first; single genes fill up.
    """
    pools = data.pools(rows)
    mean = {key: np.log1p(data.counts[cells].astype(np.float32)).mean(axis=0) for key, cells in pools.items()}
    types = np.stack([value for (_, perturbation, _), value in mean.items() if perturbation == CONTROL])
    changes = [
        value - mean[atlas, CONTROL, cell_type]
        for (atlas, perturbation, cell_type), value in mean.items()
        if perturbation != CONTROL and (atlas, CONTROL, cell_type) in mean
    ]
    between = _components(types - types.mean(axis=0), int(TYPE_SHARE * n))
    rest = np.stack(changes)
    rest = rest - rest @ between.T @ between
    found = np.concatenate([between, _components(rest, n - len(between))])
    if len(found) < n:
        size = np.abs(rest).max(axis=0)
        single = np.eye(len(size), dtype=np.float32)[np.argsort(-size, kind="stable")[: n - len(found)]]
        found = np.concatenate([found, np.linalg.qr((single - single @ found.T @ found).T)[0].T])
    return found.astype(np.float32), len(between)


def _components(matrix: Floats, n: int) -> Floats:
    _, size, rows = np.linalg.svd(matrix, full_matrices=False)
    kept = rows[: min(n, int((size > 1e-3 * size[0]).sum()))]
    return kept * np.sign(kept[np.arange(len(kept)), np.abs(kept).argmax(axis=1)])[:, None]


def _slots(network: Any, n: int) -> torch.Tensor:
    """Position of each signal in a cell's state: the first six of every token's dimensions."""
    width = torch.arange(network.n_hidden * network.token_dim)
    return width[width % network.token_dim < SIGNALS][:n]


def _set_encoder(network: Any, basis: Floats, centre: Floats) -> None:
    layer = network.gene_reduction[0]
    slots = _slots(network, len(basis))
    with torch.no_grad():
        layer.weight.zero_()
        layer.weight[slots] = torch.from_numpy(basis)
        bias = torch.full((layer.out_features,), LIFT).unflatten(0, (network.n_hidden, network.token_dim))
        bias[:, -2], bias[:, -1] = LIFT + ANCHOR, LOW
        layer.bias.copy_(bias.flatten())
        layer.bias[slots] -= torch.from_numpy(basis @ centre)
        network.gene_pos_embedding.mul_(QUIET)


def _copy_context(network: Any, attention: Any, n_types: int, n: int) -> None:
    """Values as they are; the output adds the window's mean of the perturbation signals to each cell."""
    slots = _slots(network, n)[n_types:]
    with torch.no_grad():
        attention.qkv.weight[2 * attention.d_model :] = torch.eye(attention.d_model)
        attention.proj.weight.mul_(QUIET)
        attention.proj.weight[slots] = 0.0
        attention.proj.weight[slots, slots] = COPY
