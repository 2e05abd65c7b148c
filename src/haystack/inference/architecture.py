"""The network: arc-stack's own modules, with the two parts that its fine-tuned class adds.

`import stack.models` takes six seconds, because its packages import lightning, scvi and geomloss. The class that holds
the architecture needs none of them, so its module is loaded by itself.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from pydantic import Field

from haystack.contracts import Contract
from haystack.errors import MissingExtraError, ModelError
from haystack.internals import stack_base

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    import torch


class Architecture(Contract):
    """Shape of a STACK model: `config.json` of the model folder. Names are those of arc-stack."""

    n_genes: int = Field(ge=1)
    n_hidden: int = Field(ge=1, description="gene tokens per cell")
    token_dim: int = Field(ge=1, description="width of a token")
    n_cells: int = Field(ge=2, description="positions of the window")
    n_layers: int = Field(ge=1)
    n_heads: int = Field(ge=1, description="heads of the attention between cells")
    mlp_ratio: int = Field(default=4, ge=1)
    dropout: float = Field(default=0.1, ge=0, lt=1)

    @property
    def width(self) -> int:
        """Numbers that describe one cell: tokens times their width."""
        return self.n_hidden * self.token_dim


def build(architecture: Architecture) -> torch.nn.Module:
    """Make a network with fresh weights from torch's global generator (or none at all under `torch.device("meta")`)."""
    if architecture.width % architecture.n_heads:
        raise ModelError(
            f"n_hidden x token_dim = {architecture.width} cannot be split over n_heads = {architecture.n_heads}"
        )
    network_class = _network_class()
    return network_class(**architecture.model_dump())


def without_initial_weights() -> AbstractContextManager[Any]:
    """While inside, modules leave their weights as they are allocated.

    For weights about to be replaced. On the "meta" device torch would import a second's worth of its compiler only to
    draw numbers that are not there.
    """
    import torch
    from torch.overrides import TorchFunctionMode

    class LeaveAsAllocated(TorchFunctionMode):
        def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            kwargs = kwargs or {}
            if getattr(function, "__module__", None) == "torch.nn.init":
                return args[0] if args else kwargs["tensor"]
            if function is torch.randn:
                return torch.empty(*args, **kwargs)
            return function(*args, **kwargs)

    return LeaveAsAllocated()


@cache
def _network_class() -> type[torch.nn.Module]:
    from torch import empty, nn

    try:
        base = stack_base().StateICLModelBase
    except ModuleNotFoundError as error:
        raise MissingExtraError("stack", "Running STACK") from error
    except FileNotFoundError as error:
        raise ModelError(
            f"{error}: not found; this arc-stack is not the pinned one. Install haystack[stack] again"
        ) from error

    class StackNetwork(base):  # type: ignore[misc, valid-type]
        """arc-stack's base model plus the query embedding and the confidence classifier of its fine-tuned class.

        The state dict has the same names and shapes as `stack.models.finetune.ICL_FinetunedModel` (a test compares).
        """

        def __init__(self, **shape: Any) -> None:
            super().__init__(**shape)
            width = self.n_hidden * self.token_dim
            self.query_pos_embedding = nn.Parameter(nn.init.normal_(empty(self.n_hidden, self.token_dim), std=0.02))
            self.cls = nn.Sequential(nn.Linear(2 * width, self.n_hidden), nn.GELU(), nn.Linear(self.n_hidden, 1))

    return StackNetwork
