"""Read obs or var as a data frame that any version of anndata can write."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from haystack.atlas.columns import index_name, n_rows, read_names, texts

if TYPE_CHECKING:
    import pandas as pd

    from haystack.atlas.store import Store


def read_frame(store: Store, frame: str) -> pd.DataFrame:
    """All columns of `obs`, `var` or `raw/var`, in the file's order; nullable texts become categories.

    Raises
    ------
    AtlasError
        for a column of a kind that is not known.
    """
    import pandas as pd

    n = n_rows(store, frame)
    index = pd.Index(read_names(store, frame, 0, n), dtype=object)
    hidden = {index_name(store, frame), "__categories"}
    order = store.root[frame].attrs.get("column-order")
    known = [key for key in store.keys(frame) if key not in hidden]
    ordered = texts(np.asarray(order, dtype=object)) if order is not None and len(order) else []
    names = [name for name in ordered if name in known] + [name for name in known if name not in ordered]
    return pd.DataFrame({name: _column(store, frame, name) for name in names}, index=index)


def _column(store: Store, frame: str, name: str) -> Any:
    import pandas as pd

    key = f"{frame}/{name}"
    node = store.root[key]
    if store.is_group(key) and "codes" in node:
        ordered = bool(store.attribute(key, "ordered"))
        return pd.Categorical.from_codes(np.asarray(node["codes"][:]), _unique(node["categories"][:]), ordered=ordered)
    if f"{frame}/__categories/{name}" in store.root:
        categories = store.root[f"{frame}/__categories/{name}"]
        return pd.Categorical.from_codes(np.asarray(node[:]), _unique(categories[:]))
    if store.is_group(key) and "values" in node:
        values, mask = np.asarray(node["values"][:]), np.asarray(node["mask"][:], dtype=bool)
        if values.dtype.kind in "OSUT":
            words = np.array(texts(values.astype(object)), dtype=object)
            words[mask] = None
            return pd.Categorical(words)
        kind = pd.arrays.BooleanArray if values.dtype.kind == "b" else None
        if kind is not None:
            return kind(values, mask)
        maker = pd.arrays.IntegerArray if values.dtype.kind in "iu" else pd.arrays.FloatingArray
        return maker(values, mask)
    if store.is_group(key):
        raise store.error(
            f"{key} is of a kind that is not known here ({store.attribute(key, 'encoding-type')}); drop it"
        )
    values = np.asarray(node[:])
    return np.array(texts(values.astype(object)), dtype=object) if values.dtype.kind in "OSUT" else values


def _unique(categories: Any) -> pd.Index:
    """Categories as they are; texts decoded."""
    import pandas as pd

    values = np.asarray(categories)
    return pd.Index(texts(values.astype(object)), dtype=object) if values.dtype.kind in "OSUT" else pd.Index(values)
