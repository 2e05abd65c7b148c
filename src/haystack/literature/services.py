"""Addresses of the services, credentials, and the outcome of each."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from haystack.contracts.literature import ServiceReport
from haystack.http import NotCachedError, Service, ServiceError

T = TypeVar("T")


@dataclass(frozen=True)
class Access:
    """Keys (from the environment, never from files) and the contact address (from the settings)."""

    ncbi_key: str | None = None
    semantic_scholar_key: str | None = None
    core_key: str | None = None
    mailto: str | None = None

    @classmethod
    def of_environment(cls, mailto: str | None, environment: Mapping[str, str] = os.environ) -> Access:
        """Keys from the environment."""
        return cls(
            ncbi_key=environment.get("NCBI_API_KEY") or None,
            semantic_scholar_key=environment.get("SEMANTIC_SCHOLAR_API_KEY") or None,
            core_key=environment.get("CORE_API_KEY") or None,
            mailto=mailto,
        )

    def ncbi(self) -> dict[str, str]:
        """Parameters that NCBI requires of every client."""
        found = {"tool": "haystack"}
        if self.mailto:
            found["email"] = self.mailto
        if self.ncbi_key:
            found["api_key"] = self.ncbi_key
        return found

    def semantic_scholar(self) -> dict[str, str]:
        """Header with the key."""
        return {"x-api-key": self.semantic_scholar_key} if self.semantic_scholar_key else {}

    def core(self) -> dict[str, str]:
        """Header with the key."""
        return {"Authorization": f"Bearer {self.core_key}"} if self.core_key else {}


@dataclass(frozen=True)
class Services:
    """Base URLs and rates; replaced by tests."""

    pubmed: Service
    europepmc: Service
    semantic_scholar: Service
    preprints: Service
    unpaywall: Service
    core: Service

    @classmethod
    def public(cls, access: Access) -> Services:
        """The public services at their allowed rates."""
        return cls(
            pubmed=Service("PubMed", "https://eutils.ncbi.nlm.nih.gov/entrez/eutils/", 9 if access.ncbi_key else 2.8),
            europepmc=Service("Europe PMC", "https://www.ebi.ac.uk/europepmc/webservices/rest/", 8),
            semantic_scholar=Service("Semantic Scholar", "https://api.semanticscholar.org/graph/v1/", 0.9),
            preprints=Service("bioRxiv/medRxiv", "https://api.biorxiv.org/", 2),
            unpaywall=Service("Unpaywall", "https://api.unpaywall.org/v2/", 8),
            core=Service("CORE", "https://api.core.ac.uk/v3/", 0.16),
        )


@dataclass
class Tally:
    """Record the outcome of one service; a failed call only loses its own results."""

    name: str
    answers: int = 0
    failed: bool = False
    """true after an error other than an answer missing from the cache"""
    n_papers: int = 0
    failures: list[str] = field(default_factory=list)

    def ask(self, request: Callable[[], T], otherwise: T) -> T:
        """The answer, or `otherwise` if the service fails."""
        try:
            found = request()
        except ServiceError as error:
            if error.message not in self.failures:
                self.failures.append(error.message)
            self.failed = self.failed or not isinstance(error, NotCachedError)
            return otherwise
        self.answers += 1
        return found

    def report(self, not_asked: str = "no paper needed it") -> ServiceReport:
        """Report for the result. `not_asked`: reason if no request was made."""
        if not self.answers and not self.failures:
            return ServiceReport(name=self.name, status="not asked", reason=not_asked)
        if not self.failures:
            return ServiceReport(name=self.name, status="answered", n_papers=self.n_papers)
        status = "partial" if self.answers else "failed" if self.failed else "not asked"
        return ServiceReport(
            name=self.name,
            status=status,  # type: ignore[arg-type]
            n_papers=self.n_papers,
            reason=self.failures[0],
        )
