"""`{run_id}_predictions.h5ad`: the best iteration's generated cells, by the output contract of the design."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from haystack.config import Settings
from haystack.contracts import StructuredQuery, read_predictions
from haystack.contracts.runlog import IterationLog
from haystack.report.read import Best

if TYPE_CHECKING:
    import anndata as ad
    import pandas as pd

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
VAR = (
    "gene_symbol",
    "predicted_log2fc",
    "predicted_se",
    "predicted_lfsr",
    "predicted_pval",
    "predicted_padj",
    "is_de",
    "target_gene",
    "in_model",
)


def build_predictions(
    run_id: str,
    query: StructuredQuery,
    settings: Settings,
    best: Best,
    de: pd.DataFrame,
    enrichment: pd.DataFrame,
    history: list[IterationLog],
) -> ad.AnnData:
    """Cells x genes of the best iteration, all prompts; X sampled counts (CSR), layers["mean"] their expectation.

    A run that could predict nothing gives 0 cells, so that whatever reads the file need not know.
    """
    import anndata as ad
    import numpy as np
    from scipy import sparse

    source = None
    if best.prompt is not None:
        source = read_predictions(best.iteration.file("predictions.h5ad"))
    genes = [str(name) for name in source.var_names] if source is not None else []
    obs = _obs(source, query, best)
    if source is None:
        matrix, mean = sparse.csr_matrix((0, 0), dtype=np.float32), np.zeros((0, 0), dtype=np.float32)
    else:
        matrix, mean = sparse.csr_matrix(source.X), source.layers["mean"]
    adata = ad.AnnData(X=matrix, obs=obs, var=_var(genes, query, best, de), layers={"mean": mean})
    prompt_id = best.prompt.prompt_id if best.prompt else ""
    adata.uns = {
        "run_id": run_id,
        "query": json.dumps(query.model_dump(mode="json"), ensure_ascii=False),
        "config": json.dumps(settings.model_dump(mode="json"), ensure_ascii=False),
        "iterations": json.dumps([item.model_dump(mode="json", by_alias=True) for item in history], ensure_ascii=False),
        "enrichment_results": _records(enrichment[enrichment["prompt_id"] == prompt_id]),
        "best_prompt_id": prompt_id,
        "p_values": "describe the model's sampling of generated cells, not donors",
    }
    if source is not None and "inference" in source.uns:
        adata.uns["inference"] = source.uns["inference"]
    return adata


def inference_facts(predictions: ad.AnnData) -> dict[str, Any]:
    """What the inference job wrote about itself (a JSON text in `uns["inference"]`); empty where it wrote nothing."""
    facts = predictions.uns.get("inference")
    if isinstance(facts, str):
        facts = json.loads(facts)
    return dict(facts) if facts else {}


def _obs(source: ad.AnnData | None, query: StructuredQuery, best: Best) -> pd.DataFrame:
    import pandas as pd

    prompts = best.iteration.prompts.prompts
    scores = best.iteration.grounding.prompts
    strategy = {prompt.prompt_id: "+".join(prompt.strategies) for prompt in prompts}
    score = {item.prompt_id: item.composite_value for item in scores}
    columns = ["role", "prompt_id", "query_cell_id", "gen_logit"]
    given = pd.DataFrame(columns=columns) if source is None else source.obs
    prompt_id = given["prompt_id"].astype(object)
    names = [str(name) for name in given.index]
    if len(set(names)) < len(names):
        names = [f"{name}-{position}" for position, name in enumerate(names)]
    obs = pd.DataFrame({"cell_id": names}, index=pd.Index(names, dtype=object))
    obs["role"] = _category(given["role"].astype(object).tolist())
    obs["prompt_id"] = _category(prompt_id.tolist())
    obs["task_type"] = _category([query.task_type.value] * len(names))
    for column in ("cell_type_query", "perturbation_query", "target_donor_id", "target_tissue", "target_disease_state"):
        obs[column] = _category([getattr(query, column)] * len(names))
    obs["prompt_strategy"] = _category([strategy.get(item) for item in prompt_id])
    obs["iteration"] = pd.array([best.iteration.number] * len(names), dtype="int64")
    obs["grounding_score"] = pd.array([score.get(item) for item in prompt_id], dtype="Float64").to_numpy(
        dtype="float64", na_value=float("nan")
    )
    obs["query_cell_id"] = _category(given["query_cell_id"].astype(object).tolist())
    obs["gen_logit"] = given["gen_logit"].to_numpy(dtype="float64")
    return obs


def _var(genes: list[str], query: StructuredQuery, best: Best, de: pd.DataFrame) -> pd.DataFrame:
    import pandas as pd

    rows = de[de["prompt_id"] == (best.prompt.prompt_id if best.prompt else "")]
    rows = rows.drop_duplicates("gene").set_index("gene").reindex(genes)
    var = pd.DataFrame({"gene_symbol": genes}, index=pd.Index(genes, dtype=object))
    for column in ("log2fc", "se", "lfsr", "pval", "padj"):
        var[f"predicted_{column}"] = rows[column].to_numpy(dtype="float64")
    var["is_de"] = rows["is_de"].eq(True).to_numpy(dtype=bool)
    targets = expected_genes(query)
    var["target_gene"] = [gene in targets for gene in genes]
    var["in_model"] = ~rows["in_model"].eq(False).to_numpy(dtype=bool)
    return var


def expected_genes(query: StructuredQuery) -> set[str]:
    """Genes that knowledge expects to move (perturbational) or to mark the cells (observational)."""
    main = query.asked.perturbation
    expected = set(main.expected_targets) if main else set()
    return expected if query.task_type.is_perturbational else expected | set(query.asked.cells.markers)


def _category(values: list[Any]) -> Any:
    """Strings with real missing values."""
    import pandas as pd

    missing = [value is None or value != value for value in values]
    texts = [None if gone else str(value) for value, gone in zip(values, missing, strict=True)]
    return pd.Categorical(texts, categories=sorted({text for text in texts if text is not None}))


def _records(frame: pd.DataFrame) -> str:
    """Rows as a JSON text; missing and infinite numbers are null."""
    return str(frame.to_json(orient="records", double_precision=15))
