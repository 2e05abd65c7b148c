"""`{run_id}_predictions.h5ad`: generated and measured cells of the best prompt; other prompts in a second file.

Cells x genes by Ensembl id, in the CELLxGENE schema 7; X holds counts (sampled for generated cells, measured for the
others). Genes that no atlas of the run measures are zero in measured cells and false in `var["in_atlas"]`. The schema
allows no gene without an Ensembl id: their counts are in obsm, their symbols in uns.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from haystack.config import Settings
from haystack.contracts import StructuredQuery, read_cells, read_predictions
from haystack.contracts.cells import CellRole, PredictionRole
from haystack.contracts.runlog import IterationLog
from haystack.report.embedding import embed
from haystack.report.read import Best

if TYPE_CHECKING:
    import anndata as ad
    import numpy as np
    import pandas as pd
    from scipy import sparse

OBS = (
    "cell_id",
    "role",
    "prompt_id",
    "task_type",
    "cell_type_query",
    "perturbation_query",
    "target_donor_id",
    "target_tissue",
    "target_disease_state",
    "prompt_strategy",
    "iteration",
    "grounding_score",
)
LABELS = (
    "atlas",
    "cell_type_name",
    "cell_type_cl_id",
    "donor_id",
    "tissue_uberon_id",
    "disease_mondo_id",
    "perturbation_name",
    "sample_condition",
)
"""labels of a measured cell; a generated cell has those of its query cell, without perturbation"""
EFFECTS = ("log2fc", "se", "lfsr", "pval", "padj")
VAR = (
    "gene_symbol",
    *(f"predicted_{name}" for name in EFFECTS),
    "is_de",
    "target_gene",
    "in_model",
    "in_atlas",
    "feature_is_filtered",
)
UNKNOWN = "unknown"
"""what the atlas does not record (a donor, a cell type), in the schema's word"""
SCHEMA_TERMS = {"cell_type": "cell_type_cl_id", "tissue": "tissue_uberon_id", "disease": "disease_mondo_id"}
"""CELLxGENE's `{name}_ontology_term_id` -> our column"""
NOT_RECORDED = ("sex", "self_reported_ethnicity", "development_stage")
"""terms that CELLxGENE asks for and `cells.h5ad` lacks: "unknown\""""
UNNAMED_COUNTS = "counts_without_ensembl_id"
UNNAMED_GENES = "genes_without_ensembl_id"


def build_predictions(
    run_id: str,
    query: StructuredQuery,
    settings: Settings,
    best: Best,
    de: pd.DataFrame,
    enrichment: pd.DataFrame,
    history: list[IterationLog],
) -> tuple[ad.AnnData, ad.AnnData]:
    """Cells of the best prompt with effects, tables, PCA and UMAP; and the generated cells of the other prompts.

    obs `role` is `perturbed` and `control` (generated), `query`, `prompt` and `control_prompt` (measured); where the
    query cells are the control, they appear once, as `control`. layers["mean"] holds the model's expected counts, NaN
    for measured cells. A run without a prediction gives files with 0 cells.
    """
    prompt_id = best.prompt.prompt_id if best.prompt else ""
    if best.prompt is None:
        generated = measured = _no_cells()
    else:
        generated = read_predictions(best.iteration.file("predictions.h5ad"))
        measured = read_cells(best.iteration.file("cells.h5ad"))
    own = (generated.obs["prompt_id"].astype(object) == prompt_id).to_numpy()
    kept = (measured.obs["prompt_id"].isna() | (measured.obs["prompt_id"] == prompt_id)).to_numpy()
    kept &= ~_repeated(generated[own], measured)
    facts = _facts(run_id, query, settings, prompt_id)
    if "inference" in generated.uns:
        facts["inference"] = generated.uns["inference"]

    main = _by_ensembl_id(generated[own], measured[kept], query, de[de["prompt_id"] == prompt_id], settings.seed)
    main.obs = _obs(generated[own].obs, measured[kept].obs, measured.obs, query, best)
    main.uns |= facts | {
        "iterations": _iterations(history),
        "enrichment_results": enrichment[enrichment["prompt_id"] == prompt_id].reset_index(drop=True),
    }
    others = _by_ensembl_id(generated[~own], measured[:0], query, de.head(0))
    others.var = others.var.drop(columns=[name for name in VAR if name.startswith("predicted_") or name == "is_de"])
    others.obs = _obs(generated[~own].obs, measured.obs.head(0), measured.obs, query, best)
    others.uns |= facts
    return main, others


def _repeated(generated: ad.AnnData, measured: ad.AnnData) -> np.ndarray:
    """Which measured cells are query cells that stand as the control, with the same counts.

    CELLxGENE refuses a cell that appears twice; baselines and `query_as_control` use the query cells themselves.
    """
    control = generated[(generated.obs["role"] == PredictionRole.CONTROL).to_numpy()]
    places = measured.obs_names.get_indexer(control.obs["query_cell_id"].astype(str))
    counts = _aligned(measured[places], [str(name) for name in generated.var_names])
    equal = (places >= 0) & (abs(counts - control.X).sum(axis=1).A1 == 0)
    is_query = (measured.obs["role"] == CellRole.QUERY).to_numpy()
    return is_query & measured.obs_names.isin(measured.obs_names[places[equal]])


def all_counts(cells: ad.AnnData) -> tuple[list[str], sparse.csr_matrix]:
    """Gene symbols and counts (cells x symbols) of a file of this module, with genes that have no Ensembl id."""
    from scipy import sparse

    genes = [*cells.var["gene_symbol"].astype(str), *cells.uns.get(UNNAMED_GENES, [])]
    parts = [cells.X, *([cells.obsm[UNNAMED_COUNTS]] if UNNAMED_COUNTS in cells.obsm else [])]
    return genes, sparse.csr_matrix(sparse.hstack(parts))


def _no_cells() -> ad.AnnData:
    import anndata as ad
    import numpy as np
    import pandas as pd
    from scipy import sparse

    obs = pd.DataFrame({name: pd.Series(dtype=object) for name in ("role", "prompt_id", "query_cell_id", *LABELS)})
    empty = np.zeros((0, 0), dtype=np.float32)
    return ad.AnnData(sparse.csr_matrix(empty), obs=obs.assign(gen_logit=0.0), layers={"mean": empty})


def _by_ensembl_id(
    generated: ad.AnnData, measured: ad.AnnData, query: StructuredQuery, rows: pd.DataFrame, map_seed: int | None = None
) -> ad.AnnData:
    """Generated, then measured cells, without obs; with PCA and UMAP of all genes where `map_seed` is given.

    Parameters
    ----------
    rows
        those of the prompt in `de.parquet`.
    """
    import anndata as ad
    import numpy as np
    from scipy import sparse

    from haystack.knowledge.genetic import ensembl_ids

    genes = [str(name) for name in generated.var_names]
    var = _var(genes, query, rows, set(measured.var_names))
    ids = ensembl_ids(genes)
    named = np.array([gene in ids for gene in genes], dtype=bool)
    counts = sparse.csr_matrix(sparse.vstack([generated.X, _aligned(measured, genes)]))
    mean = np.full((counts.shape[0], named.sum()), np.nan, dtype=np.float32)
    mean[: generated.n_obs] = generated.layers["mean"][:, named]
    cells = ad.AnnData(counts[:, named], var=var[named].set_axis([ids[gene] for gene in var.index[named]]))
    cells.layers["mean"] = mean
    if map_seed is not None:
        mapped = ad.AnnData(counts, var=var[["in_atlas"]])
        embed(mapped, map_seed)
        cells.obsm, cells.uns = mapped.obsm, mapped.uns
    if not named.all():
        cells.obsm[UNNAMED_COUNTS] = counts[:, ~named].toarray()
        cells.uns[UNNAMED_GENES] = var.index[~named].to_numpy(dtype=object)
    return cells


def _aligned(measured: ad.AnnData, genes: list[str]) -> sparse.csr_matrix:
    """Measured counts in the order of `genes`, zero for genes not measured."""
    import numpy as np
    from scipy import sparse

    places = measured.var_names.get_indexer(genes)
    return sparse.csc_matrix(measured.X)[:, np.maximum(places, 0)] @ sparse.diags_array(
        (places >= 0).astype(np.float32)
    )


def _facts(run_id: str, query: StructuredQuery, settings: Settings, prompt_id: str) -> dict[str, Any]:
    """Nested settings as JSON, because h5ad stores neither lists of records nor missing values in mappings."""
    return {
        "title": query.raw_query,
        "organism_ontology_term_id": "NCBITaxon:9606",
        "run_id": run_id,
        "query": json.dumps(query.model_dump(mode="json"), ensure_ascii=False),
        "config": json.dumps(settings.model_dump(mode="json"), ensure_ascii=False),
        "best_prompt_id": prompt_id,
        "p_values": "describe the model's sampling of generated cells, not donors",
    }


def _iterations(history: list[IterationLog]) -> pd.DataFrame:
    """One row per prompt of every iteration; the run's log has the details."""
    import pandas as pd

    rows = [
        {
            "iteration": item.iteration,
            "prompt_id": prompt.prompt_id,
            "strategies": "+".join(prompt.strategies),
            "n_prompt_cells": prompt.n_prompt_cells,
            "n_control_cells": prompt.n_control_cells,
            "composite_value": next(
                (one.composite_value for one in item.grounding.prompts if one.prompt_id == prompt.prompt_id), None
            ),
            "ended": item.decision.reason.value if item.decision.reason else "",
        }
        for item in history
        for prompt in item.prompts
    ]
    return pd.DataFrame(rows).astype({"composite_value": "float64"}) if rows else pd.DataFrame({"iteration": [0][:0]})


def inference_facts(predictions: ad.AnnData) -> dict[str, Any]:
    """Metadata of the inference job (a JSON text in `uns["inference"]`); empty if there is none."""
    facts = predictions.uns.get("inference")
    if isinstance(facts, str):
        facts = json.loads(facts)
    return dict(facts) if facts else {}


def _obs(
    generated: pd.DataFrame, measured: pd.DataFrame, starts: pd.DataFrame, query: StructuredQuery, best: Best
) -> pd.DataFrame:
    """Generated cells, then measured ones.

    Parameters
    ----------
    starts
        obs of `cells.h5ad`, with the query cells referred to by `query_cell_id`.
    """
    import pandas as pd

    labels = starts.reindex(columns=list(LABELS)).astype(object)
    started = labels.reindex(generated["query_cell_id"].astype(object)).set_axis(generated.index)
    measured_labels = measured.reindex(columns=list(LABELS)).astype(object)
    given = pd.concat(
        [
            generated[["role", "prompt_id", "query_cell_id", "gen_logit"]]
            .astype({"role": object, "prompt_id": object, "query_cell_id": object})
            .join(started.assign(perturbation_name=None)),
            measured[["role", "prompt_id"]].astype(object).join(measured_labels),
        ]
    )
    names = [str(name) for name in given.index]
    if len(set(names)) < len(names):
        names = [f"{name}-{position}" for position, name in enumerate(names)]
    strategy = {prompt.prompt_id: "+".join(prompt.strategies) for prompt in best.iteration.prompts.prompts}
    score = {item.prompt_id: item.composite_value for item in best.iteration.grounding.prompts}
    prompt_id = given["prompt_id"].tolist()
    obs = pd.DataFrame({"cell_id": names}, index=pd.Index(names, dtype=object))
    obs["role"] = _category(given["role"].tolist())
    obs["prompt_id"] = _category(prompt_id)
    obs["task_type"] = _category([query.task_type.value] * len(names))
    for column in ("cell_type_query", "perturbation_query", "target_donor_id", "target_tissue", "target_disease_state"):
        obs[column] = _category([getattr(query, column)] * len(names))
    obs["prompt_strategy"] = _category([strategy.get(item) for item in prompt_id])
    obs["iteration"] = pd.array([best.iteration.number] * len(names), dtype="int64")
    obs["grounding_score"] = pd.Series([score.get(item) for item in prompt_id], dtype="float64").to_numpy()
    obs["query_cell_id"] = _category(given["query_cell_id"].tolist())
    obs["gen_logit"] = given["gen_logit"].to_numpy(dtype="float64")
    for column in LABELS:
        obs[column] = _category(given[column].tolist())
    obs["donor_id"] = _category(given["donor_id"].fillna(UNKNOWN).tolist())
    for name, column in SCHEMA_TERMS.items():
        obs[f"{name}_ontology_term_id"] = _category(given[column].fillna(UNKNOWN).tolist())
    for name in NOT_RECORDED:
        obs[f"{name}_ontology_term_id"] = _category([UNKNOWN] * len(names))
    obs["tissue_type"] = _category(["tissue"] * len(names))
    obs["is_primary_data"] = False
    return obs


def _var(genes: list[str], query: StructuredQuery, rows: pd.DataFrame, measured: set[str]) -> pd.DataFrame:
    """One row per gene; `rows` are those of the best prompt in `de.parquet`."""
    import pandas as pd

    rows = rows.drop_duplicates("gene").set_index("gene").reindex(genes)
    var = pd.DataFrame({"gene_symbol": genes}, index=pd.Index(genes, dtype=object))
    for column in EFFECTS:
        var[f"predicted_{column}"] = rows[column].to_numpy(dtype="float64")
    var["is_de"] = rows["is_de"].eq(True).to_numpy(dtype=bool)
    targets = set(expected_genes(query))
    var["target_gene"] = [gene in targets for gene in genes]
    var["in_model"] = ~rows["in_model"].eq(False).to_numpy(dtype=bool)
    var["in_atlas"] = [gene in measured for gene in genes]
    var["feature_is_filtered"] = False
    return var


def expected_genes(query: StructuredQuery) -> list[str]:
    """Genes expected to change (perturbational) or to mark the cell type (observational), core genes first."""
    main = query.asked.perturbation
    expected = list(main.expected_targets) if main else []
    markers = [] if query.task_type.is_perturbational else query.asked.cells.markers
    return list(dict.fromkeys([*expected, *markers]))


def _category(values: list[Any]) -> Any:
    """Categorical of strings with real missing values."""
    import pandas as pd

    missing = [value is None or value != value for value in values]
    texts = [None if gone else str(value) for value, gone in zip(values, missing, strict=True)]
    return pd.Categorical(texts, categories=sorted({text for text in texts if text is not None}))
