"""The real workflow with stages that do nothing: what is left is Snakemake and our input functions."""

from pathlib import Path

STAGE = """
if "snakemake" in globals():
    import json
    import sys
    from pathlib import Path

    run_id = snakemake.wildcards.get("run_id", "")
    marker = Path("fail") / f"{snakemake.rule}-{run_id}"
    if marker.exists():
        marker.unlink()
        sys.exit(f"{run_id}: told to fail")
    # As a real stage does: the failure of an earlier try is over.
    Path(f"results/runs/{run_id}/failure.json").unlink(missing_ok=True)
    for path in snakemake.output:
        Path(path).write_text(f"{snakemake.rule} {run_id}\\n")
    if snakemake.rule == "decide":
        iteration, last = int(snakemake.wildcards.iteration), snakemake.params.settings["max_iterations"]
        scores = [
            {"iteration": i, "prompt_id": "p1", "composite_value": 4.0 + i / 4}
            for i in range(1, iteration + 1)
        ]
        decision = {
            "run_id": run_id,
            "iteration": iteration,
            "continue": iteration < last,
            "reason": None if iteration < last else "max_iterations",
            "best_iteration": iteration,
            "best_prompt_id": "p1",
            "scores": scores,
            "threshold": 10,
            "refinement": None,
        }
        Path(snakemake.output.decision).write_text(json.dumps(decision))
"""
COPY = """
    Path(snakemake.output.cells).write_bytes(Path("cells.h5ad").read_bytes())
"""


def empty_stages(folder: Path) -> dict:
    """Replace every script of the workflow in `folder`; settings with a tiny atlas, which passes the checks.

    A stage fails once for each file `fail/{rule}-{run_id}` that it finds.
    """
    import anndata as ad
    import numpy as np
    import pandas as pd

    for path in (folder / "workflow/scripts").glob("*.py"):
        path.write_text(STAGE)
    (folder / "fail").mkdir(exist_ok=True)
    labels = {"label": ["B cell", "monocyte"] * 20, "stim": ["ctrl"] * 20 + ["IL-4"] * 20}
    obs = pd.DataFrame(labels, index=[f"cell{i}" for i in range(40)])
    counts = np.random.default_rng(0).poisson(2, size=(40, 4)).astype(np.float32)
    ad.AnnData(counts, obs=obs, var=pd.DataFrame(index=["ISG15", "CD14", "LYZ", "STAT1"])).write_h5ad(
        folder / "own.h5ad"
    )
    entry = {
        "path": "own.h5ad",
        "obs": {"cell_type": "label", "perturbation": "stim"},
        "control_labels": ["ctrl"],
        "perturbation_type": "cytokine",
    }
    return {"atlases": {"own": entry}}


def ask_many(folder: Path, count: int) -> list[str]:
    """A table of `count` runs; their ids."""
    names = [f"r{i:04d}" for i in range(count)]
    lines = ["run_id\tquery", *(f"{name}\tHow would B cells respond to IL-4?" for name in names)]
    (folder / "config/runs.tsv").write_text("\n".join(lines) + "\n")
    return names


def real_inference(folder: Path) -> dict:
    """After `empty_stages`: the real inference, with a tiny model and the same cells for all; its settings."""
    import importlib.util
    import shutil

    from haystack.contracts import write_cells
    from haystack.inference.store import save_model

    root = Path(__file__).parents[2]
    spec = importlib.util.spec_from_file_location("_tiny_models", root / "tests/unit/inference/conftest.py")
    models = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(models)
    shutil.copy(root / "workflow/scripts/stack_inference.py", folder / "workflow/scripts")
    script = folder / "workflow/scripts/generate_prompts.py"
    script.write_text(script.read_text() + COPY)
    genes = ["ISG15", "CD14", "LYZ", "STAT1", *models.genes_of(models.TINY)[4:]]
    write_cells(folder / "cells.h5ad", models.cells_of(genes, {"p1": (20, 20)}, 12))
    save_model(folder / "model", models.random_network(models.TINY).state_dict(), models.TINY, genes, {"test": True})
    return {"model": {"kind": "stack", "name": "tiny", "path": "model", "device": "cpu", "steps": 2}}
