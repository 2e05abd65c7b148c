"""Search papers on the genes of a prediction: query all services, merge, read, and report failures."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from haystack.config import LiteratureSettings
from haystack.contracts import DE, StructuredQuery, read_json, read_table, write_json
from haystack.contracts.literature import Evidence, Literature, Paper, ServiceReport
from haystack.http import Web
from haystack.literature import europepmc, preprints, pubmed, semantic_scholar
from haystack.literature.evidence import Texts, evidence_of, names_topic, verdicts
from haystack.literature.fulltext import FullTexts
from haystack.literature.records import Merged, Record, citation, merge
from haystack.literature.services import Access, Services, Tally
from haystack.literature.topic import Topic, choose_genes, gene_names, topic_of

MANY = 25
"""papers requested where one request covers all genes"""
PREPRINTS_LOOKED_UP = 10
"""preprints whose journal version is looked up at most"""
NO_IDS: tuple[list[str], int] = ([], -1)
NO_RECORDS: list[Record] = []


def search_literature(
    query: Path,
    de: Path,
    out: Path,
    settings: LiteratureSettings,
    offline: bool,
    cache_dir: Path,
    *,
    services: Services | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Write `literature.json` (contract `Literature`) for the question and the DE table of an iteration.

    Failing services never raise an error: they are named in the file, and without any answer it contains `evaluated:
    false` and the reason.

    Parameters
    ----------
    query, de
        `query.json` and `de.parquet`.
    offline
        true: only answers in `cache_dir` are used, no socket is opened.
    cache_dir
        folder of cached answers, beside the run.
    services, sleep
        replaced by tests; otherwise the public services, and real pauses.

    Raises
    ------
    ContractError
        for an invalid input file.
    """
    question = read_json(query, StructuredQuery)
    table = read_table(de, DE)
    topic = topic_of(question, choose_genes(question, table, settings.genes))
    if not settings.enabled:
        result = _not_evaluated("literature search is off (config: literature.enabled)", topic)
    elif topic is None:
        result = _not_evaluated("the question names no perturbation that papers could be searched for", None)
    elif not topic.genes:
        result = _not_evaluated("no gene to look up: none is expected or predicted to change", topic)
    else:
        access = Access.of_environment(settings.mailto)
        with Web(cache_dir, offline=offline, sleep=sleep) as web:
            result = look_up(topic, settings, web, services or Services.public(access), access)
    write_json(out, result)


def look_up(topic: Topic, settings: LiteratureSettings, web: Web, services: Services, access: Access) -> Literature:
    """Query all services on one topic and combine their answers."""
    asked = _Search(topic, settings, web, services, access)
    asked.pubmed()
    asked.europepmc()
    asked.preprints()
    asked.semantic_scholar()
    reports = [tally.report() for tally in asked.tallies.values()]
    if not any(report.status in {"answered", "partial"} for report in reports):
        if web.offline and all(report.status == "not asked" for report in reports):
            return _not_evaluated("offline, and no answer is kept from an earlier run", topic, reports)
        reason = "; ".join(dict.fromkeys(report.reason or "" for report in reports))
        return _not_evaluated(f"no service answered: {reason}", topic, reports)
    merged = merge(asked.in_turns())[: settings.max_papers]
    reader = FullTexts(web, services, access)
    papers, evidence, named = _read(merged, topic, reader, settings.full_texts)
    return Literature(
        evaluated=True,
        perturbation=topic.perturbation,
        perturbation_names=list(topic.names),
        cell_type=topic.cell_type,
        cell_type_names=list(topic.cell_names),
        services=[*reports, *_full_text_reports(reader, access, settings)],
        genes=verdicts(topic, evidence, named, asked.publications),
        papers=papers,
        evidence=evidence,
    )


@dataclass
class _Search:
    """Search of one topic in all services. `lists`: per gene or request, records in order of relevance."""

    topic: Topic
    settings: LiteratureSettings
    web: Web
    services: Services
    access: Access
    lists: list[list[Record]] = field(default_factory=list)
    publications: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        names = (pubmed.NAME, europepmc.NAME, preprints.NAME, semantic_scholar.NAME)
        self.tallies = {name: Tally(name) for name in names}

    def in_turns(self) -> Iterable[Record]:
        """The best paper of every gene, then the second best, ..., so that a limit affects all genes equally."""
        longest = max(map(len, self.lists), default=0)
        return [part[rank] for rank in range(longest) for part in self.lists if rank < len(part)]

    def pubmed(self) -> None:
        """Per gene: papers on these cells first, then on any; and the number of publications on the gene."""
        tally, service, n = self.tallies[pubmed.NAME], self.services.pubmed, self.settings.papers_per_gene
        cells = _tagged(self.topic.cell_names)
        ids: dict[str, list[str]] = {}

        def find(term: str, most: int) -> tuple[list[str], int]:
            return tally.ask(lambda: pubmed.find(self.web, service, term, most, self.access), NO_IDS)

        for gene in self.topic.genes:
            words = _tagged(gene_names(gene)[:4])
            both = f"{_tagged(self.topic.names)} AND {words}"
            found = find(f"{both} AND {cells}", n)[0] if cells else []
            if len(found) < n:
                found = list(dict.fromkeys([*found, *find(both, n)[0]]))[:n]
            ids[gene] = found
            count = find(words, 0)[1]
            if count >= 0:
                self.publications[gene] = count
        wanted = list(dict.fromkeys(pmid for found in ids.values() for pmid in found))
        records: dict[str, Record] = {}
        for start in range(0, len(wanted), pubmed.CHUNK):
            part = wanted[start : start + pubmed.CHUNK]
            got = tally.ask(lambda ids=part: pubmed.fetch(self.web, service, ids, self.access), NO_RECORDS)  # type: ignore[misc]
            records |= {record.pmid: record for record in got if record.pmid}
        tally.n_papers = len(records)
        self.lists += [[records[pmid] for pmid in found if pmid in records] for found in ids.values()]

    def europepmc(self) -> None:
        """Per gene: the most relevant papers whose title or abstract names it and the perturbation."""
        tally, service = self.tallies[europepmc.NAME], self.services.europepmc
        for gene in self.topic.genes:
            words = f"{_fielded(self.topic.names)} AND {_fielded(gene_names(gene)[:4])} NOT SRC:PPR"
            self._add(tally, lambda q=words: europepmc.find(self.web, service, q, self.settings.papers_per_gene))  # type: ignore[misc]

    def preprints(self) -> None:
        """One request for all genes, then the journal versions of the best."""
        tally = self.tallies[preprints.NAME]
        genes = _fielded(list(self.topic.genes))
        words = f"{_fielded(self.topic.names)} AND {genes}"
        found = self._add(tally, lambda: preprints.find(self.web, self.services.europepmc, words, MANY))
        api = self.services.preprints
        for record in [record for record in found if record.doi][:PREPRINTS_LOOKED_UP]:
            self.lists.append(
                tally.ask(lambda one=record: preprints.journal_version(self.web, api, one), NO_RECORDS)  # type: ignore[misc]
            )

    def semantic_scholar(self) -> None:
        """One free-text request."""
        tally, service = self.tallies[semantic_scholar.NAME], self.services.semantic_scholar
        words = " ".join([self.topic.perturbation, self.topic.cell_type or "", "gene expression"]).replace("  ", " ")
        self._add(tally, lambda: semantic_scholar.find(self.web, service, words, 4 * MANY, self.access))

    def _add(self, tally: Tally, request: Callable[[], list[Record]]) -> list[Record]:
        found = tally.ask(request, NO_RECORDS)
        tally.n_papers += len(found)
        self.lists.append(found)
        return found


def _read(
    merged: list[Merged], topic: Topic, reader: FullTexts, full_texts: int
) -> tuple[list[Paper], list[Evidence], dict[str, int]]:
    """Papers naming the perturbation, their evidence, and per gene the papers that name it too."""
    papers: list[Paper] = []
    evidence: list[Evidence] = []
    named: dict[str, int] = {}
    tried = 0
    for item in merged:
        record = item.record
        if not names_topic(f"{record.title}. {record.abstract}", topic.pattern):
            continue
        texts: list[tuple[str, str]] = [("title", record.title), ("abstract", record.abstract)]
        body = None
        if tried < full_texts and (record.pmcid or record.doi):
            tried += 1
            body = reader.read(record)
            texts += [("full text", paragraph) for paragraph in (body[0] if body else [])]
        paper = _paper(item, body[1] if body else None)
        found, genes = evidence_of(paper, _texts(texts), topic)
        papers.append(paper)
        evidence += found
        for gene in genes:
            named[gene] = named.get(gene, 0) + 1
    return papers, evidence, named


def _texts(texts: list[tuple[str, str]]) -> Texts:
    return [(section, text) for section, text in texts if text]  # type: ignore[misc]


def _paper(item: Merged, source: str | None) -> Paper:
    record = item.record
    return Paper(
        paper_id=item.paper_id,
        title=record.title,
        citation=citation(record),
        year=record.year,
        journal=record.journal,
        doi=record.doi,
        pmid=record.pmid,
        pmcid=record.pmcid,
        preprint=record.preprint,
        found_by=list(item.found_by),
        text_read="full text" if source else "abstract" if record.abstract else "title",
        text_source=source,
    )


def _full_text_reports(reader: FullTexts, access: Access, settings: LiteratureSettings) -> list[ServiceReport]:
    none = "config: literature.full_texts is 0" if not settings.full_texts else None
    return [
        reader.europepmc.report(none or "no paper is in its open full texts"),
        reader.unpaywall.report(
            none or ("no paper needed it" if access.mailto else "config: literature.mailto is not set")
        ),
        reader.core.report(none or ("no paper needed it" if access.core_key else "CORE_API_KEY is not set")),
    ]


def _not_evaluated(reason: str, topic: Topic | None, reports: list[ServiceReport] | None = None) -> Literature:
    return Literature(
        evaluated=False,
        reason=reason,
        perturbation=topic.perturbation if topic else None,
        perturbation_names=list(topic.names) if topic else [],
        cell_type=topic.cell_type if topic else None,
        cell_type_names=list(topic.cell_names) if topic else [],
        services=reports or [],
    )


def _tagged(names: Iterable[str]) -> str:
    """PubMed: names in title or abstract."""
    words = " OR ".join(f'"{_bare(name)}"[tiab]' for name in names)
    return f"({words})" if words else ""


def _fielded(names: Iterable[str]) -> str:
    """Europe PMC: names in title or abstract."""
    words = " OR ".join(f'TITLE_ABS:"{_bare(name)}"' for name in names)
    return f"({words})" if words else ""


def _bare(name: str) -> str:
    """Text without operators of the query languages."""
    return " ".join("".join(" " if c in '"[]()\\:' else c for c in name).split())
