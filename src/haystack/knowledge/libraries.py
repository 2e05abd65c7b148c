"""Gene set libraries by name: downloaded once, stored with their provenance beside the results, then read offline.

`enrichr:Reactome_Pathways_2024` and `msigdb:h.all` (or `msigdb:h.all.v2024.1.Hs`) name the files of gseapy's
`get_library` and `Msigdb`. They are downloaded here from the same addresses, because gseapy's downloads have no
timeout, do not detect truncated answers, and leave files in the user's home.
"""

from __future__ import annotations

import hashlib
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from haystack.contracts import write_json
from haystack.contracts.runlog import LibraryLog
from haystack.errors import ConfigError
from haystack.files import write_text
from haystack.http import Answer, BadAnswerError, Service, Web
from haystack.knowledge.tables import KnowledgeError

FOLDER = "results/genesets"
MSIGDB_RELEASE = "2024.1.Hs"
"""release of MSigDB if the address names none"""


@dataclass(frozen=True)
class Source:
    """A database of gene set libraries."""

    service: Service
    path: str
    """below the service's address, with {name} and {version}"""
    licence: str
    citation: str
    doi: str
    release: str | None = None


SOURCES: Mapping[str, Source] = {
    "enrichr": Source(
        Service("Enrichr", "https://maayanlab.cloud/Enrichr", per_second=1),
        "geneSetLibrary?mode=text&libraryName={name}",
        "Enrichr: free for academic, non-profit use; the library keeps the licence of its own source.",
        "Xie Z, Bailey A, Kuleshov MV, et al. Gene set knowledge discovery with Enrichr. Current Protocols (2021).",
        "10.1002/cpz1.90",
    ),
    "msigdb": Source(
        Service("MSigDB", "https://data.broadinstitute.org/gsea-msigdb/msigdb/release", per_second=1),
        "{version}/{name}.v{version}.symbols.gmt",
        "MSigDB: CC BY 4.0; sets from BioCarta and KEGG have further terms of their own.",
        "Liberzon A, Subramanian A, Pinchback R, et al. Molecular signatures database (MSigDB) 3.0. "
        "Bioinformatics (2011).",
        "10.1093/bioinformatics/btr260",
        MSIGDB_RELEASE,
    ),
}
NOT_KEPT = "{path} is absent: run once with offline: false, which fetches {address}, or put a GMT file there"
_ADDRESS = re.compile(rf"({'|'.join(SOURCES)}):(.*)")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.\-]*")


@dataclass(frozen=True)
class NamedLibrary:
    """A library of a public database."""

    address: str
    """as the config names it"""
    source: str
    name: str
    version: str | None

    @property
    def stem(self) -> str:
        """Its file name in `results/genesets` without extension."""
        return f"{self.source}.{self.name}" + (f".v{self.version}" if self.version else "")


def named_library(text: str) -> NamedLibrary | None:
    """The library of an entry of `enrichment.libraries`; None for a path.

    Raises
    ------
    ConfigError
        for an impossible name.
    """
    match = _ADDRESS.fullmatch(text)
    if match is None:
        return None
    source, name = match[1], match[2]
    release = SOURCES[source].release
    if not _NAME.fullmatch(name):
        raise ConfigError(
            f"config: enrichment.libraries: '{text}': '{name}' is not the name of a library; expected a name such as "
            "enrichr:Reactome_Pathways_2024 or msigdb:h.all"
        )
    if release:
        name, _, given = name.partition(".v")
        return NamedLibrary(text, source, name, given or release)
    return NamedLibrary(text, source, name, None)


def library_file(text: str) -> str:
    """GMT file of an entry of `enrichment.libraries`: the path itself, or the stored copy of a named library."""
    library = named_library(text)
    return f"{FOLDER}/{library.stem}.gmt" if library else text


def download_gene_sets(address: str, out: Path, out_provenance: Path, sources: Mapping[str, Source] = SOURCES) -> None:
    """Download a named library; write it unchanged with its provenance (contract `LibraryLog`).

    Parameters
    ----------
    address
        such as `msigdb:h.all`.
    sources
        addresses of the databases.

    Raises
    ------
    KnowledgeError
        if the database lacks the library, or returns no complete GMT file.
    """
    library = named_library(address)
    if library is None:
        raise KnowledgeError(f"enrichment.libraries: '{address}' names no library; known: {', '.join(SOURCES)}:NAME")
    source = sources[library.source]
    path = source.path.format(name=library.name, version=library.version)
    with tempfile.TemporaryDirectory() as cache, Web(Path(cache), offline=False) as web:
        text = web.get(source.service, path, read=_gmt)
    if text is None:
        raise KnowledgeError(
            f"enrichment.libraries: {source.service.name} has no library for '{address}'; correct the name, or put a "
            f"GMT file at {out}"
        )
    write_text(out, text)
    record = LibraryLog(
        address=address,
        url=f"{source.service.base_url}/{path}",
        version=library.version or library.name,
        sha256=hashlib.sha256(text.encode()).hexdigest(),
        n_sets=len(text.splitlines()),
        licence=source.licence,
        citation=source.citation,
        doi=source.doi,
    )
    write_json(out_provenance, record)


def _gmt(answer: Answer) -> str:
    """The body as lines of a GMT file, without blank ones."""
    lines = [line for line in answer.text.splitlines() if line.strip()]
    if not lines:
        raise BadAnswerError("an empty file")
    for number, line in enumerate(lines, 1):
        if len(line.split("\t")) < 3:
            raise BadAnswerError(f"line {number} is no line of a GMT file: {line[:60]!r}")
    return "\n".join(lines) + "\n"
