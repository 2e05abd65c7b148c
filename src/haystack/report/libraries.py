"""Gene set libraries with their origin, and links to gene sets."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from haystack.contracts.runlog import GeneSetLog, LibraryLog
from haystack.knowledge.libraries import library_file
from haystack.report.words import count, listed

BUILT_IN = "haystack.gmt"
"""file name of the library in resources/genesets"""
_PAGES = (
    (r"R-HSA-\d+", "https://reactome.org/content/detail/{}"),
    (r"GO:\d{7}", "https://amigo.geneontology.org/amigo/term/{}"),
    (r"WP\d+", "https://www.wikipathways.org/pathways/{}.html"),
    (r"hsa\d{5}", "https://www.kegg.jp/entry/{}"),
)
"""identifiers in the name or source of a set, and their pages"""
_MSIGDB = re.compile(r"[A-Z0-9]+(_[A-Z0-9]+)+")


def gene_set_logs(
    files: Mapping[str, Path], terms: Collection[str], fetched: Sequence[LibraryLog] = ()
) -> list[GeneSetLog]:
    """Log entries of libraries (name -> GMT file; absent files are left out), with sources of `terms` only."""
    names = {Path(library_file(item.address)).name: item for item in fetched}
    logs = []
    for name, path in sorted(files.items()):
        if not path.exists():
            continue
        with path.open(encoding="utf-8") as lines:
            rows = [line.rstrip("\n").split("\t") for line in lines if line.strip()]
        known = names.get(path.name)
        origin = f"{known.address}, version {known.version}" if known else f"read from {path.name}"
        if path.name == BUILT_IN:
            origin = "written for this project"
        sources = {row[0]: row[1] for row in rows if row[0] in terms and len(row) > 1 and row[1]}
        logs.append(GeneSetLog(name=name, n_sets=len(rows), origin=origin, sources=sources))
    return logs


def libraries_text(libraries: Sequence[GeneSetLog]) -> str:
    """`Gene sets: haystack (written for this project, 68 sets).`; empty if unknown."""
    names = [f"{item.name} ({item.origin}, {count(item.n_sets, 'set')})" for item in libraries]
    return f"Gene sets: {listed(names)}." if names else ""


def set_url(term: str, source: str | None = None) -> str | None:
    """Page of a gene set, from the identifier in its name or source, or its MSigDB name; None without either."""
    for text in (term, source or ""):
        for pattern, page in _PAGES:
            if match := re.search(rf"(?<![A-Za-z0-9]){pattern}(?![A-Za-z0-9])", text):
                return page.format(match[0])
    if _MSIGDB.fullmatch(term):
        return f"https://www.gsea-msigdb.org/gsea/msigdb/human/geneset/{term}.html"
    return source if source and re.fullmatch(r"https?://[^\s\"<>]+", source) else None
