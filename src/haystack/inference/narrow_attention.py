"""Attention with very narrow heads, on a CPU.

STACK's tokens within a cell attend through heads two numbers wide. Kernels written for wide heads spend most of their
time there on what does not shrink with the head. Here the lanes of the vector unit hold the queries, the loop runs over
the keys, and nothing is ever summed across lanes.

A softmax subtracts the largest score, to overflow nowhere. Any bound above it serves as well while no weight vanishes,
and the range of the keys gives one without looking at every score.
"""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TYPE_CHECKING, Any

import numba
import numpy as np
import torch
from numba.core import types
from numba.extending import intrinsic

if TYPE_CHECKING:
    from collections.abc import Callable

LANES = 16
"""float32 numbers of the widest vector unit; the queries are padded to a multiple"""

# 2^r for r in [-1, 0], coefficients of r^6 down to r^1 (r^0 is 1): least squares of the relative error on 2,000
# Chebyshev nodes; largest relative error 2e-9, below float32's own.
NARROW_RANGE = 100.0
"""powers of two between the bounds of a query's scores, up to which the upper bound stands for the largest score: the
smallest weight is then 2^-100, far above float32's 2^-126"""

POWER_OF_TWO = (1.0889923e-4, 1.2743612e-3, 9.578723e-3, 5.549051e-2, 0.24022431, 0.69314706)


def attend(qkv: torch.Tensor, n_heads: int, scale: float) -> torch.Tensor:
    """Softmax attention of each cell's tokens among themselves.

    Parameters
    ----------
    qkv
        (cells, tokens, 3 x heads x width), on the CPU: queries, keys, values, each head after head
    n_heads
        heads
    scale
        factor of the scores before the softmax

    Returns
    -------
    Tensor
        (cells, tokens, heads x width), in the type of `qkv`; computed in float32
    """
    source = qkv.float().contiguous()
    cells, tokens, triple = source.shape
    mixed = torch.empty(cells, tokens, triple // 3)
    kernel = _kernel(triple // 3 // n_heads)
    reads, writes = source.numpy(), mixed.numpy()
    factor = np.float32(scale * math.log2(math.e))
    threads = max(1, min(torch.get_num_threads(), cells))
    bounds = np.linspace(0, cells, threads + 1).astype(int)

    def part(number: int) -> None:
        rows = slice(bounds[number], bounds[number + 1])
        kernel(reads[rows], writes[rows], n_heads, factor)

    if threads == 1:
        part(0)
    else:
        list(_threads(threads).map(part, range(threads)))
    return mixed.to(qkv.dtype)


@cache
def _threads(number: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(number)


@cache
def _kernel(width: int) -> Callable[..., None]:
    """Compile for one width of the heads; kept on disk between processes where there is a place to keep it."""
    options: dict[str, Any] = {"nogil": True, "fastmath": True, "error_model": "numpy"}
    try:
        return numba.njit(cache=True, **options)(_make(width))
    except RuntimeError:  # no folder that can be written
        return numba.njit(**options)(_make(width))


@intrinsic
def _as_float(typing_context: Any, bits: Any) -> Any:
    """Read the bits of an int32 as a float32."""
    from llvmlite import ir

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], ir.FloatType())

    return types.float32(types.int32), generate


def _make(width: int) -> Callable[..., None]:
    f32, i32 = np.float32, np.int32
    c6, c5, c4, c3, c2, c1 = (f32(coefficient) for coefficient in POWER_OF_TWO)

    def kernel(qkv: Any, mixed: Any, n_heads: int, scale: Any) -> None:
        cells, tokens, _ = qkv.shape
        padded = (tokens + LANES - 1) // LANES * LANES
        size = n_heads * width
        queries = np.zeros((width, padded), np.float32)
        total = np.empty((width, padded), np.float32)
        weights = np.empty(padded, np.float32)
        highest = np.empty(padded, np.float32)
        spread = np.empty(padded, np.float32)
        for cell in range(cells):
            for head in range(n_heads):
                at = head * width
                for d in range(width):
                    for i in range(tokens):
                        queries[d, i] = qkv[cell, i, at + d] * scale
                highest[:] = f32(0)
                spread[:] = f32(0)
                for d in range(width):
                    low = high = qkv[cell, 0, size + at + d]
                    for j in range(1, tokens):
                        key = qkv[cell, j, size + at + d]
                        low = key if key < low else low
                        high = key if key > high else high
                    for i in range(padded):
                        one, other = queries[d, i] * low, queries[d, i] * high
                        highest[i] += one if one > other else other
                        spread[i] += abs(one - other)
                if spread.max() > f32(NARROW_RANGE):
                    highest[:] = f32(-3e38)
                    for j in range(tokens):
                        for i in range(padded):
                            score = f32(0)
                            for d in range(width):
                                score += queries[d, i] * qkv[cell, j, size + at + d]
                            highest[i] = score if score > highest[i] else highest[i]
                weights[:] = f32(0)
                total[:] = f32(0)
                for j in range(tokens):
                    for i in range(padded):
                        x = -highest[i]
                        for d in range(width):
                            x += queries[d, i] * qkv[cell, j, size + at + d]
                        x = x if x > f32(-126) else f32(-126)
                        whole = i32(x)
                        r = x - f32(whole)
                        power = (((((c6 * r + c5) * r + c4) * r + c3) * r + c2) * r + c1) * r + f32(1)
                        weight = power * _as_float((whole + i32(127)) << i32(23))
                        weights[i] += weight
                        for d in range(width):
                            total[d, i] += weight * qkv[cell, j, 2 * size + at + d]
                for i in range(tokens):
                    for d in range(width):
                        mixed[cell, i, at + d] = total[d, i] / weights[i]

    return kernel
