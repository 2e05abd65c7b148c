"""Table contracts: columns, dtypes and units of every Parquet file that passes between rules."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from haystack.errors import ContractError
from haystack.files import whole_file

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Column:
    """One column. `kind`: str, int, float or bool."""

    name: str
    kind: str
    description: str
    nullable: bool = False


@dataclass(frozen=True)
class Table:
    """A named set of columns, in order."""

    name: str
    columns: tuple[Column, ...]

    @property
    def names(self) -> list[str]:
        """Column names in order."""
        return [column.name for column in self.columns]


_LABELS = (
    Column("cell_type_cl_id", "str", "Cell Ontology id", nullable=True),
    Column("cell_type_name", "str", "Cell Ontology label, or the original label where unmapped", nullable=True),
    Column("perturbation_name", "str", "canonical name; null where nothing was done (control or observational)", True),
    Column("perturbation_type", "str", "drug, cytokine, genetic, unknown; null with perturbation_name", True),
    Column("is_control", "bool", "control cells of a perturbation atlas; true for all cells of an observational one"),
    Column("tissue_uberon_id", "str", "UBERON id", nullable=True),
    Column("tissue_name", "str", "UBERON label, or the original label where unmapped", nullable=True),
    Column("donor_id", "str", "`{atlas}:{label}`", nullable=True),
    Column("disease_mondo_id", "str", "MONDO id, PATO:0000461 for healthy", nullable=True),
    Column("disease_name", "str", "label of disease_mondo_id, or the original label where unmapped", nullable=True),
    Column("sample_condition", "str", "dose, time or other condition of the sample, as in the atlas", nullable=True),
    Column("age_category", "str", "age group, as in the atlas", nullable=True),
    Column("sex", "str", "as in the atlas", nullable=True),
)

CELLS = Table(
    "cells.parquet",
    (
        Column("row", "int", "position in the atlas's matrix, from 0"),
        Column("cell_type_original", "str", "label of the atlas", nullable=True),
        Column("perturbation_original", "str", "label of the atlas", nullable=True),
        *_LABELS,
        Column("n_genes", "int", "genes with a count; null where counts were not read", nullable=True),
        Column("total_counts", "float", "sum of counts; null where counts were not read", nullable=True),
    ),
)

CELL_SETS = Table(
    "cell_sets.parquet",
    (
        Column("cell_set_id", "str", "`cs_` + 12 hex digits of the hash of the keys"),
        Column("atlas", "str", "name of the atlas"),
        *_LABELS,
        Column("n_cells", "int", "cells in the set"),
        Column("mean_n_genes", "float", "mean of n_genes", nullable=True),
        Column("mean_total_counts", "float", "mean of total_counts", nullable=True),
    ),
)

DE = Table(
    "de.parquet",
    (
        Column("prompt_id", "str", "prompt"),
        Column("gene", "str", "gene symbol"),
        Column("log2fc", "float", "log2((mean CP10k perturbed + c) / (mean CP10k control + c))", nullable=True),
        Column("se", "float", "expected error of log2fc: see grounding.calls", nullable=True),
        Column("lfsr", "float", "local false sign rate: probability that the true sign is another", nullable=True),
        Column("low", "float", "lower end of the 90% interval of log2fc", nullable=True),
        Column("high", "float", "upper end", nullable=True),
        Column("pval", "float", "two-sided p-value over generated cells: the model's sampling, not donors", True),
        Column("padj", "float", "the same, adjusted within the prompt over tested genes", nullable=True),
        Column("mean_perturbed", "float", "mean CP10k", nullable=True),
        Column("mean_control", "float", "mean CP10k", nullable=True),
        Column("in_model", "bool", "false: the model does not hold the gene, nothing was tested"),
        Column("is_de", "bool", "called: |log2fc| >= de.log2fc and lfsr <= de.lfsr"),
    ),
)

LEFT_OUT = Table(
    "left_out.parquet",
    (
        Column("context_id", "str", "measured context that was left out"),
        Column("gene", "str", "gene symbol"),
        Column("truth", "float", "measured log2fc, against control cells that no prediction saw"),
        Column("transfer", "float", "log2fc predicted from independent contexts"),
        Column("additive", "float", "log2fc of the nearest of them"),
    ),
)

SAMPLING = {"pval": "sampling_pval", "padj": "sampling_padj"}
"""column of DE -> its name in the CSV, which people read without this table"""
FROM_CSV = {name: column for column, name in SAMPLING.items()}

ENRICHMENT = Table(
    "enrichment.parquet",
    (
        Column("prompt_id", "str", "prompt"),
        Column("method", "str", "ora, gsea, or ulm (TF activity)"),
        Column("library", "str", "gene set library or regulon table"),
        Column("term", "str", "gene set name or TF symbol"),
        Column("direction", "str", "up or down: the side of the DE genes (ora), the sign of the score (gsea, ulm)"),
        Column("statistic", "float", "odds ratio (ora), normalised enrichment score (gsea), t (ulm)", nullable=True),
        Column("pval", "float", "p-value", nullable=True),
        Column("padj", "float", "Benjamini-Hochberg within prompt, method, library and direction", nullable=True),
        Column("n_overlap", "int", "DE genes in the set (ora), leading edge (gsea), targets measured (ulm)"),
        Column("n_set", "int", "genes of the set within the background"),
        Column("genes", "str", "the overlapping or leading-edge genes, `;` between, sorted"),
    ),
)

TRANSFER = Table(
    "transfer.parquet",
    (
        Column("gene", "str", "gene symbol"),
        Column("log2fc", "float", "estimated log2((CP10k perturbed + c) / (CP10k control + c)) in the query cells"),
        Column("se", "float", "standard error of log2fc in a new context: sampling and differences between contexts"),
        Column("lfsr", "float", "local false sign rate: posterior probability that the sign is not that of log2fc"),
        Column("low", "float", "lower end of the 90% interval of log2fc"),
        Column("high", "float", "upper end"),
        Column("additive", "float", "log2fc of the nearest measured cell type, mean over its donors"),
        Column("control", "float", "mean CP10k of the query cells"),
        Column("perturbed", "float", "mean CP10k that log2fc makes of them, not negative"),
        Column("sign_agreement", "float", "share of the contexts whose log2fc has the same sign"),
    ),
)


def write_table(path: str | Path, frame: pd.DataFrame, table: Table) -> None:
    """Check against the contract and write Parquet (zstd) atomically, rows in the given order."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    checked = check_table(frame, table, path)
    with whole_file(path) as temporary:
        pq.write_table(pa.Table.from_pandas(checked, preserve_index=False), temporary, compression="zstd")


def read_table(path: str | Path, table: Table, columns: Sequence[str] | None = None) -> pd.DataFrame:
    """Read (some columns of) a Parquet file and check them against the contract."""
    import pandas as pd

    path = Path(path)
    if not path.exists():
        raise ContractError(f"{path}: no such file (expected {table.name})")
    try:
        frame = pd.read_parquet(path, columns=list(columns) if columns else None)
    except Exception as error:
        raise ContractError(f"{path}: not a complete Parquet file ({error}); delete it and run again") from error
    wanted = table if columns is None else Table(table.name, tuple(c for c in table.columns if c.name in set(columns)))
    return check_table(frame, wanted, path)


def check_table(frame: pd.DataFrame, table: Table, path: str | Path) -> pd.DataFrame:
    """The frame with only the contract's columns, in order.

    Raises
    ------
    ContractError
        naming the file, the column, and the fault.
    """
    import pandas as pd

    missing = [name for name in table.names if name not in frame.columns]
    if missing:
        raise ContractError(
            f"{path}: {table.name} lacks {', '.join(missing)}; found {', '.join(map(str, frame.columns))}"
        )
    for column in table.columns:
        values = frame[column.name]
        if not column.nullable and bool(values.isna().any()):
            raise ContractError(f"{path}: {column.name} ({column.description}) has missing values")
        if not _is_kind(values, column.kind, pd):
            raise ContractError(f"{path}: {column.name} should hold {column.kind}, found {values.dtype}")
    return frame[table.names]


def _is_kind(values: pd.Series, kind: str, pd: object) -> bool:
    from pandas.api import types

    if values.isna().all():
        return True
    if kind == "str":
        inner = values.cat.categories if isinstance(values.dtype, types.CategoricalDtype) else values
        return bool(types.is_string_dtype(inner) or types.is_object_dtype(inner))
    if kind == "bool":
        return bool(types.is_bool_dtype(values))
    if kind == "int":
        return bool(types.is_integer_dtype(values)) or (
            bool(types.is_float_dtype(values)) and bool((values.dropna() % 1 == 0).all())
        )
    return bool(types.is_numeric_dtype(values)) and not bool(types.is_bool_dtype(values))
