"""What a CUDA device would be asked to do, on the meta device, which holds no numbers."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch.nn.functional import scaled_dot_product_attention  # noqa: E402

from haystack.inference import forward, generation  # noqa: E402
from haystack.inference.architecture import Architecture, build, without_initial_weights  # noqa: E402
from haystack.inference.generation import Job  # noqa: E402
from haystack.inference.schedule import UpstreamDraws, make_schedule  # noqa: E402
from haystack.inference.store import Model  # noqa: E402

LARGE = Architecture(n_genes=50, n_hidden=100, token_dim=16, n_cells=512, n_layers=2, n_heads=8)
CARD = torch.device("meta")


@pytest.mark.parametrize("upstream", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_step_waits_for_nothing_and_attends_by_fused_kernels(monkeypatch, dtype, upstream):
    """Nothing of a step reads a number from the device, and no attention takes the math path.

    Tensors of the meta device hold no numbers: whatever would wait for one raises. Heads' widths are multiples of what
    CUDA's fused kernels ask for.
    """
    widths = set()

    def attend(q, k, v, dropout_p=0.0, scale=None):
        assert q.dtype is k.dtype is v.dtype is dtype
        assert {part.stride(-1) for part in (q, k, v)} == {1}
        widths.add(q.shape[-1])
        return torch.empty_like(q)

    monkeypatch.setattr(forward, "scaled_dot_product_attention", attend)
    monkeypatch.setattr(generation, "make_generator", lambda device, seed: None)
    monkeypatch.setattr(generation, "sample_counts", lambda mean, theta, rng: mean)
    with CARD, without_initial_weights(), torch.inference_mode():
        model = Model(build(LARGE).to(dtype).eval().requires_grad_(False), LARGE, [], CARD)
        prompt, query = torch.empty(300, LARGE.n_genes), torch.empty(200, LARGE.n_genes)
        jobs = [Job(prompt, query, seed, UpstreamDraws(seed) if upstream else None) for seed in range(3)]
        cells, states = generation._start(model, jobs, {})
        for step in make_schedule(LARGE.n_cells, 2, 0.25, 0.4, 0.2):
            generation._run_step(model, cells, states, step, batch_size=4)
            for state in states:
                state.logit = np.linspace(-2, -1, len(state.counts), dtype=np.float32)
                generation._unmask_step(model, state, step)
    assert widths == {200, {torch.float32: 4, torch.bfloat16: 8}[dtype]}
    for reads in (int, bool, torch.Tensor.cpu, torch.nonzero):
        with pytest.raises((RuntimeError, NotImplementedError)):
            reads(cells.logits[0])


@pytest.mark.parametrize(("width", "dtype"), [(2, torch.float32), (2, torch.bfloat16), (3, torch.float32)])
def test_padded_heads_give_the_same(width, dtype):
    q, k, v = torch.randn(3, 5, 4, 9, width, generator=torch.Generator().manual_seed(0)).to(dtype)
    missing = -width % forward.FUSED[dtype]
    assert missing
    wide = (torch.nn.functional.pad(part, (0, missing)) for part in (q, k, v))
    padded = scaled_dot_product_attention(*wide, scale=0.7)
    assert torch.allclose(padded[..., :width], scaled_dot_product_attention(q, k, v, scale=0.7), atol=1e-6)
    assert (padded[..., width:] == 0).all()
