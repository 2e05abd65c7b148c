"""The Ontology Lookup Service of EMBL-EBI (OLS4), used on request if nothing matches offline."""

from __future__ import annotations

import difflib

from haystack.errors import OntologyError
from haystack.ontology.index import KINDS, kind_ontology
from haystack.ontology.match import Match
from haystack.ontology.normalise import key

URL = "https://www.ebi.ac.uk/ols4/api/search"
TIMEOUT = 20.0  # seconds
MOST = 0.9  # a search result is never as sure as a name of the pinned ontology


def search_ols(kind: str, text: str, top: int = 5, url: str = URL) -> list[Match]:
    """Terms found by OLS for `text`, restricted to terms of the pinned ontology; score: similarity of the names.

    Source: https://www.ebi.ac.uk/ols4/api-docs (search: q, ontology, type, rows, fieldList).

    Raises
    ------
    OntologyError
        if the service cannot be reached or its answer is malformed.
    """
    import requests
    from requests.adapters import HTTPAdapter
    from urllib3.util.retry import Retry

    home = kind_ontology(kind)
    params = {
        "q": text,
        "ontology": KINDS[kind].lower(),
        "type": "class",
        "rows": str(4 * top),
        "fieldList": "obo_id,label",
    }
    with requests.Session() as session:
        retry = Retry(total=2, backoff_factor=0.5, status_forcelist=(429, 500, 502, 503, 504))
        session.mount(url, HTTPAdapter(max_retries=retry))
        try:
            answer = session.get(url, params=params, timeout=TIMEOUT)
            answer.raise_for_status()
            found = [
                (str(doc["obo_id"]), str(doc["label"])) for doc in answer.json()["response"]["docs"] if "obo_id" in doc
            ]
        except (requests.RequestException, KeyError, TypeError, ValueError) as error:
            raise OntologyError(
                f"OLS ({url}) gave no answer for '{text}': {error}. Try again, or leave out --online"
            ) from None
    matches: dict[str, Match] = {}
    for term_id, label in found:
        current = home.current(term_id)
        if current and current not in matches:
            alike = difflib.SequenceMatcher(None, key(text), key(label)).ratio()
            matches[current] = Match(current, home.terms[current].label, round(MOST * alike, 4), "ols")
    return sorted(matches.values(), key=lambda match: (-match.score, match.id))[:top]
