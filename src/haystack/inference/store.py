"""The model store: a folder with safetensors, plain text and JSON. Nothing in it can carry code."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from haystack.contracts import Contract, read_json, write_json
from haystack.errors import MissingExtraError, ModelError
from haystack.files import sha256, whole_file, write_text
from haystack.inference.architecture import Architecture, build, without_initial_weights

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import torch

log = logging.getLogger(__name__)

WEIGHTS, CONFIG, GENES, PROVENANCE = "model.safetensors", "config.json", "genes.txt", "provenance.json"
REMAKE = "Make the folder anew with `haystack model import` or `haystack model train`"


class Provenance(Contract):
    """`provenance.json`: where a model comes from, and the hashes that its files must have."""

    files: dict[str, str]
    """name of each other file of the folder -> its sha256"""
    created: str
    """UTC, ISO 8601"""
    arc_stack: str
    """version of arc-stack that the shapes are those of"""
    source: dict[str, Any] = {}
    """imported models: file names and sha256 of the sources; trained ones: atlases, settings, hold-outs"""
    training: dict[str, Any] = {}
    """loss curve and validation of trained models"""
    licence: str = ""


@dataclass
class Model:
    """A loaded model. `genes` are upper-case symbols in the order of the network's inputs."""

    network: torch.nn.Module
    architecture: Architecture
    genes: list[str]
    device: torch.device
    precision: str = "fp32"
    provenance: Provenance | None = None
    seconds: dict[str, float] = field(default_factory=dict)


def load_model(model_dir: str | Path, device: str = "auto", precision: str = "fp32") -> Model:
    """Read a model folder, check it, and put it on the device.

    Parameters
    ----------
    model_dir
        folder with model.safetensors, config.json, genes.txt, provenance.json
    device
        auto (the first CUDA device if it computes as the CPU does, else the CPU), cpu, cuda, cuda:1, mps
    precision
        fp32, tf32 (fp32 whose products a CUDA device rounds to ten bits), bf16

    Raises
    ------
    ModelError
        a file is missing, differs from its hash in provenance.json, or tensors do not fit config.json
    """
    from time import perf_counter

    torch = _torch()
    start = perf_counter()
    folder = Path(model_dir)
    target = pick_device(device)
    if precision == "bf16" and target.type == "cpu" and not _has_bf16_units():
        log.warning(
            "model.precision: bf16 on this processor, which has no units for it, takes about five times as long as fp32"
        )
    if precision == "tf32" and target.type != "cuda":
        log.warning("model.precision: tf32 is for CUDA devices; %s computes in fp32", target)
    provenance = _read_provenance(folder)
    _check_hash(folder, CONFIG, provenance)
    _check_hash(folder, GENES, provenance)
    architecture = read_json(folder / CONFIG, Architecture)
    genes = model_genes(folder)
    if len(genes) != architecture.n_genes:
        raise ModelError(f"{folder / GENES}: {len(genes)} genes, but n_genes in {CONFIG} is {architecture.n_genes}")
    with ThreadPoolExecutor(1) as pool:  # the hash takes most of the time; the network is built beside it
        weights_checked = pool.submit(_check_hash, folder, WEIGHTS, provenance)
        with torch.device("meta"), without_initial_weights():
            network = build(architecture)
        weights_checked.result()
    tensors = _read_tensors(folder / WEIGHTS, target)
    check_tensors(network, tensors, folder / WEIGHTS)
    network.load_state_dict(tensors, strict=True, assign=True)
    network.to(device=target, dtype=_dtype(precision))
    network.eval().requires_grad_(False)
    model = Model(network, architecture, genes, target, precision, provenance)
    model.seconds["load"] = perf_counter() - start
    log.info("loaded %s on %s in %s: %.2f s", folder, target, precision, model.seconds["load"])
    return model


def check_folder(model_dir: str | Path, digest: Callable[[Path], str] = sha256) -> None:
    """All files are there and have the hashes that provenance.json names, or a ModelError."""
    folder = Path(model_dir)
    provenance = _read_provenance(folder)
    for name in provenance.files:
        _check_hash(folder, name, provenance, digest)


def model_genes(model_dir: str | Path) -> list[str]:
    """Read the genes that a model knows, upper-case, in order."""
    path = Path(model_dir) / GENES
    try:
        genes = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise ModelError(f"{path}: no such file; a model folder holds {', '.join(all_files())}. {REMAKE}") from None
    except UnicodeDecodeError:
        raise ModelError(f"{path}: not a text file with one gene symbol per line. {REMAKE}") from None
    check_genes(genes, path)
    return genes


def save_model(
    model_dir: str | Path,
    tensors: Mapping[str, torch.Tensor],
    architecture: Architecture,
    genes: Sequence[str],
    source: Mapping[str, Any],
    training: Mapping[str, Any] | None = None,
    licence: str = "",
) -> None:
    """Write a model folder. provenance.json comes last, so that a folder without it is known to be unfinished."""
    from safetensors.torch import save_file

    folder = Path(model_dir)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / PROVENANCE).unlink(missing_ok=True)
    check_genes(list(genes), folder / GENES)
    with whole_file(folder / WEIGHTS) as temporary:
        save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, temporary)
        temporary.chmod(0o644)
    write_json(folder / CONFIG, architecture)
    write_text(folder / GENES, "".join(f"{gene}\n" for gene in genes))
    provenance = Provenance(
        files={name: sha256(folder / name) for name in (WEIGHTS, CONFIG, GENES)},
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        arc_stack=_arc_stack_version(),
        source=dict(source),
        training=dict(training or {}),
        licence=licence,
    )
    write_json(folder / PROVENANCE, provenance)


def check_tensors(network: torch.nn.Module, tensors: Mapping[str, torch.Tensor], where: Path) -> None:
    """Names, shapes and finiteness of all tensors, or a ModelError that lists the first few that do not fit."""
    wanted = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    wrong = [f"{name} is missing" for name in wanted if name not in tensors]
    wrong += [f"{name} does not belong to the architecture" for name in tensors if name not in wanted]
    fitting = [name for name, shape in wanted.items() if name in tensors and tuple(tensors[name].shape) == shape]
    wrong += [
        f"{name} has shape {tuple(tensors[name].shape)}, expected {shape}"
        for name, shape in wanted.items()
        if name in tensors and name not in fitting
    ]
    sums = [tensors[name].float().sum() for name in fitting]  # on the device, which is asked once
    finite = _torch().stack(sums).isfinite().tolist() if sums else []
    wrong += [f"{name} holds NaN or infinity" for name, good in zip(fitting, finite, strict=True) if not good]
    if wrong:
        more = f"; and {len(wrong) - 5} more" if len(wrong) > 5 else ""
        raise ModelError(f"{where}: does not fit {CONFIG}: {'; '.join(wrong[:5])}{more}. {REMAKE}")


def check_genes(genes: Sequence[str], where: Path) -> None:
    """One upper-case symbol per line, none twice."""
    if not genes:
        raise ModelError(f"{where}: no genes")
    for number, gene in enumerate(genes, start=1):
        if not gene or gene != gene.strip().upper() or not gene.isprintable() or len(gene) > 60:
            raise ModelError(f"{where}: line {number}: {gene[:60]!r} is not an upper-case gene symbol. {REMAKE}")
    if len(set(genes)) != len(genes):
        seen: set[str] = set()
        twice = next(gene for gene in genes if gene in seen or seen.add(gene))  # type: ignore[func-returns-value]
        raise ModelError(f"{where}: gene {twice} is listed twice. {REMAKE}")


def pick_device(device: str) -> torch.device:
    """`auto` is the first CUDA device if a tiny model gives there what it gives on the CPU, else the CPU.

    Anything else must exist and is taken as it is.

    Raises
    ------
    ModelError
        the device is unknown or not in this machine
    """
    torch = _torch()
    if device == "auto":
        card = torch.device("cuda", 0)
        return card if torch.cuda.is_available() and agrees_with_cpu(card) else torch.device("cpu")
    try:
        picked = torch.device(device)
    except RuntimeError:
        raise ModelError(f"model.device: unknown device '{device}'; use auto, cpu, cuda, cuda:N or mps") from None
    present = {"cpu": 1, "cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available())}
    if (picked.index or 0) >= present.get(picked.type, 0):
        raise ModelError(f"model.device: '{device}' is not in this machine; use auto or cpu")
    return picked


@cache
def agrees_with_cpu(device: torch.device) -> bool:
    """Generate a few cells with a tiny random model, there and on the CPU; a difference is logged as a warning.

    The means must be equal to 1 %, and the counts drawn from them add up to what they should within 20 % (nine standard
    errors). Takes milliseconds once the device is awake.
    """
    torch = _torch()
    from haystack.inference.generation import Job, generate_cells
    from haystack.inference.schedule import make_schedule

    shape = Architecture(n_genes=64, n_hidden=8, token_dim=16, n_cells=32, n_layers=2, n_heads=8)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = build(shape).eval().requires_grad_(False)
        prompt, query = torch.poisson(torch.full((20, 64), 5.0)), torch.poisson(torch.full((24, 64), 5.0))
    means, totals = [], []
    try:
        for where in (torch.device("cpu"), device):
            model = Model(deepcopy(network).to(where), shape, [], where)
            job = Job(prompt.to(where), query.to(where), seed=0)
            (made,) = generate_cells(model, [job], make_schedule(32, 1, 0.25, 0.4, 0.4))
            means.append(made.mean.cpu())
            totals.append(float(made.counts.sum() / made.mean.sum()))
    except RuntimeError as error:
        log.warning("device %s fails on a tiny model, so the CPU is used: %s", device, error)
        return False
    furthest = float((means[1] / means[0] - 1).abs().max())
    if furthest < 0.01 and abs(totals[1] - 1) < 0.2:
        return True
    log.warning(
        "device %s gives other results than the CPU on a tiny model (means differ by %.1f %%, counts are %.2f of what "
        "they should be), so the CPU is used",
        device,
        100 * furthest,
        totals[1],
    )
    return False


def _has_bf16_units() -> bool:
    """Whether this processor multiplies bfloat16 (AVX512-BF16, AMX, Arm's BF16)."""
    return any(value is True and "bf16" in name for name, value in _torch().cpu.get_capabilities().items())


def _read_provenance(folder: Path) -> Provenance:
    missing = [name for name in all_files() if not (folder / name).is_file()]
    if missing:
        raise ModelError(f"{folder}: not a whole model folder, lacks {', '.join(missing)}. {REMAKE}")
    return read_json(folder / PROVENANCE, Provenance)


def _check_hash(folder: Path, name: str, provenance: Provenance, digest: Callable[[Path], str] = sha256) -> None:
    wanted = provenance.files.get(name)
    if wanted is None:
        raise ModelError(f"{folder / PROVENANCE}: files: no sha256 of {name}. {REMAKE}")
    found = digest(folder / name)
    if found != wanted:
        raise ModelError(
            f"{folder / name}: sha256 is {found[:12]}..., {PROVENANCE} says {wanted[:12]}...: changed or "
            f"damaged, not loaded. {REMAKE}"
        )


def _read_tensors(path: Path, device: torch.device) -> dict[str, torch.Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path, device=str(device))
    except (SafetensorError, OSError, ValueError) as error:
        raise ModelError(f"{path}: not a whole safetensors file ({error}). {REMAKE}") from error


def _dtype(precision: str) -> torch.dtype:
    torch = _torch()
    known = {"fp32": torch.float32, "tf32": torch.float32, "bf16": torch.bfloat16}
    if precision not in known:
        raise ModelError(f"model.precision: unknown precision '{precision}'; known: {', '.join(known)}")
    return known[precision]


def _torch() -> Any:
    try:
        import safetensors  # noqa: F401
        import torch
    except ModuleNotFoundError as error:
        raise MissingExtraError("stack", "Running STACK") from error
    return torch


def _arc_stack_version() -> str:
    try:
        return version("arc-stack")
    except PackageNotFoundError:
        raise MissingExtraError("stack", "Writing a STACK model") from None


def all_files() -> tuple[str, ...]:
    """Names of the files of a model folder; provenance.json, with the hashes of the others, comes last."""
    return WEIGHTS, CONFIG, GENES, PROVENANCE
