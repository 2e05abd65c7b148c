"""The report: what it says, and that nothing foreign can act in it."""

from __future__ import annotations

import json
import re
import time
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from report_run import RunOptions, cell_set
from scipy import sparse

import haystack
from haystack.config import ModelSettings
from haystack.contracts import ControlStrategy, Grounding, read_json, write_json
from haystack.contracts.accuracy import Exam, ExamContext, ExpectedAccuracy, Independence
from haystack.contracts.design import Finding, Verdict
from haystack.contracts.failure import Failure
from haystack.contracts.runlog import LibraryLog, RunLog
from haystack.contracts.validation import Validation
from haystack.errors import ContractError
from haystack.report import render_report, report_failures
from haystack.report.answer import answer_sentences
from haystack.report.collect import model_log
from haystack.report.design import limitations, matching
from haystack.report.embedding import embed
from haystack.report.genes import expected_rows
from haystack.report.libraries import set_url
from haystack.report.methods import write_methods
from haystack.report.predictions import all_counts
from haystack.report.view import cell_groups, gene_data, iteration_rows, scale_marks
from haystack.specs import MODELS

NASTY = ("<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "a&b", '"quoted",x', "=1+1", "</script>")


class Page(HTMLParser):
    """Text, tags and attributes of a page, as a browser would see them."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._hidden: str | None = None
        self.scripts: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag in {"script", "style"}:
            self._hidden = tag
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        if tag == self._hidden:
            self._hidden = None

    def handle_data(self, data: str) -> None:
        if self._hidden is None:
            self.text += " ".join(data.split()) + " "
        else:
            self.scripts[-1] += data

    def names(self) -> list[str]:
        """All tags."""
        return [tag for tag, _ in self.tags]

    def data(self) -> dict:
        """What the script draws."""
        return json.loads(next(text for text in self.scripts if text.startswith('{"run_id"')))


def page(run) -> Page:
    return Page(run.html)


def test_report_answers_in_plain_words(finish):
    text = page(finish()).text
    assert "How would B cells respond to IFN-beta?" in text
    assert (
        "For B cells treated with interferon beta, the model predicts 11 upregulated genes and 3 downregulated genes"
        in text
    )
    assert "Of 3 genes known to respond, 2 were tested one by one; 2 are called in the expected direction." in text
    assert "Simulation." in text
    assert "High" in text
    assert "p-values of generated cells describe only the model’s sampling, so no gene is called by them" in text
    assert "Literature: the run is offline and no answers are cached." in text
    assert "nothing is predicted for them: TP53" in text
    assert "Non-Commercial License" in text
    assert "Baseline." not in text
    assert "doi:10.64898/2026.01.09.698608" in text


def test_first_screen_shows_accuracy_class_and_limits(fresh):
    run = fresh()
    for number in (1, 2):
        path = run.folder / f"iter_{number}" / "grounding.json"
        found = read_json(path, Grounding)
        capping = Finding(name="donors", value=1, sentence="Donors: one donor per arm.", cap="medium")
        distance = Finding(name="distance", value=0.8, sentence="Distance: 0.8 from B cells.", cap="high")
        judged = {
            "confidence": "medium",
            "confidence_reasons": ["expected r 0.55"],
            "findings": [capping, distance],
            "capped_by": "donors",
            "expected_r": 0.55,
            "verdict": Verdict.SUPPORTED,
            "verdict_sentence": "The known response supports the prediction.",
        }
        sat = ExamContext(
            context_id="cs_1",
            atlas="study",
            cell_type_name="monocyte",
            donor_id="d2",
            perturbation_name="IFN-beta",
            n_cells=80,
            n_genes=300,
            r={"model": 0.61, "transfer": 0.74, "additive": 0.7, "no_change": 0.0},
            trained_on=False,
        )
        accuracy = ExpectedAccuracy(
            r=0.617,
            low=0.45,
            high=0.74,
            n_contexts=7,
            n_donors=4,
            independence=Independence.DONORS,
            half_of_real_cells=0.69,
            asked_is_measured=True,
            perturbations=["IFN-beta"],
            methods={"no_change": 0.0, "additive": 0.632, "transfer": 0.685},
        )
        prompts = [prompt.model_copy(update=judged) for prompt in found.prompts]
        exam = Exam(model="stack", contexts=[sat], difference=-0.1, noise=0.3)
        write_json(path, found.model_copy(update={"prompts": prompts, "accuracy": accuracy, "exam": exam}))
    run.collect()
    run.render()
    text = page(run).text
    first = text[text.index("The answer") : text.index("Strongest changes")]
    order = [
        "Expected accuracy",
        "r 0.62 (0.45 to 0.74)",
        "Confidence",
        "Medium",
        "Capped by: Donors: one donor per arm.",
    ]
    order += ["Limitations", "Treat it as a hypothesis", "Design"]
    order += ["24 cells, 1 context, 1 donor: 24 CD14+ monocytes with interferon beta"]
    order += ["Compared with 24 cells, 1 context, 1 donor: 24 CD14+ monocytes"]
    order += [
        "Matched for atlas, cell type, donor and tissue.",
        "Distance 0.8 from B cells.",
        "supports the prediction",
    ]
    squeezed = " ".join(first.split())
    position = 0
    for part in order:
        position = squeezed.index(part, position)
    models = " ".join(text[text.index("Models side by side") : text.index("How the question")].split())
    rows = ["No change predicts that nothing happens 0.00", "Additive adds the mean measured shift 0.63"]
    rows += ["Transfer combines the measured responses of all contexts 0.69"]
    rows += ["This prediction (stack) this run best prompt of the run 0.55", "Half of the real cells"]
    assert all(row in models for row in rows)
    assert run.log.answer.expected_r == 0.55
    assert (
        "High: agreement with measured contexts outside the prompt (r without sampling noise) of at least 0.45" in text
    )


def test_every_expected_gene_is_listed_with_links(finish):
    run = finish()
    names = {f"GENE{number}": 1 for number in range(40)} | {"ISG15": 1, "MX1": -1, "TP53": -1}
    main = run.log.query.asked.perturbation.model_copy(update={"expected_targets": names})
    asked = run.log.query.asked.model_copy(update={"perturbations": [main]})
    log = run.log.model_copy(update={"query": run.log.query.model_copy(update={"asked": asked})})
    de = pd.read_csv(run.file("de.csv"))
    rise, fall = expected_rows(log, de[de["is_best_prompt"]])
    assert (rise["title"], len(rise["genes"])) == ("Expected to rise", 41)
    assert [(item["gene"], item["in_model"]) for item in fall["genes"]] == [("MX1", True), ("TP53", False)]
    assert rise["genes"][40]["log2fc"] == pytest.approx(de.set_index(["is_best_prompt", "gene"]).log2fc[True, "ISG15"])
    found = page(run)
    words = " ".join(found.text.split())
    assert "Expected to rise: 3 genes" in words
    assert "TP53 not in the model" in words
    links = [attrs["href"] for tag, attrs in found.tags if tag == "a"]
    assert "https://www.ensembl.org/Human/Search/Results?q=ISG15;facet_feature_type=Gene" in links
    pages = dict(found.data()["links"]["pages"])
    assert list(pages) == ["Ensembl", "GeneCards", "UniProt", "PubMed"]
    assert unquote(pages["PubMed"]).endswith('term={gene} AND ("interferon beta" OR "IFN-beta")')


def test_built_in_gene_sets_say_who_wrote_them(finish):
    run = finish()
    (library,) = run.log.gene_sets
    assert (library.name, library.origin, library.n_sets) == ("haystack", "written for this project", 68)
    assert page(run).text.count("written for this project, 68 sets") >= 3
    assert set_url("x", "Reactome R-HSA-909733") == "https://reactome.org/content/detail/R-HSA-909733"
    assert set_url("HALLMARK_APOPTOSIS").endswith("/HALLMARK_APOPTOSIS.html")
    assert set_url("Apoptosis", "after Smith 2001") is None
    assert set_url("Apoptosis", "javascript:alert(1)") is None


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "Matched for atlas, cell type, donor and tissue."),
        ({"donor_id": None}, "Matched for atlas, cell type and tissue. Donor not recorded."),
        ({"cell_type_name": None, "donor_id": None}, "Matched for atlas and tissue. Cell type and donor not recorded."),
    ],
)
def test_only_what_is_recorded_is_matched(finish, changes, said):
    prompt = finish().log.iterations[-1].prompts[0]
    sets = [item.model_copy(update=changes) for item in prompt.cell_sets]
    assert matching(prompt.model_copy(update={"cell_sets": sets})) == said


def test_what_was_given_up_is_not_matched(finish):
    prompt = finish().log.iterations[-1].prompts[1]
    assert matching(prompt) == "Matched for atlas, cell type and tissue; not for donor."


def test_a_real_atlas_is_not_called_a_simulation(finish):
    assert "Simulation." not in page(finish(simulated=False)).text


def test_report_is_one_file_that_asks_nobody(finish):
    html = finish().html
    tags = Page(html).tags
    assert not [tag for tag, _ in tags if tag in {"link", "img", "iframe", "object", "embed", "base", "form"}]
    assert not [attrs for tag, attrs in tags if tag == "script" and "src" in attrs]
    assert not [name for _, attrs in tags for name in attrs if name.startswith("on")]
    assert not re.search(r"url\(|@import", html)
    links = [attrs["href"] for tag, attrs in tags if tag == "a" and "href" in attrs]
    assert all(link.startswith(("#", "http://purl.obolibrary.org/", "https://", "run_demo_")) for link in links)
    assert "http://purl.obolibrary.org/obo/CL_0000236" in links
    policy = next(attrs["content"] for _, attrs in tags if attrs.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'")


def test_report_is_accessible(finish):
    run = finish()
    found = page(run)
    assert found.names().count("h1") == 1
    assert "main" in found.names()
    assert next(attrs for tag, attrs in found.tags if tag == "html")["lang"] == "en"
    plots = [attrs for _, attrs in found.tags if attrs.get("class") == "plot"]
    assert {attrs["id"] for attrs in plots} == {"volcano", "terms", "factors", "effects", "expression", "map"}
    assert all(attrs["role"] == "group" and len(attrs["aria-label"]) > 20 for attrs in plots)
    tables = found.names().count("table")
    assert found.names().count("caption") == tables
    ids = [attrs["id"] for _, attrs in found.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    for _, attrs in found.tags:
        if attrs.get("href", "").startswith("#"):
            assert attrs["href"][1:] in ids
        if "aria-labelledby" in attrs:
            assert attrs["aria-labelledby"] in ids


@pytest.mark.parametrize(
    "bend", [{"cell_type": NASTY[1]}, {"question": f"What about {NASTY[0]} {NASTY[5]}?"}, {"atlas": "<u>x"}]
)
def test_foreign_text_stays_text(finish, bend):
    run = finish(extra_genes=NASTY, **bend)
    found = page(run)
    assert found.names().count("script") == 2
    assert "img" not in found.names()
    assert "u" not in found.names()
    assert set(NASTY) <= set(found.data()["genes"]["gene"])
    assert NASTY[0] in found.text


def test_table_data_equals_the_csv(finish):
    run = finish()
    genes = page(run).data()["genes"]
    de = pd.read_csv(run.file("de.csv"))
    own = de[de["is_best_prompt"]]
    assert genes["gene"] == own["gene"].tolist()
    got = np.array([np.nan if value is None else value for value in genes["log2fc"]])
    np.testing.assert_allclose(got, own["log2fc"], atol=0.0051)
    assert [bool(flag & 1) for flag in genes["flag"]] == own["is_de"].tolist()
    assert [bool(flag & 4) for flag in genes["flag"]] == (~own["in_model"]).tolist()
    assert [gene for gene, flag in zip(genes["gene"], genes["flag"], strict=True) if flag & 2] == [
        gene for gene in own["gene"] if gene in {"ISG15", "MX1", "TP53"}
    ]


def test_no_de_genes(finish):
    text = page(finish(n_de=0)).text
    assert "predicts no clear change in any gene" in text
    assert "No gene passes the thresholds" in text


def test_a_joint_change_is_the_answer_where_no_gene_is_called_but_the_expected_ones_move(finish):
    log = finish(n_de=0).log.model_copy(deep=True)
    log.answer.verdict = Verdict.SUPPORTED
    first, second = answer_sentences(log)
    assert first.endswith("predicts a joint change of the genes known to respond, in the expected direction.")
    assert second.startswith("No single gene can be called: none of")


@pytest.mark.parametrize(("additive", "said"), [(0.8, True), (0.6, False)])
def test_a_baseline_closer_to_the_held_out_cells_is_a_limitation(finish, additive, said):
    log = finish().log.model_copy(deep=True)
    rows = {"prediction": {"pearson_delta": 0.7}, "additive": {"pearson_delta": additive}}
    log.validation = Validation(
        run_id=log.run_id,
        prompt_id="i1p1",
        conventions={"generated against real control": rows},
        n_cells={"observed": 9, "control": 9},
        n_de_observed=1,
        top_n=50,
        ceiling=None,
    )
    sentence = "Compared with held-out cells the prediction reaches r 0.70, and the baseline “Additive” 0.80."
    assert (sentence in limitations(log, [])) == said


def test_no_prompts(finish):
    found = page(finish(n_prompts=0, scores=(None,)))
    assert "No prediction could be made" in found.text
    assert "No composite: no prediction was made." in found.text
    assert "What was searched" in found.text
    assert not [attrs for _, attrs in found.tags if attrs.get("class") == "plot"]


def test_five_thousand_de_genes_stay_small_and_quick(finish):
    run = finish(n_genes=15_000, n_de=5_000, n_prompts=1, scores=(8.0,), n_cells=12)
    assert run.file("report.html").stat().st_size < 6_000_000
    start = time.process_time()
    run.render()
    assert time.process_time() - start < 3


def test_a_long_question_and_an_unmapped_cell_type(finish):
    run = finish(question="B cells " + "y" * 9_990, cell_type=None)
    found = page(run)
    assert found.text.count("y" * 9_990) == 1
    assert "unmapped" in found.text
    assert run.file("report.html").stat().st_size < 6_000_000


def test_query_as_control_says_what_it_adds(finish):
    found = page(finish(control_strategy=ControlStrategy.QUERY_AS_CONTROL))
    assert "adds the model’s reconstruction error" in found.text
    assert found.data()["figures"]["query_is_control"]
    assert "query" not in found.data()["figures"]["cells"]["role"]["names"]


def test_a_prediction_no_better_than_no_change_is_not_trusted(fresh):
    run = fresh()
    path = run.folder / "iter_2" / "grounding.json"
    found = read_json(path, Grounding)
    found.prompts[0].nulls["no_change"] = 7.7
    write_json(path, found)
    run.collect()
    run.render()
    text = page(run).text
    assert run.log.answer.confidence == "low"
    assert "Interpret with caution. The evidence scores 7.8 for this prediction, and 7.7 for a prediction that" in text
    assert "0.1 points above the best null; medium confidence needs 0.5." in text


def test_prompt_cells_are_grouped_by_kind():
    sets = [
        cell_set(RunOptions(), name, kind, "IFN-beta", donor, 40)
        for name, kind, donor in [("a", "B cell", "D2"), ("b", "NK cell", "D1"), ("c", "B cell", "D1")]
    ]
    groups = cell_groups(sets, {"cs_a": 31, "cs_b": 9, "cs_c": 31})
    assert [(group["n"], group["what"], group["origin"], group["dots"]) for group in groups] == [
        (62, "B cell + IFN-beta", "demo_pbmc; donors D1 and D2", 16),
        (9, "NK cell + IFN-beta", "demo_pbmc; donor D1", 3),
    ]


def test_low_confidence_says_why(finish):
    text = page(finish(scores=(3.2,), percentile=60.0)).text
    assert "Low" in text
    assert "Composite score 3.2; medium confidence needs 5." in text


def test_same_input_gives_same_bytes(fresh):
    run = fresh()
    run.collect()
    run.render()
    before = run.file("report.html").read_bytes()
    run.render()
    assert run.file("report.html").read_bytes() == before


def test_the_log_of_another_run_is_refused(finish, tmp_path):
    run = finish()
    with pytest.raises(ContractError, match="belongs to run 'run_demo', expected 'run_x'"):
        render_report(
            run_id="run_x",
            predictions=run.file("predictions.h5ad"),
            log=run.file("log.json"),
            de=run.file("de.csv"),
            enrichment=run.file("enrichment.csv"),
            out=tmp_path / "report.html",
        )
    assert not (tmp_path / "report.html").exists()


def test_a_broken_table_is_named(fresh):
    run = fresh()
    run.collect()
    run.file("de.csv").write_text("gene\nISG15\n")
    with pytest.raises(ContractError, match=r"run_demo_de\.csv: "):
        run.render()


def test_numbers_are_rounded_once(finish):
    log = finish().log
    gene = {"prompt_id": log.answer.best_prompt_id, "gene": "CXCL10", "is_de": True, "in_model": True}
    numbers = {"log2fc": 6.15473, "low": 4.185369, "high": 8.4886, "lfsr": 0.012549}
    data = gene_data(log, pd.DataFrame([gene | numbers | {"mean_perturbed": 147.1049, "mean_control": 1.0}]))
    # by way of four digits: 6.16 and 4.18
    assert (data["log2fc"], data["low"]) == ([6.15], [4.19])
    assert data["perturbed"] == [147.1]


def test_methods_name_only_packages_that_are_used(finish):
    log = finish().log
    paragraphs, _ = write_methods(log, {"ora", "gsea", "ulm"})
    text = " ".join(paragraphs)
    named = [name for name, version in log.versions.items() if f"{name} {version}" in text]
    assert {"haystack", "snakemake", "anndata"} <= set(named)
    code = "\n".join(path.read_text() for path in Path(haystack.__file__).parent.rglob("*.py"))
    imported = r"(^\s*(import|from) |import_module\(\")"
    unused = [name for name in named if not re.search(rf"{imported}{name.replace('arc-', '')}\b", code, re.M)]
    assert unused == [], f"named as used, never imported: {unused}"


def test_methods_cite_libraries_of_databases(finish):
    log = finish().log
    library = LibraryLog(
        address="msigdb:h.all",
        url="https://example.org/h.all.gmt",
        version="2024.1.Hs",
        sha256="0" * 64,
        n_sets=50,
        licence="MSigDB: CC BY 4.0.",
        citation="A paper on gene sets.",
        doi="10.1000/sets",
    )
    settings = log.settings | {"enrichment": log.settings["enrichment"] | {"libraries": {"hallmark": "msigdb:h.all"}}}
    paragraphs, works = write_methods(log.model_copy(update={"libraries": [library], "settings": settings}), {"ora"})
    number = [work.doi for work in works].index("10.1000/sets") + 1
    assert f"(hallmark: msigdb:h.all, version 2024.1.Hs [{number}])" in " ".join(paragraphs)


def test_methods_tell_weights_and_sizes_as_they_were(finish):
    log = finish().log
    text = " ".join(write_methods(log, set())[0])
    best = next(p for p in log.iterations[-1].grounding.prompts if p.prompt_id == log.answer.best_prompt_id)
    for name, share in best.weights.items():
        assert f"{name.replace('_', ' ')} {100 * share:.0f}%" in text
    sizes = {prompt.n_prompt_cells for item in log.iterations for prompt in item.prompts}
    assert f"from {min(sizes)}" in text
    assert "univariate" not in text


def test_a_baseline_has_neither_device_nor_precision(finish):
    log = finish().log
    assert "precision fp32" in " ".join(write_methods(log, set())[0])
    settings = ModelSettings(kind="additive")
    baseline = model_log(MODELS.get("additive"), settings)
    assert "their paired control cells (synthetic control)" in " ".join(write_methods(log, set())[0])
    without = {"model": baseline, "inference": {"generated_control": False}}
    text = " ".join(write_methods(log.model_copy(update=without), set())[0])
    assert "compares the predicted cells with the query cells" in text
    assert "the additive baseline (prompt minus paired control, added to the query cells), from" in text
    assert "precision" not in text
    assert "cpu" not in text


def test_the_measured_truth_is_the_ceiling_of_the_scale(finish):
    log = finish().log
    assert "ceiling" not in {mark["kind"] for mark in scale_marks(log)}
    truth = Validation(
        run_id=log.run_id,
        prompt_id=str(log.answer.best_prompt_id),
        conventions={},
        n_cells={"predicted": 9, "observed": 9, "control": 9},
        n_de_observed=3,
        top_n=50,
        ceiling=9.1,
    )
    known = log.model_copy(update={"validation": truth})
    assert [mark["value"] for mark in scale_marks(known) if mark["kind"] == "ceiling"] == [9.1]
    assert all(("ceiling", 90.0) in row["ticks"] for row in iteration_rows(known))


def test_papers_are_cited_by_doi(fresh):
    run = fresh(unevaluated=())
    run.collect()
    log = run.log
    paper = {"title": "Interferon <b>works</b>", "doi": "10.1000/xyz123", "year": 2020}
    details = log.iterations[1].grounding.prompts[0].components["literature_support"].details
    details["papers"] = [paper]
    details["sentences"] = [{"gene": "ISG15", "direction": 1, "sentence": "ISG15 <i>rose</i>.", "paper": "PMC1"}]
    write_json(run.file("log.json"), log)
    run.render()
    found = page(run)
    assert "Interferon <b>works</b>" in found.text
    assert "▲ “ISG15 <i>rose</i>.” PMC1" in found.text
    assert ("a", {"href": "https://doi.org/10.1000/xyz123", "rel": "noopener noreferrer"}) in found.tags


def test_principal_components_are_those_of_sklearn():
    from sklearn.decomposition import PCA

    rng = np.random.default_rng(3)
    counts = rng.poisson(np.linspace(1, 30, 12), size=(40, 12)).astype(np.float32)
    found = ad.AnnData(sparse.csr_matrix(counts))
    embed(found, seed=0)
    scaled = np.log1p(1e4 * counts.astype(float) / counts.sum(axis=1, keepdims=True))
    reference = PCA(2).fit(scaled)
    np.testing.assert_allclose(found.uns["pca"]["variance_ratio"][:2], reference.explained_variance_ratio_, rtol=1e-3)
    np.testing.assert_allclose(np.abs(found.obsm["X_pca"][:, :2]), np.abs(reference.transform(scaled)), atol=1e-3)


def test_figures_show_prompts_donors_groups_and_cells(finish):
    run = finish()
    shown = page(run).data()["figures"]
    roles = {"query", "control", "perturbed", "control_prompt", "prompt"}
    assert [row["name"] for row in shown["effects"]["prompts"]] == ["i2_p1", "i2_p2"]
    assert {row["name"] for row in shown["effects"]["donors"]} == {f"D{i}, CD14+ monocyte" for i in (1, 2, 3)}
    assert {group["role"] for group in shown["groups"]} == set(shown["cells"]["role"]["names"]) == roles
    assert {"ISG15", "MX1"} <= set(shown["genes"])
    kept = ad.read_h5ad(run.file("predictions.h5ad"))
    symbols, everything = all_counts(kept)
    counts = everything[:, [symbols.index("ISG15")]].toarray().ravel() / everything.sum(axis=1).A1 * 1e4
    at = shown["genes"].index("ISG15")
    predicted = (kept.obs["role"] == "perturbed").to_numpy()
    group = next(group for group in shown["groups"] if group["role"] == "perturbed")
    assert group["mean"][at] == pytest.approx(np.log1p(counts[predicted]).mean(), abs=0.006)
    assert group["share"][at] == pytest.approx((counts[predicted] > 0).mean(), abs=0.006)
    donor = next(row for row in shown["effects"]["donors"] if row["name"].startswith("D1"))
    mine = kept.obs["donor_id"].str.endswith(":D1") & (kept.obs["cell_type_name"] == "CD14+ monocyte")
    arms = [counts[(mine & (kept.obs["role"] == role)).to_numpy()] for role in ("prompt", "control_prompt")]
    assert donor["x"][at] == pytest.approx(np.log2((arms[0].mean() + 1) / (arms[1].mean() + 1)), abs=0.006)
    assert donor["low"][at] < donor["x"][at] < donor["high"][at]


def test_the_page_links_every_file_and_stays_small(finish):
    run = finish()
    tags = page(run).tags
    for ending in ("predictions.h5ad", "other_prompts.h5ad", "de.csv", "enrichment.csv", "log.json"):
        assert ("a", {"href": f"run_demo_{ending}"}) in tags
        assert run.file(ending).exists()
    assert run.file("report.html").stat().st_size < 3e6


def test_failed_runs_get_a_page_and_lose_it_when_mended(fresh):
    run = fresh()
    results = run.folder.parents[1]
    failure = Failure(
        run_id="run_demo",
        rule="generate_prompts",
        iteration=2,
        error_type="RetrievalError",
        message="no cell set <b>fits</b>\nname another cell type",
        log="logs/runs/run_demo/x.log",
    )
    write_json(run.folder / "failure.json", failure)
    runs = [("run_demo", "What? <script>"), ("run_fine", "Fine?")]
    (written,) = report_failures(runs, results)
    found = Page(written.read_text())
    assert "The run failed while building prompts, in iteration 2." in found.text
    assert "no cell set <b>fits</b>" in found.text
    assert "B cell CL:0000236" in found.text
    assert "script" not in found.names()
    (run.folder / "query.json").write_text('{"cut off')
    (written,) = report_failures(runs, results)
    assert "The run failed while building prompts" in Page(written.read_text()).text
    (run.folder / "failure.json").unlink()
    assert report_failures(runs, results) == []
    assert not written.exists()


def test_log_contract_survives_reading(finish):
    run = finish()
    assert read_json(run.file("log.json"), RunLog) == run.log
