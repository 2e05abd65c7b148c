"""The compiled attention against torch's, and that a Large-shaped model takes it."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from haystack.inference import forward, narrow_attention
from haystack.inference.architecture import Architecture, build


def reference(qkv: torch.Tensor, n_heads: int, scale: float) -> torch.Tensor:
    cells, tokens, triple = qkv.shape
    parts = qkv.double().reshape(cells, tokens, 3, n_heads, triple // 3 // n_heads)
    q, k, v = parts.permute(2, 0, 3, 1, 4)
    mixed = scaled_dot_product_attention(q, k, v, scale=scale)
    return mixed.transpose(1, 2).reshape(cells, tokens, triple // 3)


@pytest.mark.parametrize("width", [1, 2, 4])
@pytest.mark.parametrize(("cells", "tokens", "n_heads"), [(1, 1, 1), (3, 15, 2), (5, 16, 8), (2, 100, 3)])
def test_same_as_torch(cells: int, tokens: int, n_heads: int, width: int) -> None:
    torch.manual_seed(tokens)
    qkv = torch.randn(cells, tokens, 3 * n_heads * width) * 2
    scale = width**-0.5
    ours = narrow_attention.attend(qkv, n_heads, scale)
    assert torch.allclose(ours.double(), reference(qkv, n_heads, scale), atol=5e-6)


def test_scores_of_any_size() -> None:
    """Softmax of scores in the thousands, all but one of them infinitely less likely; and of equal scores."""
    qkv = torch.randn(4, 20, 12, generator=torch.Generator().manual_seed(0))
    far = narrow_attention.attend(qkv * 60, 2, 0.7)
    assert torch.allclose(far.double(), reference(qkv * 60, 2, 0.7), atol=1e-3)
    flat = torch.zeros(1, 20, 12)
    flat[..., 8:] = torch.randn(20, 4)
    assert torch.allclose(narrow_attention.attend(flat, 2, 0.7)[0], flat[0, :, 8:].mean(dim=0).expand(20, 4), atol=1e-6)


def test_bf16_and_threads_change_nothing_else() -> None:
    qkv = torch.randn(7, 30, 48, generator=torch.Generator().manual_seed(1))
    rounded = narrow_attention.attend(qkv.bfloat16(), 8, 0.7)
    assert rounded.dtype is torch.bfloat16
    assert torch.equal(rounded, narrow_attention.attend(qkv.bfloat16().float(), 8, 0.7).bfloat16())
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone = narrow_attention.attend(qkv, 8, 0.7)
        torch.set_num_threads(3)
        assert torch.equal(alone, narrow_attention.attend(qkv, 8, 0.7))
    finally:
        torch.set_num_threads(before)


def test_large_takes_the_kernel_and_small_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[int] = []
    attend = narrow_attention.attend
    monkeypatch.setattr(narrow_attention, "attend", lambda *given: taken.append(1) or attend(*given))
    large = Architecture(n_genes=30, n_hidden=100, token_dim=16, n_cells=512, n_layers=1, n_heads=8)
    small = Architecture(n_genes=30, n_hidden=20, token_dim=16, n_cells=32, n_layers=1, n_heads=8)
    for shape, expected in ((large, 1), (small, 0)):
        taken.clear()
        network = build(shape).eval()
        with torch.inference_mode():
            tokens = torch.randn(1, 3, shape.n_hidden, shape.token_dim)
            compiled = forward.run_kept(network, tokens).final
        assert len(taken) == expected
        with torch.enable_grad():  # training differentiates, so it goes through torch
            assert torch.allclose(forward.run_kept(network, tokens.clone()).final, compiled, atol=1e-5)
        assert len(taken) == expected
