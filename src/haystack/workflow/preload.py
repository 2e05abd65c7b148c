"""Import the libraries of the stages, and read common tables, once for all of them.

Imported by the process from which stages are forked (`haystack.workflow.warm`); its forks share the memory. What cannot
be read is left to the stage that needs it, which reports the error.
"""

from __future__ import annotations

import atexit
import gc
import pkgutil
from contextlib import suppress
from importlib import import_module

LIBRARIES = (
    "snakemake.script",
    "threadpoolctl",
    "scipy.optimize",
    "scipy.stats",
    "h5py",
    "pyarrow.dataset",
    "pyarrow.pandas_compat",
    "pyarrow.parquet",
    "pandas.core.arrays.arrow.extension_types",
    "duckdb",
    "anndata",
    "rapidfuzz",
    "scanpy",
    "scranpy",
    "sklearn.decomposition",
)
MODULES = ("inference.predict", "inference.baselines")
PACKAGES = (
    "query",
    "atlas",
    "retrieval",
    "prompting",
    "transfer",
    "inference.models",
    "grounding",
    "loop",
    "report",
)
"""own packages; all their modules are imported, none of which imports torch"""
QUESTION = "How would lung fibroblasts respond to TGF-beta treatment?"
"""any question: parsing it reads the tables of names"""


def load() -> None:
    """Import, read, and exclude the objects from the forks' garbage collection.

    Hardly anything of it is garbage: collecting once, at the end, takes a quarter less time than collecting on the way.
    """
    gc.disable()
    for name in (*LIBRARIES, *(f"haystack.{module}" for module in MODULES)):
        import_module(name)
    for package in PACKAGES:
        parent = import_module(f"haystack.{package}")
        for module in pkgutil.walk_packages(parent.__path__, parent.__name__ + "."):
            import_module(module.name)
    _read_tables()
    gc.collect()
    gc.freeze()
    atexit.register(gc.unfreeze)  # else DuckDB reports its own objects as leaked


def _read_tables() -> None:
    from haystack.grounding.symbols import current
    from haystack.internals import gseapy
    from haystack.knowledge.genetic import ensembl_ids
    from haystack.knowledge.retired import current_symbols
    from haystack.ontology.index import ontology
    from haystack.query import parse_question
    from haystack.report.provenance import package_versions
    from haystack.report.template import load_templates
    from haystack.specs import COMPONENTS, MODELS, STORAGES, STRATEGIES

    gseapy()
    parse_question(QUESTION)
    for name in ("CL", "UBERON", "MONDO"):
        _ = ontology(name).children
    for registry in (COMPONENTS, MODELS, STORAGES, STRATEGIES):
        registry.names()
    current("STAT3")
    current_symbols()
    ensembl_ids([])
    package_versions()
    load_templates()


try:
    with suppress(Exception):
        load()
finally:
    gc.enable()
