"""The forward pass: arc-stack's modules, with scaled-dot-product attention in place of materialised scores.

A window holds kept prompt cells, which attend only to each other, and the rest (context and query cells), which attend
to all. So the kept cells are run first, and their keys and values serve any number of windows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, pad, scaled_dot_product_attention, softplus

NARROW = 8
"""width of an attention head, below which bf16 on a CPU attends in fp32"""

FUSED = {torch.float32: 4, torch.bfloat16: 8}
"""what the width of a head must be a multiple of for CUDA's fused kernels (`minimum_gemm_alignment` of torch's
sdp_utils.cpp, compute capability 8 and later); other widths would materialise all scores, 1 GB a layer of Large"""

COMPILED = 4
"""width of a head, up to which the compiled kernel of `narrow_attention` beats torch's on a CPU: at width 2 it takes a
quarter of the time, at 4 a third, at 8 four times as much (1,536 cells of 100 tokens, 8 heads, two cores)"""

WORTH_A_KERNEL = 10_000_000
"""scores within the cells of one window, from which that kernel is worth its loading (Large: 41 million)"""


@dataclass
class Kept:
    """What the other cells need of kept prompt cells: per layer keys and values (P, heads, K, d), and final states."""

    keys: list[Tensor]
    values: list[Tensor]
    final: Tensor
    """(P, K, width)"""


def tokenize(network: Any, counts: Tensor) -> Tensor:
    """Raw counts (n, genes) -> tokens (n, n_hidden, token_dim)."""
    features = torch.log1p(counts).to(network.gene_pos_embedding.dtype)
    return network.gene_reduction(features).reshape(len(counts), network.n_hidden, network.token_dim)


def run_kept(network: Any, tokens: Tensor) -> Kept:
    """Run P groups of kept prompt cells, tokens (P, K, n_hidden, token_dim)."""
    keys, values = [], []
    x = tokens
    for layer in network.layers:
        x = _within_cells(network, layer, x)
        q, k, v = _project(layer.gene_attn, x.flatten(2))
        keys.append(k)
        values.append(v)
        x = _after_attention(network, layer, x, _attend(layer.gene_attn, q, k, v))
    return Kept(keys, values, x.flatten(2))


def run_rest(network: Any, kept: Kept, owner: Tensor, tokens: Tensor) -> Tensor:
    """Run the other cells of B windows.

    Parameters
    ----------
    kept
        results of `run_kept` for P groups
    owner
        (B,) which group each window holds
    tokens
        (B, M, n_hidden, token_dim), the query embedding already added where it belongs

    Returns
    -------
    Tensor
        final states (B, M, width)
    """
    x = tokens
    for layer, kept_keys, kept_values in zip(network.layers, kept.keys, kept.values, strict=True):
        x = _within_cells(network, layer, x)
        q, k, v = _project(layer.gene_attn, x.flatten(2))
        k = torch.cat([kept_keys[owner], k], dim=2)
        v = torch.cat([kept_values[owner], v], dim=2)
        x = _after_attention(network, layer, x, _attend(layer.gene_attn, q, k, v))
    return x.flatten(2)


def confidence(network: Any, context_mean: Tensor, states: Tensor) -> Tensor:
    """Logits (B, M) that a cell is not yet finished, from the mean state of the window's prompt cells (B, width)."""
    context = context_mean.unsqueeze(1).expand(-1, states.shape[1], -1)
    return network.cls(torch.cat([context, states], dim=-1)).squeeze(-1).float()


def hidden(network: Any, states: Tensor) -> Tensor:
    """All of the head but its last layer: (..., width) -> (..., 2 x width)."""
    return network.output_mlp[:-1](states)


def means(network: Any, hidden_states: Tensor, library: Tensor) -> Tensor:
    """Negative-binomial means (n, genes), float32, which sum to `library` (n,). Half of the last layer."""
    return torch.softmax(mean_logits(network, hidden_states), dim=-1) * library.unsqueeze(-1)


def mean_logits(network: Any, hidden_states: Tensor) -> Tensor:
    """Logits whose softmax over the genes gives each gene's share, float32."""
    last = network.output_mlp[-1]
    return linear(hidden_states, last.weight[0::2], last.bias[0::2]).float()


def dispersions(network: Any, hidden_states: Tensor) -> Tensor:
    """Negative-binomial inverse dispersions theta (..., genes), float32. The other half of the last layer."""
    last = network.output_mlp[-1]
    return softplus(linear(hidden_states, last.weight[1::2], last.bias[1::2]).float())


def median_dispersion(network: Any, states: Tensor) -> Tensor:
    """Median inverse dispersion theta (genes,), float32, over cells (n, width); of an even number, the lower middle."""
    last = network.output_mlp[-1]
    logits = last.weight[1::2] @ hidden(network, states).T  # bias and softplus keep their order
    return softplus(logits.median(dim=1).values.float() + last.bias[1::2].float())


def _within_cells(network: Any, layer: Any, x: Tensor) -> Tensor:
    """Attention among the tokens of each cell."""
    shape = x.shape
    x = x.reshape(-1, *shape[-2:])
    attention = layer.cell_attn
    placed = x + network.gene_pos_embedding
    if _kernel_pays(network, attention, x):
        from haystack.inference.narrow_attention import attend

        attended = attention.proj(attend(attention.qkv(placed), attention.n_heads, attention.scale))
    else:
        attended = _attend(attention, *_project(attention, placed))
    return layer.cell_norm(x + attended).reshape(shape)


def _kernel_pays(network: Any, attention: Any, x: Tensor) -> bool:
    """Whether the compiled kernel serves here and is faster: by the shape of the model, never that of the batch."""
    scores = network.n_cells * attention.n_heads * network.n_hidden**2
    serves = x.device.type == "cpu" and attention.head_dim <= COMPILED and not torch.is_grad_enabled()
    return serves and scores >= WORTH_A_KERNEL


def _after_attention(network: Any, layer: Any, x: Tensor, attended: Tensor) -> Tensor:
    """Residual and norm of the attention between cells, then the token-wise perceptron."""
    x = layer.gene_norm(x.flatten(2) + attended).reshape(x.shape)
    return layer.mlp_norm(x + layer.mlp(x))


def _project(attention: Any, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    batch, length, _ = x.shape
    qkv = attention.qkv(x).reshape(batch, length, 3, attention.n_heads, attention.head_dim)
    q, k, v = qkv.permute(2, 0, 3, 1, 4)
    return q, k, v


def _attend(attention: Any, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    dropout: nn.Dropout = attention.dropout
    share = dropout.p if dropout.training else 0.0
    width = q.shape[-1]
    if q.dtype is torch.bfloat16 and q.device.type == "cpu" and width < NARROW:
        # torch's fused kernel is slower on narrow heads in bf16 than in fp32 (512 cells, Large: 92 ms against 65 ms)
        mixed = scaled_dot_product_attention(q.float(), k.float(), v.float(), scale=attention.scale).to(q.dtype)
    else:
        missing = -width % FUSED.get(q.dtype, 1) if q.device.type != "cpu" else 0
        if missing:  # zeros change neither scores nor sums
            q, k, v = (pad(part, (0, missing)) for part in (q, k, v))
        mixed = scaled_dot_product_attention(q, k, v, dropout_p=share, scale=attention.scale)[..., :width]
    return attention.proj(mixed.transpose(1, 2).reshape(q.shape[0], q.shape[2], attention.d_model))
