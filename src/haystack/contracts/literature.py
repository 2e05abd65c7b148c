"""`literature.json`: what papers say about the genes of a prediction."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from haystack.contracts.base import Contract
from haystack.contracts.query import Direction

ServiceStatus = Literal["answered", "partial", "failed", "not asked"]
AskedBecause = Literal["expected", "predicted", "background"]


class ServiceReport(Contract):
    """Result of one literature service."""

    name: str
    status: ServiceStatus
    n_papers: int = Field(default=0, ge=0, description="papers (or full texts) that it gave, before deduplication")
    reason: str | None = Field(default=None, description="why it failed, gave only a part, or was not asked")

    @model_validator(mode="after")
    def _says_why(self) -> ServiceReport:
        if self.status != "answered" and not self.reason:
            raise ValueError("a service that did not answer wholly must say why")
        return self


class Paper(Contract):
    """One publication. A preprint and its journal version are one paper."""

    paper_id: str = Field(description="`doi:...`, `pmid:...`, or `title:` and a hash where it has neither")
    title: str
    citation: str = Field(description="authors (year) title. journal. identifier")
    year: int | None = None
    journal: str | None = None
    doi: str | None = Field(default=None, description="lower case, without address")
    pmid: str | None = None
    pmcid: str | None = None
    preprint: bool = False
    found_by: list[str] = Field(description="services that gave it")
    text_read: Literal["full text", "abstract", "title"]
    text_source: str | None = Field(default=None, description="the service that gave the full text")


class Evidence(Contract):
    """One sentence of one paper about one gene under the perturbation."""

    gene: str = Field(description="gene symbol")
    perturbation: str = Field(description="canonical name")
    cell_type: str | None = Field(default=None, description="the queried cell type, where sentence or paper names it")
    cell_type_match: Literal["sentence", "paper", "none"] = Field(
        description="where the cell type (or a close relative) is named"
    )
    direction: Literal[-1, 0, 1] = Field(description="of the gene under the perturbation; 0: no change is reported")
    cue: str = Field(description="the words that state the direction")
    negated: bool = Field(description="true: the words deny a change, or the perturbation was taken away")
    sentence: str
    section: Literal["title", "abstract", "full text"]
    paper_id: str


class GeneLiterature(Contract):
    """All papers on one gene under the perturbation."""

    gene: str
    asked_because: AskedBecause = Field(description="background: as well measured, and not predicted to change")
    publications: int | None = Field(default=None, ge=0, description="PubMed entries that name the gene at all")
    n_papers: int = Field(default=0, ge=0, description="papers read that name gene and perturbation")
    up: float = Field(default=0, ge=0, description="votes: one per paper, half where it does not name the cell type")
    down: float = Field(default=0, ge=0)
    unchanged: float = Field(default=0, ge=0)
    direction: Direction | None = Field(default=None, description="null: no direction is stated, or papers disagree")


class Literature(Contract):
    """`literature.json`."""

    format: Literal["haystack-literature/1"] = "haystack-literature/1"
    evaluated: bool = Field(description="false: no paper could be looked for")
    reason: str | None = Field(default=None, description="why it was not evaluated")
    perturbation: str | None
    perturbation_names: list[str] = Field(default=[], description="names looked for")
    cell_type: str | None = None
    cell_type_names: list[str] = []
    services: list[ServiceReport] = []
    genes: list[GeneLiterature] = []
    papers: list[Paper] = []
    evidence: list[Evidence] = []

    @model_validator(mode="after")
    def _consistent(self) -> Literature:
        if not self.evaluated and not self.reason:
            raise ValueError("a literature search that was not evaluated must say why")
        known = {paper.paper_id for paper in self.papers}
        unknown = sorted({item.paper_id for item in self.evidence} - known)
        if unknown:
            raise ValueError(f"evidence names papers that are not listed: {', '.join(unknown[:3])}")
        return self
