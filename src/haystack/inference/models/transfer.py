"""The transparent estimate from all cells that measured the perturbation (haystack.transfer), as cells."""

from __future__ import annotations

from typing import TYPE_CHECKING

from haystack.inference.models._baseline import licences
from haystack.specs import ModelSpec

if TYPE_CHECKING:
    from haystack.inference.prediction import Prediction, Request

NAME = "transfer.parquet"


def predict(request: Request) -> Prediction:
    """Give the query cells the mean expression that the estimate says; every prompt gets the same."""
    import numpy as np

    from haystack.contracts import TRANSFER, PredictionRole, read_table
    from haystack.errors import ModelError
    from haystack.inference.change import changed, mean_cp10k
    from haystack.inference.prediction import Prediction, job_seed

    table = read_table(request.files[NAME], TRANSFER, ["gene", "perturbed", "control"])
    if table.empty:
        raise ModelError(
            f"model.kind transfer: {request.files[NAME]} has no genes, because no atlas measures the perturbation or a "
            "related one beside control cells of the same cell type. Add such an atlas, or choose another model.kind"
        )
    position = {gene: i for i, gene in enumerate(request.genes)}
    at = np.array([position.get(gene, -1) for gene in table["gene"]])
    shown = at >= 0
    gain = (table["perturbed"] - table["control"]).to_numpy(float)
    made = []
    for prompt in request.prompts:
        wanted = mean_cp10k(prompt.query)
        wanted[at[shown]] = np.maximum(wanted[at[shown]] + gain[shown], 0)
        rng = np.random.default_rng(job_seed(request.seed, prompt.prompt_id, 0))
        made.append({PredictionRole.PERTURBED: changed(prompt.query, wanted, rng)})
    return Prediction(made)


SPEC = ModelSpec(
    name="transfer",
    title="transfer (measured responses of all contexts, combined)",
    description="random-effects mean of the measured responses and a ridge on gene features, given to the query cells",
    predict=predict,
    licences=licences("transfer"),
    exam=False,
    sees_all=True,
    needs=(NAME,),
    order=15,
)
