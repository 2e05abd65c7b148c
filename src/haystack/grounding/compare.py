"""Score and validate any two sets of cells: what `haystack ground`, `haystack validate` and their Python names call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from haystack.config import Settings, load_settings
from haystack.errors import GroundingError

if TYPE_CHECKING:
    import anndata as ad

    from haystack.contracts import PromptGrounding


def ground(
    question: str,
    perturbed: str | Path | ad.AnnData,
    control: str | Path | ad.AnnData,
    settings: Settings | Mapping[str, Any] | None = None,
) -> PromptGrounding:
    """Score perturbed against control cells for a question: predictions of any model, or observed data.

    Parameters
    ----------
    perturbed, control
        h5ad file or AnnData, cells x genes, raw counts in X.
    settings
        as in `config/config.yaml`; the built-in ones if absent.

    Raises
    ------
    HaystackError
        if the question cannot be read, or cells hold no raw counts or share too few genes.
    """
    from haystack.grounding.cells import align_all, read_counts
    from haystack.grounding.ground import ground_cells, load_evidence
    from haystack.query import parse_question

    used = _settings(settings)
    query = parse_question(question, used.query, offline=used.offline)
    given = {"perturbed": perturbed, "control": control}
    cells = align_all({name: read_counts(one, name) for name, one in given.items()})
    return ground_cells(query, cells["perturbed"], cells["control"], load_evidence(used))


def validate(
    predicted: str | Path | ad.AnnData,
    observed: str | Path | ad.AnnData,
    control: str | Path | ad.AnnData,
    *,
    predicted_control: str | Path | ad.AnnData | None = None,
    reference: str | Path | ad.AnnData | None = None,
    reference_control: str | Path | ad.AnnData | None = None,
    others: Sequence[str | Path | ad.AnnData] = (),
    settings: Settings | Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Compare predicted with observed perturbed cells by the field's metrics, beside baselines and nulls.

    Parameters
    ----------
    predicted, observed, control
        predicted and measured perturbed cells, and the control cells of the truth: h5ad file or AnnData, raw counts.
    predicted_control
        predicted control cells, if there are any.
    reference, reference_control
        perturbed and control cells of another cell type, for the baselines; both or neither.
    others
        the same cells under other perturbations, two or more: scores what is specific to this one.

    Raises
    ------
    GroundingError
        if cells hold no raw counts, share too few genes, or one of a pair is missing.
    """
    from haystack.grounding.cells import align_all, read_counts
    from haystack.grounding.validation import validate_cells

    used = _settings(settings)
    if (reference is None) != (reference_control is None):
        raise GroundingError("give both reference and reference control, or neither")
    if len(others) == 1:
        raise GroundingError("other: a single other perturbation cannot show what is shared; give two or more, or none")
    given = {
        "predicted": predicted,
        "observed": observed,
        "control": control,
        "predicted_control": predicted_control,
        "reference": reference,
        "reference_control": reference_control,
    }
    named = {name: one for name, one in given.items() if one is not None}
    named |= {f"other {number}": one for number, one in enumerate(others, 1)}
    cells = align_all({name: read_counts(one, name) for name, one in named.items()})
    apart = [cells.pop(f"other {number}") for number in range(1, len(others) + 1)]
    return validate_cells(**cells, others=apart, de=used.de, seed=used.seed)


def _settings(given: Settings | Mapping[str, Any] | None) -> Settings:
    return given if isinstance(given, Settings) else load_settings(dict(given or {}))
