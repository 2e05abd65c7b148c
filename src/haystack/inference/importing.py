"""Import arc-stack checkpoints into the model store without running any code that a file may carry."""

from __future__ import annotations

import io
import logging
import pickle
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from haystack.errors import ModelError, nearest
from haystack.files import sha256
from haystack.inference.architecture import Architecture, build, without_initial_weights
from haystack.inference.store import check_genes, check_tensors, save_model

if TYPE_CHECKING:
    import torch

log = logging.getLogger(__name__)

STACK_LICENCE = "STACK weights and code: non-commercial use (CC BY-NC-SA 4.0 and Arc Institute's model licence)"
UNUSED = ("sw_weight", "n_proj", "mask_rate_min", "mask_rate_max")
"""arguments of arc-stack's class that only its own training reads"""
MAX_GENE_LIST = 16 * 2**20
"""bytes: a gene list is never larger"""


def import_checkpoint(
    checkpoint: str | Path,
    genes: str | Path,
    out_dir: str | Path,
    checkpoint_sha256: str | None = None,
    genes_sha256: str | None = None,
    source: dict[str, Any] | None = None,
) -> None:
    """Turn a Lightning checkpoint and a pickled gene list into a model folder.

    The checkpoint is read by `torch.load(weights_only=True)`, the gene list by an unpickler that knows strings and
    numpy arrays of strings only. There is no other way in.

    Parameters
    ----------
    checkpoint
        `.ckpt` of arc-stack (hyper_parameters.model_config and state_dict)
    genes
        pickled list or array of gene symbols, or a text file with one symbol per line
    out_dir
        model folder to write
    checkpoint_sha256, genes_sha256
        pins: anything else is refused before it is opened
    source
        more to remember in provenance.json (repository, revision)

    Raises
    ------
    ModelError
        a hash differs, a file carries anything but data, is truncated, or its parts do not fit each other
    """
    checkpoint, genes = Path(checkpoint), Path(genes)
    hashes = {path.name: _pinned(path, pin) for path, pin in ((checkpoint, checkpoint_sha256), (genes, genes_sha256))}
    symbols = read_gene_list(genes)
    config, tensors = _read_checkpoint(checkpoint)
    shape = {key: value for key, value in config.items() if key not in UNUSED}
    unknown = sorted(set(shape) - set(Architecture.model_fields))
    if unknown:
        hint = nearest(unknown[0], Architecture.model_fields)
        raise ModelError(f"{checkpoint}: model_config has an unknown key '{unknown[0]}' (nearest known: {hint})")
    try:
        architecture = Architecture.model_validate(_with_defaults(shape))
    except ValueError as error:
        raise ModelError(f"{checkpoint}: model_config does not describe a STACK model: {error}") from error
    if len(symbols) != architecture.n_genes:
        raise ModelError(f"{genes}: {len(symbols)} genes, but the checkpoint's n_genes is {architecture.n_genes}")
    import torch

    with torch.device("meta"), without_initial_weights():
        network = build(architecture)
    tensors = {name: tensor.float() for name, tensor in tensors.items() if not name.startswith("mmd_loss.")}
    check_tensors(network, tensors, checkpoint)
    save_model(out_dir, tensors, architecture, symbols, {"sha256": hashes, **(source or {})}, licence=STACK_LICENCE)
    log.info("imported %s (%d genes) into %s", checkpoint, len(symbols), out_dir)


def read_gene_list(path: str | Path) -> list[str]:
    """Upper-case symbols from a pickle of strings (list, tuple or numpy array), or from a text file.

    Raises
    ------
    ModelError
        the pickle asks for anything else (nothing is executed), or holds something that is no gene list
    """
    path = Path(path)
    if not path.is_file():
        raise ModelError(f"{path}: no such file (a gene list)")
    if path.stat().st_size > MAX_GENE_LIST:
        raise ModelError(f"{path}: {path.stat().st_size} bytes is too large for a gene list")
    data = path.read_bytes()
    if path.suffix == ".txt":
        loaded: Any = data.decode("utf-8", errors="replace").split()
    else:
        try:
            loaded = _StringsOnly(io.BytesIO(data)).load()
        except ModelError as error:
            raise ModelError(f"{path}: refused: {error.message}") from None
        except Exception as error:
            raise ModelError(f"{path}: not a whole pickled gene list ({type(error).__name__}: {error})") from error
    values = loaded.tolist() if isinstance(loaded, np.ndarray) else loaded
    if not isinstance(values, list | tuple) or not all(isinstance(value, str) for value in values):
        raise ModelError(f"{path}: holds {type(loaded).__name__}, expected a list of gene symbols")
    symbols = [value.upper() for value in values]
    check_genes(symbols, path)
    return symbols


class _StringsOnly(pickle.Unpickler):
    """Refuses every name but those that a numpy array of strings is made of, and numpy's object hooks."""

    def find_class(self, module: str, name: str) -> Any:
        allowed: dict[tuple[str, str], Any] = {
            ("numpy", "ndarray"): np.ndarray,
            ("numpy", "dtype"): np.dtype,
            ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
            ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
            ("numpy.core.numeric", "_frombuffer"): _from_buffer,
            ("numpy._core.numeric", "_frombuffer"): _from_buffer,
            ("_codecs", "encode"): _latin1,
        }
        if (module, name) not in allowed:
            raise ModelError(
                f"the pickle asks for {module}.{name}; a gene list holds strings and numpy arrays of strings only. "
                "Nothing was executed"
            )
        return allowed[module, name]

    def persistent_load(self, pid: Any) -> Any:
        raise ModelError("the pickle refers to outside objects. Nothing was executed")


def _reconstruct(subtype: Any, shape: Any, dtype: Any) -> np.ndarray:
    """Begin an empty array, as numpy's own function does for a plain ndarray; its contents follow as state."""
    if subtype is not np.ndarray:
        raise ModelError("the pickle builds something other than a numpy array. Nothing was executed")
    return np.ndarray.__new__(np.ndarray, shape, dtype)


def _from_buffer(buffer: Any, dtype: Any, shape: Any, order: str) -> np.ndarray:
    """Make an array of strings from its bytes, as numpy does from pickle protocol 5 on."""
    if np.dtype(dtype).kind not in "US":
        raise ModelError(f"the pickle builds an array of {np.dtype(dtype)}, not of strings. Nothing was executed")
    return np.frombuffer(buffer, dtype=dtype).reshape(shape, order="F" if order == "F" else "C")


def _latin1(text: Any, encoding: Any) -> bytes:
    """Give the bytes of a numpy array, which pickle protocols below 3 store as text."""
    if encoding != "latin1" or not isinstance(text, str):
        raise ModelError(f"the pickle encodes with {encoding!r}. Nothing was executed")
    return text.encode("latin1")


def _read_checkpoint(path: Path) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    import torch

    try:
        data = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except FileNotFoundError:
        raise ModelError(f"{path}: no such file (a checkpoint)") from None
    except Exception as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ModelError(
            f"{path}: refused: not a whole checkpoint of plain tensors ({first}). Nothing was executed; there is no "
            "unsafe way around this. Get the file again from its publisher"
        ) from error
    if not isinstance(data, dict) or not isinstance(data.get("state_dict"), dict):
        raise ModelError(f"{path}: no state_dict in it; expected a Lightning checkpoint of arc-stack")
    config = (data.get("hyper_parameters") or {}).get("model_config")
    if not isinstance(config, dict):
        raise ModelError(
            f"{path}: no hyper_parameters.model_config in it; expected a Lightning checkpoint of arc-stack"
        )
    tensors = {name.removeprefix("model."): tensor for name, tensor in data["state_dict"].items()}
    wrong = [name for name, tensor in tensors.items() if not isinstance(tensor, torch.Tensor)]
    if wrong:
        raise ModelError(f"{path}: state_dict['{wrong[0]}'] is no tensor")
    return config, tensors


def _with_defaults(shape: dict[str, Any]) -> dict[str, Any]:
    """Arc-stack's own defaults for what a model_config leaves out."""
    return {"n_hidden": 100, "token_dim": 8, "n_cells": 128, "n_layers": 6, "n_heads": 8} | shape


def _pinned(path: Path, pin: str | None) -> str:
    if not path.is_file():
        raise ModelError(f"{path}: no such file")
    found = sha256(path)
    if pin is not None and found != pin.lower():
        raise ModelError(f"{path}: sha256 is {found}, expected {pin}: not the pinned file, not opened")
    return found
