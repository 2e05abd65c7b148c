"""Describe briefly how two files of the same name differ."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import anndata as ad
    import pandas as pd

MOST = 5
"""largest number of fields named"""
ABSENT = object()


def describe_difference(first: Path, second: Path) -> str:
    """Differences between two files: cells, tables by column, JSON by field; else "other bytes".

    Parameters
    ----------
    first, second
        two files of the same name: `.h5ad`, `.json`, `.csv` or `.parquet`.
    """
    match first.suffix:
        case ".h5ad":
            return _cells(first, second)
        case ".json":
            return _fields(json.loads(first.read_text("utf-8")), json.loads(second.read_text("utf-8")))
        case ".csv" | ".parquet":
            return _table(_read_table(first), _read_table(second)) or "equal values, other bytes"
    return "other bytes"


def _cells(first: Path, second: Path) -> str:
    import anndata as ad

    one, two = ad.read_h5ad(first), ad.read_h5ad(second)
    if one.shape != two.shape:
        return f"{one.n_obs} cells x {one.n_vars} genes, now {two.n_obs} x {two.n_vars}"
    differing = [f"layers: {name}" for name in sorted(set(one.layers) ^ set(two.layers))]
    differing += [] if _equal(one.X, two.X) else ["X"]
    differing += [
        f"layers: {name}"
        for name in sorted(set(one.layers) & set(two.layers))
        if not _equal(one.layers[name], two.layers[name])
    ]
    for part in ("obs", "var"):
        found = _table(getattr(one, part), getattr(two, part))
        differing += [f"{part}: {found}"] if found else []
    other = _metadata(one, two)
    if differing:
        return f"other cells ({'; '.join(differing)})" + (f", other metadata ({other})" if other else "")
    return f"equal cells, other metadata ({other})" if other else "equal cells, other bytes"


def _metadata(one: ad.AnnData, two: ad.AnnData) -> str:
    first, second = _parsed(dict(one.uns)), _parsed(dict(two.uns))
    return "" if first == second else f"uns {_fields(first, second)}"


def _parsed(value: Any) -> Any:
    """Parse JSON texts and tables."""
    if hasattr(value, "to_json"):
        return json.loads(value.to_json(orient="split"))
    if isinstance(value, dict):
        return {str(name): _parsed(item) for name, item in value.items()}
    if isinstance(value, str) and value[:1] in {"{", "["}:
        try:
            return json.loads(value)
        except ValueError:
            return value
    return value.tolist() if hasattr(value, "tolist") else value


def _equal(one: Any, two: Any) -> bool:
    import numpy as np
    from scipy import sparse

    first, second = (item.toarray() if sparse.issparse(item) else np.asarray(item) for item in (one, two))
    return bool(np.array_equal(first, second, equal_nan=True))


def _read_table(path: Path) -> pd.DataFrame:
    import pandas as pd

    return pd.read_csv(path) if path.suffix == ".csv" else pd.read_parquet(path)


def _table(one: pd.DataFrame, two: pd.DataFrame) -> str:
    """Columns that differ; empty if none does."""
    if len(one) != len(two):
        return f"{len(one)} rows, now {len(two)}"
    only = sorted(set(one.columns) ^ set(two.columns))
    differing = [str(name) for name in one.columns if name in two and not one[name].equals(two[name])]
    if not (only or differing or one.index.equals(two.index)):
        return "other row names"
    return _some([*map(str, only), *differing])


def _fields(one: Any, two: Any) -> str:
    return _some(list(_differing(one, two, ""))) or "equal values, other bytes"


def _differing(one: Any, two: Any, where: str) -> Iterator[str]:
    """Dotted names of the values that differ."""
    if one == two:
        return
    if isinstance(one, dict) and isinstance(two, dict):
        for name in sorted(set(one) | set(two)):
            yield from _differing(one.get(name, ABSENT), two.get(name, ABSENT), f"{where}.{name}".lstrip("."))
    elif isinstance(one, list) and isinstance(two, list) and len(one) == len(two):
        for number, (first, second) in enumerate(zip(one, two, strict=True)):
            yield from _differing(first, second, f"{where}[{number}]")
    else:
        yield where or "content"


def _some(names: list[str]) -> str:
    more = len(names) - MOST
    return ", ".join(names[:MOST]) + (f" and {more} more" if more > 0 else "")
