"""Import what stages need, and read the tables that most of them ask, once for all of them.

The process from which stages are forked (`haystack.workflow.warm`) imports this module; its forks share what is read
here. Nothing else imports it. What cannot be read is left to the stage that needs it, which says so.
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
    "pyarrow.parquet",
    "duckdb",
    "anndata",
    "rapidfuzz",
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
"""of ours: all their modules, none of which imports torch"""
QUESTION = "How would lung fibroblasts respond to TGF-beta treatment?"
"""any one: reading it reads the tables of names"""


def load() -> None:
    """Import, read, and keep the garbage collector of the forks away from it."""
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
    from haystack.knowledge.genetic import ensembl_symbols
    from haystack.knowledge.retired import current_symbols
    from haystack.ontology.index import ontology
    from haystack.query import parse_question
    from haystack.specs import COMPONENTS, MODELS, STORAGES, STRATEGIES

    gseapy()
    parse_question(QUESTION)
    for name in ("CL", "UBERON", "MONDO"):
        _ = ontology(name).children
    for registry in (COMPONENTS, MODELS, STORAGES, STRATEGIES):
        registry.names()
    current("STAT3")
    current_symbols()
    ensembl_symbols()


with suppress(Exception):
    load()
