"""Clients of public databases against a local server that speaks the documented formats, faults included."""

import json
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest

from haystack.contracts import Perturbation, StructuredQuery
from haystack.knowledge import resolve_perturbation
from haystack.knowledge.clients import Databases, enrich_perturbation, kegg, reactome, uniprot
from haystack.knowledge.clients.http import Http
from haystack.knowledge.tables import KnowledgeError
from haystack.query.ask import parse_question
from haystack.query.lookup import look_up

IBRUTINIB = """\
ENTRY       D03936                      Drug
NAME        Ibrutinib (JAN/USAN/INN);
            Imbruvica (TN)
FORMULA     C25H24N6O2
EFFICACY    Antineoplastic, Tyrosine kinase inhibitor
TARGET      BTK (AGMX1) [HSA:695] [KO:K07370]
  PATHWAY   hsa04662(695)  B cell receptor signaling pathway
            hsa04064(695)  NF-kappa B signaling pathway
DBLINKS     CAS: 936563-96-1
            ChEBI: 76612
///
"""
LISTED = "dr:D03937\tIbrutinib sodium whatever; Other\ndr:D03936\tIbrutinib (JAN/USAN/INN); Imbruvica (TN)\n"
BTK = {
    "primaryAccession": "Q06187",
    "genes": [{"geneName": {"value": "BTK"}, "synonyms": [{"value": "AGMX1"}]}],
    "proteinDescription": {"recommendedName": {"fullName": {"value": "Tyrosine-protein kinase BTK"}}},
    "comments": [{"commentType": "FUNCTION", "texts": [{"value": "Kinase of B cells."}]}],
}
PATHWAYS = [{"stId": "R-HSA-983695", "displayName": "Antigen activates B Cell Receptor (BCR)"}]


class Service:
    """Answers by path; a list of faults is used up before the good answer."""

    def __init__(self):
        self.answers = {
            "/find/drug/ibrutinib": LISTED,
            "/find/drug/nothing": "",
            "/get/D03936": IBRUTINIB,
            "/uniprotkb/search": json.dumps({"results": [BTK]}),
            "/data/mapping/UniProt/Q06187/pathways": json.dumps(PATHWAYS),
        }
        self.faults = {}
        self.calls = Counter()
        self.queries = {}
        service = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                parts = urlsplit(self.path)
                service.calls[parts.path] += 1
                service.queries[parts.path] = parse_qs(parts.query)
                faults = service.faults.get(parts.path, [])
                service.answer(self, faults.pop(0) if faults else None, service.answers.get(parts.path))

            def log_message(self, *args):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.release = threading.Event()
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def answer(self, handler, fault, text):
        if fault == "silence":
            self.release.wait(5)
            handler.close_connection = True
            return
        status = fault if isinstance(fault, int) else 200 if text is not None else 404
        body = (text or "").encode() if status == 200 else b"no"
        handler.send_response(status)
        if status == 429:
            handler.send_header("Retry-After", "0")
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        if fault == "half":
            body = body[: len(body) // 2]
        elif isinstance(fault, tuple):
            body = fault[1]
        handler.wfile.write(body)
        handler.close_connection = True

    def close(self):
        self.release.set()
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def service():
    server = Service()
    yield server
    server.close()


@pytest.fixture
def http(tmp_path):
    client = Http(
        tmp_path / "answers.sqlite", per_second=1000, attempts=3, timeout=(2, 0.3), sleep=lambda seconds: None
    )
    yield client
    client.close()


def test_kegg_reads_the_flat_file_of_the_drug_with_exactly_this_name(service, http):
    drug = kegg.find_drug(http, "ibrutinib", service.url)
    assert drug.id == "D03936"
    assert drug.names == ["Ibrutinib", "Imbruvica"]
    assert drug.targets == ["BTK"]
    assert drug.pathways == ["B cell receptor signaling pathway", "NF-kappa B signaling pathway"]
    assert drug.ids == {"KEGG": "D03936", "ChEBI": "CHEBI:76612"}
    assert kegg.find_drug(http, "nothing", service.url) is None


def test_uniprot_asks_for_the_reviewed_human_protein(service, http):
    protein = uniprot.find_protein(http, "BTK", service.url)
    assert (protein.accession, protein.gene, protein.synonyms) == ("Q06187", "BTK", ["AGMX1"])
    assert protein.function == "Kinase of B cells."
    query = service.queries["/uniprotkb/search"]["query"][0]
    assert query == "(gene_exact:BTK) AND (organism_id:9606) AND (reviewed:true)"
    assert uniprot.find_protein(http, "BTKX", service.url) is None, "another gene's protein is not taken"


def test_reactome_gives_pathways_and_nothing_for_an_unknown_protein(service, http):
    found = reactome.pathways_of(http, "Q06187", service.url)
    assert [(p.id, p.name) for p in found] == [("R-HSA-983695", "Antigen activates B Cell Receptor (BCR)")]
    assert reactome.pathways_of(http, "P00000", service.url) == []


@pytest.mark.parametrize(
    "faults", [[429], [500, 503], ["half"], ["silence"], [("garbage", b"{" + b" " * 102)]], ids=lambda f: str(f[0])[:8]
)
def test_passing_faults_are_retried(service, http, faults):
    path = "/data/mapping/UniProt/Q06187/pathways"
    service.faults[path] = list(faults)
    assert len(reactome.pathways_of(http, "Q06187", service.url)) == 1
    assert service.calls[path] == len(faults) + 1


def test_a_lasting_fault_is_one_error_that_names_the_address(service, http):
    service.faults["/get/D03936"] = [500] * 9
    with pytest.raises(KnowledgeError, match=r"/get/D03936: no usable answer: .*answers 500 .*\(asked 3 times\)"):
        kegg.find_drug(http, "ibrutinib", service.url)
    assert service.calls["/get/D03936"] == 3


def test_a_refusal_is_not_retried(service, http):
    service.faults["/get/D03936"] = [403]
    with pytest.raises(KnowledgeError, match="answers 403"):
        kegg.find_drug(http, "ibrutinib", service.url)
    assert service.calls["/get/D03936"] == 1


def test_an_entry_cut_short_is_forgotten_and_asked_again(service, http):
    whole = service.answers["/get/D03936"]
    service.answers["/get/D03936"] = whole[:120]
    with pytest.raises(KnowledgeError, match="does not end with ///"):
        kegg.find_drug(http, "ibrutinib", service.url)
    service.answers["/get/D03936"] = whole
    assert kegg.find_drug(http, "ibrutinib", service.url).targets == ["BTK"]


def test_answers_are_kept_on_disk_absent_ones_too(service, http, tmp_path):
    kegg.find_drug(http, "ibrutinib", service.url)
    reactome.pathways_of(http, "P00000", service.url)
    before = service.calls.copy()
    again = Http(tmp_path / "answers.sqlite", per_second=1000, attempts=1)
    assert kegg.find_drug(again, "ibrutinib", service.url).id == "D03936"
    assert reactome.pathways_of(again, "P00000", service.url) == []
    again.close()
    assert service.calls == before


def databases(service, http):
    return Databases(http, kegg=service.url, uniprot=service.url, reactome=service.url)


def unknown_drug():
    return resolve_perturbation("ibrutinib").model_copy(
        update={"targets": [], "signalling": [], "expected_targets": {}, "synonyms": [], "external_ids": {}}
    )


def test_enriching_adds_targets_ids_and_signalling_but_no_directions(service, http, tmp_path):
    found, notes = enrich_perturbation(
        unknown_drug(), tmp_path / "x.sqlite", offline=False, databases=databases(service, http)
    )
    assert found.targets == ["BTK"]
    assert found.external_ids == {"KEGG": "D03936", "ChEBI": "CHEBI:76612", "UniProt": "Q06187"}
    assert found.synonyms == ["Ibrutinib", "Imbruvica"]
    assert found.signalling[0] == "B cell receptor signaling pathway"
    assert found.expected_targets == {}
    assert "KEGG DRUG D03936" in notes[0]


def test_a_database_that_fails_leaves_a_note_and_the_rest(service, http, tmp_path):
    service.faults["/data/mapping/UniProt/Q06187/pathways"] = [500] * 9
    service.faults["/find/drug/ibrutinib"] = [500] * 9
    drug = unknown_drug().model_copy(update={"targets": ["BTK"]})
    found, notes = enrich_perturbation(drug, tmp_path / "x.sqlite", offline=False, databases=databases(service, http))
    assert found.external_ids["UniProt"] == "Q06187"
    assert any(note.startswith("Reactome: ") for note in notes)
    found, notes = enrich_perturbation(
        unknown_drug(), tmp_path / "x.sqlite", offline=False, databases=databases(service, http)
    )
    assert found.targets == []
    assert notes[0].startswith("KEGG DRUG: ")


def test_offline_asks_nothing(service, http, tmp_path):
    drug = unknown_drug()
    assert enrich_perturbation(drug, tmp_path / "x.sqlite", databases=databases(service, http)) == (drug, [])
    assert not service.calls
    assert not (tmp_path / "x.sqlite").exists()


def _asked(name: str) -> StructuredQuery:
    query = parse_question("How would T cells respond to IL-2?")
    unknown = Perturbation(query=name, name=name, resolved=False, type="drug")
    return query.model_copy(update={"asked": query.asked.model_copy(update={"perturbations": [unknown]})})


def test_a_perturbation_outside_the_tables_is_looked_up_and_kept_beside_the_run(service, http, tmp_path):
    databases = Databases(http, service.url, service.url, service.url)
    found = look_up(_asked("ibrutinib"), tmp_path, offline=False, databases=databases)
    (perturbation,) = found.asked.perturbations
    assert perturbation.targets == ["BTK"]
    assert perturbation.resolved
    assert perturbation.expected_targets == {}
    assert "D03936" in found.provenance["looked up"]
    calls = sum(service.calls.values())
    http.close()
    (tmp_path / "answers.sqlite").rename(tmp_path / "knowledge.sqlite")
    replay = Databases(Http(tmp_path / "knowledge.sqlite", offline=True), service.url, service.url, service.url)
    again = look_up(_asked("ibrutinib"), tmp_path, offline=True, databases=replay)
    assert again.asked == found.asked
    assert sum(service.calls.values()) == calls


def test_known_perturbations_and_offline_runs_ask_nothing(service, http, tmp_path):
    databases = Databases(http, service.url, service.url, service.url)
    known = parse_question("How would T cells respond to IL-2?")
    assert look_up(known, tmp_path, offline=False, databases=databases) == known
    folder = tmp_path / "empty"
    assert look_up(_asked("ibrutinib"), folder, offline=True, databases=databases) == _asked("ibrutinib")
    assert not service.calls
