"""Load STACK, generate cells from prompts, train small models.

Nothing heavy is imported until a function is called.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from haystack.inference.importing import import_checkpoint
    from haystack.inference.predict import generate, run_inference
    from haystack.inference.store import Model, load_model, model_genes, save_model
    from haystack.inference.training import train_model

# Read when torch is first loaded. Threads that spin while they wait for each other lose minutes on a machine that is
# shared (seen: 100 training steps in 9 minutes instead of 20 seconds); threads that sleep lose nothing else.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

_HOMES = {
    "Model": "store",
    "generate": "predict",
    "import_checkpoint": "importing",
    "load_model": "store",
    "model_genes": "store",
    "run_inference": "predict",
    "save_model": "store",
    "train_model": "training",
}

__all__ = [
    "Model",
    "generate",
    "import_checkpoint",
    "load_model",
    "model_genes",
    "run_inference",
    "save_model",
    "train_model",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
