"""Each mechanism of the parser by itself: negation, genes, amounts, spelling, species, lines, lists, strictness."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from haystack.config import QuerySettings
from haystack.errors import QueryParsingError
from haystack.query import parse_question, parse_run
from haystack.query.amounts import find_doses, find_times
from haystack.query.genetics import find_genes
from haystack.query.negation import find_negations, negated
from haystack.query.spelling import repair
from haystack.query.text import span, split_words


@pytest.mark.parametrize(
    ("text", "name", "is_negated"),
    [
        ("monocytes with LPS without IFN", "IFN", True),
        ("monocytes with LPS without IFN", "LPS", False),
        ("B cells not treated with rituximab but with obinutuzumab", "rituximab", True),
        ("B cells not treated with rituximab but with obinutuzumab", "obinutuzumab", False),
        ("How do T cells not stimulated with IL-2 respond to IL-7?", "IL-2", True),
        ("How do T cells not stimulated with IL-2 respond to IL-7?", "IL-7", False),
        ("NK cells, no cytokines, just dasatinib", "dasatinib", False),
        ("infliximab but not adalimumab in monocytes", "adalimumab", True),
        ("T cells without IL-2, IL-7 and IL-15 under TNF", "IL-15", True),
        ("T cells without IL-2, IL-7 and IL-15 under TNF", "TNF", False),
        ("IL-2-free medium for T cells", "IL-2", True),
        ("the consequence of IL-2 removal", "IL-2", True),
        ("Withhold IL-2 from T cells", "IL-2", True),
        ("remove IL-2 from T cells", "IL-2", True),
        ("anything but IL-2", "IL-2", True),
        ("IL-2 was not added to the T cells", "IL-2", True),
        ("T cells don't respond to IL-2", "IL-2", True),
        ("not only IL-2 but also IL-7", "IL-2", False),
        ("rapamycin with and without IL-2", "IL-2", False),
    ],
)
def test_what_a_negator_governs(text: str, name: str, is_negated: bool) -> None:
    where = span(text, text.index(name), text.index(name) + len(name))
    assert (negated(where, text, find_negations(text, split_words(text))) is not None) is is_negated


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("If TET2 were lost in monocytes", [("TET2 knock-out", -1)]),
        ("sgRNA targeting PDCD1 in T cells", [("PDCD1 knock-out", -1)]),
        ("CFTR-deficient ionocytes", [("CFTR knock-out", -1)]),
        ("haploinsufficiency of RUNX1", [("RUNX1 knock-out", -1)]),
        ("STAT1-/- monocytes", [("STAT1 knock-out", -1)]),
        ("knock STAT3 out in T cells", [("STAT3 knock-out", -1)]),
        ("dCas9-KRAB silencing of EZH2", [("EZH2 knock-down", -1)]),
        ("KLF1 and AHR overexpressed together", [("KLF1 overexpression", 1), ("AHR overexpression", 1)]),
        ("Double knockout of DNMT3A and TET2", [("DNMT3A knock-out", -1), ("TET2 knock-out", -1)]),
        ("T cells transduced with FOXP3", [("FOXP3 overexpression", 1)]),
        ("T cells transduced with sgRNA against CTLA4", [("CTLA4 knock-out", -1)]),
        ("loss of TP53 and gain of MYC", [("TP53 knock-out", -1), ("MYC overexpression", 1)]),
        ("MYC amplification in hepatocytes", [("MYC overexpression", 1)]),
        ("BRAF V600E in melanocytes", [("BRAF V600E", 1)]),
        ("GATA1 mutant erythroblasts", [("GATA1 perturbation", None)]),
        ("TOX in CD8 T cells", [("TOX perturbation", None)]),
        ("CSF1R inhibition in macrophages", [("CSF1R inhibitor", -1)]),
        ("β-catenin knockdown", [("CTNNB1 knock-down", -1)]),
        ("loss of HIF-1α and c-Myc", [("HIF1A knock-out", -1), ("MYC knock-out", -1)]),
        ("gasdermin D deficient cells", [("GSDMD knock-out", -1)]),
        ("C/EBPα overexpression, PU.1 knockdown", [("CEBPA overexpression", 1), ("SPI1 knock-down", -1)]),
        ("If RUNX3 were missing", [("RUNX3 knock-out", -1)]),
        ("restoring FOXP3", [("FOXP3 overexpression", 1)]),
        ("miR-155 overexpression", [("miR-155 overexpression", 1)]),
        ("astrocytes made to express NEUROD1", [("NEUROD1 overexpression", 1)]),
        ("T cells engineered to express a CD19 CAR", []),
        ("survivin in hepatocytes", []),
    ],
)
def test_the_direction_of_a_gene_is_told_by_grammar(text: str, expected: list[tuple[str, int | None]]) -> None:
    found = [item for item in find_genes(text, [], []) if not item.read_out]
    assert [(item.perturbation.name, item.perturbation.direction) for item in found] == expected


@pytest.mark.parametrize(
    "text", ["CD14+ monocytes", "ACE2 expression in AT2 cells", "cells expressing CD69", "CD8 T cells"]
)
def test_genes_that_are_only_read_out_are_not_perturbed(text: str) -> None:
    assert all(item.read_out or item.trigger is None for item in find_genes(text, [], []))


@pytest.mark.parametrize(
    ("text", "doses", "times"),
    [
        ("5 ng per ml IL-2 for a day", ["5 ng per ml"], ["a day"]),
        ("10 ng ml-1 for 24h", ["10 ng ml-1"], ["24h"]),
        ("MOI of 5 for half an hour", ["MOI of 5"], ["half an hour"]),
        ("hypoxia (1% O2) overnight", [], ["overnight"]),
        ("2 Gy, 1,000 U/mL, 2-3 days", ["2 Gy", "1,000 U/mL"], ["2-3 days"]),
        ("twice a day, six-year-old donor D3", [], []),
        ("a second dose of LPS", [], []),
        ("ten nanograms per millilitre for 6, 24 and 48 h", ["ten nanograms per millilitre"], ["6 h", "24 h", "48 h"]),
        ("10⁻⁶ M or 1 000 U/ml, 72hpi", ["10⁻⁶ M", "1 000 U/ml"], ["72hpi"]),
    ],
)
def test_amounts(text: str, doses: list[str], times: list[str]) -> None:
    assert [where.text for where in find_doses(text)] == doses
    assert [where.text for where in find_times(text)] == times


def test_spelling_is_repaired_for_every_kind_of_name_and_leads_back() -> None:
    text = "How woudl natrual killer cells and machrophages respond to dexamethazone?"
    repaired = repair(text)
    assert repaired.text == "How would natural killer cells and macrophages respond to dexamethasone?"
    start = repaired.text.index("macrophages")
    place = slice(repaired.origin(start), repaired.origin(start + len("macrophages"), end=True))
    assert text[place] == "machrophages"


@pytest.mark.parametrize(
    "text",
    [
        "sparkling B cells",
        "flurbotinib for frobnocytes",
        "HeLa and LoVo",
        "Tabula Sapiens",
        "BRAF",
        "senescence, muteins",
    ],
)
def test_what_is_near_nothing_or_known_is_left_alone(text: str) -> None:
    assert repair(text).repairs == []


@given(st.text(alphabet="abcdeIL-2 machropge", max_size=60))
def test_every_place_of_a_repaired_text_leads_into_the_question(text: str) -> None:
    repaired = repair(text)
    places = [repaired.origin(place) for place in range(len(repaired.text))]
    assert places == sorted(places)
    assert all(0 <= place <= len(text) for place in places)


@pytest.mark.parametrize(
    ("text", "species"),
    [
        ("rat hepatocytes with insulin", "Rattus norvegicus"),
        ("murine T cells and IL-2", "Mus musculus"),
        ("IL-2 on macaque NK cells", "Macaca"),
        ("zebrafish macrophages after LPS", "Danio rerio"),
    ],
)
def test_other_species_are_refused_by_name(text: str, species: str) -> None:
    with pytest.raises(QueryParsingError, match=species):
        parse_question(text)


@pytest.mark.parametrize(
    "text", ["LPS from E. coli on macrophages", "T cells in fetal bovine serum with IL-2", "IL-6 on human hepatocytes"]
)
def test_reagents_and_stimuli_from_other_species_are_no_species_of_cells(text: str) -> None:
    assert parse_question(text).cell_type_cl_id


@pytest.mark.parametrize(
    ("text", "line", "type_id", "tissue"),
    [
        ("K562 + IFN-gamma", "K-562", "CL:0000764", "UBERON:0002371"),
        ("A549 + dexamethasone", "A-549", "CL:0002063", "UBERON:0002048"),
        ("MCF7 + tamoxifen", "MCF-7", "CL:0002326", "UBERON:0000310"),
    ],
)
def test_a_cell_line_has_type_and_tissue(text: str, line: str, type_id: str, tissue: str) -> None:
    query = parse_question(text)
    assert (query.asked.cells.line, query.cell_type_cl_id, query.target_tissue) == (line, type_id, tissue)
    assert len(query.perturbations) == 1


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("the JAK inhibitor filgotinib in fibroblasts", ["filgotinib"]),
        ("fibroblasts under adalimumab, a TNF blocker", ["adalimumab"]),
        ("T cells upon BRD4 inhibition with JQ1", ["JQ1"]),
        ("PMA/iono on CD4 T cells", ["phorbol 12-myristate 13-acetate", "ionomycin"]),
        ("Tylenol on hepatocytes", ["paracetamol"]),
        ("TSH on thyroid follicular cells", ["TSHB"]),
    ],
)
def test_members_siblings_and_other_names(text: str, names: list[str]) -> None:
    assert [item.name for item in parse_question(text).perturbations] == names


@pytest.mark.parametrize(
    ("text", "symbol"),
    [
        ("ATM knockout in T cells", "ATM"),
        ("sgRNA against SST in hepatocytes", "SST"),
        ("knockdown of the HR gene in B cells", "HR"),
        ("CAT overexpression in hepatocytes", "CAT"),
        ("BCR knockout in B cells", "BCR"),
    ],
)
def test_a_symbol_beside_what_was_done_is_a_gene_whatever_else_it_names(text: str, symbol: str) -> None:
    query = parse_question(text)
    assert [item.targets for item in query.perturbations] == [[symbol]]
    assert query.cell_type_name in {"T cell", "hepatocyte", "B cell"}


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("SST neurons with IL-6", "sst GABAergic interneuron"),
        ("Transduce CD34+ progenitors with HOXB4", "hematopoietic precursor cell"),
        ("loss of SST neurons in Alzheimer disease", "sst GABAergic interneuron"),
        ("osteoclast precursors with RANKL", "monocyte"),
        ("proximal tubule epithelium under gentamicin", "epithelial cell of proximal tubule"),
        ("IL-4 on TAMs", "macrophage"),
        ("M. tuberculosis infected alveolar macrophages", "alveolar macrophage"),
        ("CRISPRa of IL2RA, CD4 T cells", "CD4-positive, alpha-beta T cell"),
        ("anti-PD-L1 antibody on macrophages", "macrophage"),
        ("NK, bortezomib", "natural killer cell"),
        ("amphotericin B on neutrophils", "neutrophil"),
        ("Bile duct cells with fenofibrate", "cholangiocyte"),
        ("insulin on BAT adipocytes", "adipocyte"),
        ("IL-2 on B", "B cell"),
        ("I'm interested in megakaryocytes with TPO", "megakaryocyte"),
        ("AML blasts treated with venetoclax", "malignant cell"),
        ("Th2 polarisation: IL-4 given to naive B cells", "naive B cell"),
        ("conditioned medium from macrophages on fibroblasts", "fibroblast"),
    ],
)
def test_cells_are_found_beside_names_that_hold_or_touch_them(text: str, name: str) -> None:
    assert parse_question(text).cell_type_name == name


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("Humira's effect on macrophages", ["adalimumab"]),
        ("IL-2's action in NK cells", ["IL-2"]),
        ("bisphenol A in Sertoli cells", ["bisphenol A"]),
        ("M. tuberculosis in macrophages", ["Mycobacterium tuberculosis"]),
        ("BCG vaccination and monocytes", ["BCG"]),
        ("TCR stimulation of CD4 T cells", ["anti-CD3/CD28"]),
        ("anti-CD47 antibody on macrophages", ["CD47 blockade"]),
        ("Does IFN-beta make hepatocytes antiviral?", ["IFN-beta"]),
        ("thyroid hormone in astrocytes", ["liothyronine"]),
        ("Block TNF in macrophages", ["TNF blockade"]),
        ("hepatocytes, by neutralising IL-6", ["anti-IL-6"]),
        ("IL-6 is blocked in hepatocytes", ["anti-IL-6"]),
        ("neutralisation of IL-6 in hepatocytes", ["anti-IL-6"]),
        ("LPS and blocking IL-10 in macrophages", ["lipopolysaccharide", "anti-IL-10"]),
        ("Does IL-10 block TNF in macrophages?", ["IL-10"]),
        ("Can dexamethasone prevent IL-6 induction in fibroblasts?", ["dexamethasone"]),
        ("the opposite of IL-10 in macrophages", []),
        ("NK cells of CMV seropositive donors with IL-15", ["IL-15"]),
        ("airway basal cells of CF donors: IL-13", ["IL-13"]),
        ("nigericin-primed macrophages", ["nigericin"]),
        ("INF-gamma on macrophages", ["IFN-gamma"]),
        ("LPS from Salmonella on macrophages", ["lipopolysaccharide"]),
        ("T cells in hypoxic conditions", ["hypoxia"]),
        ("scf + tpo + flt3l on HSPCs", ["SCF", "TPO", "FLT3L"]),
        ("monocytes treated with anything but dexamethasone, namely LPS", ["lipopolysaccharide"]),
        ("Stop TGF-β signalling with galunisertib in fibroblasts", ["galunisertib"]),
        ("tamoxifen and luminal breast epithelium", ["tamoxifen"]),
        ("alveolar macrophages in COVID-19 and influenza", []),
        ("Do antibodies against IL-6 change hepatocytes?", ["anti-IL-6"]),
        ("neutralising antibodies to TNF in synovial macrophages", ["TNF blockade"]),
        ("How would fibroblasts react to a TGF-beta trap?", ["anti-TGF-beta1"]),
        ("How would monocytes respond to an inhibitor of IL-6?", ["anti-IL-6"]),
        ("How would B cells respond to an antibody to CD20?", ["CD20 antibody"]),
        ("How would monocytes respond to an IFNAR1 antibody?", ["IFNAR1 blockade"]),
        ("How would B cells respond to agonistic anti-CD40?", ["CD40 agonist"]),
        ("How would T cells respond to a 4-1BB agonist antibody?", ["TNFRSF9 agonist"]),
        ("Th17 cells after a RORγt inverse agonist", ["RORC inhibitor"]),
        ("How would hepatocytes respond to the FXR agonist obeticholic acid?", ["obeticholic acid"]),
        (
            "How would RSV-infected ciliated cells respond to palivizumab?",
            ["palivizumab", "respiratory syncytial virus"],
        ),
        ("Macrophages from anti-TNF non-responders with LPS", ["lipopolysaccharide"]),
        ("epithelial cells of tofacitinib-refractory patients and IL-22", ["IL-22"]),
        ("steroid-insensitive keratinocytes with IL-13", ["IL-13"]),
        ("What if imatinib is stopped in monocytes with IL-6?", ["IL-6"]),
        ("T cells of patients who stopped taking methotrexate, with TNF", ["TNF-alpha"]),
        ("IL-2 was replaced by IL-15 in NK cells", ["IL-15"]),
        ("NK cells switched from IL-2 to IL-15", ["IL-15"]),
        ("neural stem cells after EGF/FGF2 withdrawal", ["anti-EGF", "anti-FGF-beta"]),
        ("T cells with IL-7 after IL-2 and IL-15 deprivation", ["IL-7"]),
        ("T cells with IL-2 and TGF-beta-free medium", ["IL-2"]),
        ("How would NK cells respond to K562 cells?", ["co-culture with K562 cells"]),
        ("How would neutrophil extracellular traps affect endothelial cells?", ["neutrophil extracellular traps"]),
        ("Does blocking the IL-6 receptor matter for T cells?", ["IL-6 receptor blockade"]),
        ("macrophages when CSF1R signalling is abolished", ["CSF1R inhibitor"]),
        ("What does IL-1R antagonism do in chondrocytes?", ["IL1R1 inhibitor"]),
        ("How would monocytes respond to TLR2 ligation?", ["Toll-like receptor 2 agonist"]),
        ("Effect of PPARγ activation on adipocytes", ["PPAR-gamma agonist"]),
        ("How would endothelial cells respond to Ang-2?", ["ANGPT2"]),
        ("acinar cells with KRASG12D", ["KRAS G12D"]),
        ("monocytes +LPS -dexamethasone", ["lipopolysaccharide"]),
        ("monocytes LPS(-) TNF(+)", ["TNF-alpha"]),
        ("monocytes w/o LPS", []),
        ("How would NK cells fare if IL-15 ran out?", ["anti-IL-15"]),
        ("In IL-15's absence, how would NK cells change?", ["anti-IL-15"]),
        ("What if IL-15 isn't there for NK cells?", ["anti-IL-15"]),
        ("suppression of TGF-beta in T cells", ["anti-TGF-beta1"]),
        ("keratinocytes, IL-17A neutralized", ["IL-17 blockade"]),
        ("Interferone gamma on keratinocytes", ["IFN-gamma"]),
        ("TNF antagonises insulin in adipocytes", ["TNF-alpha"]),
        ("T cells - IL-2", ["IL-2"]),
        ("How do EGFR inhibitor-resistant epithelial cells respond to MET inhibition?", ["MET inhibitor"]),
        ("GM-CSF-independent monocytes with IL-4", ["IL-4"]),
        ("Does aspirin reduce IL-1β-induced PGE2 in fibroblasts?", ["aspirin", "IL-1-beta"]),
        ("type II IFN in macrophages", ["IFN-gamma"]),
        ("CD3 engagement in T cells", ["anti-CD3"]),
        ("keratinocytes and UVB", ["ultraviolet light"]),
        ("PD-1/PD-L1 blockade in T cells", ["PD-1 or PD-L1 antibody"]),
        ("arginine starvation in T cells", ["arginine starvation"]),
        ("contact inhibition of fibroblasts", ["contact inhibition"]),
        ("What does withdrawal of dexamethasone do to adipocytes?", []),
        ("glycolysis inhibition in T cells", ["glycolysis inhibition"]),
        ("interferon blockade in monocytes", ["interferon blockade"]),
        ("How would IgE blockade affect basophils?", ["anti-IgE"]),
        ("JAK1/JAK2 inhibition in fibroblasts", ["JAK1 inhibitor", "JAK2 inhibitor"]),
        ("TNF receptor 1 knockout in hepatocytes", ["TNFRSF1A knock-out"]),
        ("toll-like receptor 4 knockout in macrophages", ["TLR4 knock-out"]),
        ("B cell receptor crosslinking in B cells", ["anti-IgM"]),
        ("tylenol on hepatocytes", ["paracetamol"]),
        ("alcohol on hepatocytes", ["ethanol"]),
        ("NK cells had IL-2 overnight; what if IL-15 had been given instead?", ["IL-15"]),
        ("bee venom on mast cells", ["bee venom"]),
        ("laser injury on keratinocytes", ["laser injury"]),
        ("KLF1 activation in T cells", ["KLF1 overexpression"]),
        ("How would CRISPRi of STAT1 act in the IFN-gamma screen of A549?", ["STAT1 knock-down", "IFN-gamma"]),
        ("EBV-transformed B cells and ibrutinib", ["ibrutinib", "Epstein-Barr virus"]),
        ("endometrial stromal cells + progesterone", ["progesterone"]),
        ("T cells treated with cyclosporin", ["cyclosporin A"]),
        ("How would T cells respond to dendritic cells?", ["co-culture with dendritic cells"]),
    ],
)
def test_treatments_are_found_in_any_grammar(text: str, names: list[str]) -> None:
    assert [item.name for item in parse_question(text).perturbations] == names


def test_donors_are_read_in_quotes_behind_a_colon_and_beside_a_reference() -> None:
    assert parse_question('No mast cells for donor "S7"; reconstruct them').target_donor_id == "S7"
    assert parse_question("cells: monocytes; treatment: LPS; donor: HD03").target_donor_id == "HD03"
    query = parse_question("Using donor A as a reference, predict donor B's NK cells after IL-15")
    assert (query.reference_donor_id, query.target_donor_id) == ("A", "B")


def test_a_word_that_may_turn_the_question_round_is_a_doubt_where_nothing_used_it() -> None:
    doubt = "may turn the question round"
    for text in (
        "TNF with its quencher on hepatocytes",
        "How would RUNX1 silencing vs overexpression affect HSCs?",
        "T cells that were once exposed to IL-2 but no longer are",
    ):
        assert any(doubt in warning for warning in parse_question(text).warnings), text
    for text in (
        "T cells with IL-7 but without IL-2",
        "STAT1-depleted T cells with IL-2",
        "not only IL-2 but also IL-7, T cells",
    ):
        assert not any(doubt in warning for warning in parse_question(text).warnings), text


def test_a_gene_inside_a_disease_s_name_is_no_gene() -> None:
    query = parse_question("T cells of patients with combined immunodeficiency due to ZAP70 deficiency given IL-2")
    assert (query.target_disease_state, query.perturbation_resolved) == ("MONDO:0010023", "IL-2")


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("STAT3 KO T cells with IL-6", ["IL-6", "STAT3 knock-out"]),
        ("CRISPR-edited T cells stimulated with IL-2", ["IL-2"]),
        ("TET2-mutant monocytes + IL-6", ["IL-6", "TET2 perturbation"]),
        ("Cas9-expressing THP-1 monocytes exposed to IFN-gamma", ["IFN-gamma"]),
        ("knocking out both IL-4 and IL-13 in T cells", ["IL4 knock-out", "IL13 knock-out"]),
        ("IL-10-deficient macrophages", ["IL10 knock-out"]),
        ("NK cells, CISH KO, IL-15 10 ng/ml", ["CISH knock-out", "IL-15"]),
        ("keratinocytes with IL17RA knocked out, treated with IL-17A", ["IL-17A", "IL17RA knock-out"]),
        ("knockout of FROBN in T cells", ["FROBN knock-out"]),
    ],
)
def test_what_was_done_to_the_cells_is_not_done_to_what_they_are_given(text: str, names: list[str]) -> None:
    assert [item.name for item in parse_question(text).perturbations] == names


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("How do CD8 T cells respond to IL-15 after Treg depletion?", [("IL-15", None)]),
        ("IL-7R knockout in T cells", [("IL7R knock-out", -1)]),
        ("How would re-expression of VHL affect epithelial cells?", [("VHL overexpression", 1)]),
        ("rescue of CFTR expression in airway epithelial cells", [("CFTR overexpression", 1)]),
        ("STAT1 after CRISPRi in monocytes", [("STAT1 knock-down", -1)]),
    ],
)
def test_a_change_belongs_to_the_gene_it_is_said_of(text: str, expected: list[tuple[str, int | None]]) -> None:
    assert [(item.name, item.direction) for item in parse_question(text).perturbations] == expected


@pytest.mark.parametrize(
    ("text", "cells", "line", "disease"),
    [
        ("What do NK cells do to K562 cells?", "natural killer cell", None, None),
        ("THP-1 derived macrophages with IL-4", "macrophage", "THP-1", "acute monocytic leukemia"),
        ("How would PD-1-negative T cells respond to IL-10?", "T cell", None, None),
        ("T cells in MS with IL-2", "T cell", None, "multiple sclerosis"),
        ("Microglia in PD treated with LPS", "microglial cell", None, "Parkinson disease"),
        ("How would pituitary corticotrophs respond to CRH?", "corticotroph", None, None),
        ("How would mesenchymal stromal cells respond to TNF?", "mesenchymal stem cell", None, None),
        ("What does co-culture with fibroblasts do to T cells?", "T cell", None, None),
        ("How would exosomes from MSCs affect macrophages?", "macrophage", None, None),
        ("Would IL-10 make macrophages inflammatory?", "macrophage", None, None),
        ("Inhibitory effect of IL-10 on macrophages", "macrophage", None, None),
        ("How would T cell receptor inhibition affect T cells?", "T cell", None, None),
        ("How would anti-thymocyte globulin affect B cells?", "B cell", None, None),
        ("Muscle cells in DMD with prednisone", "muscle cell", None, "Duchenne muscular dystrophy"),
        ("smooth muscle cells in PAH with IL-6", "smooth muscle cell", None, "pulmonary arterial hypertension"),
        ("TNF on FLS", "type B synovial cell", None, None),
        ("ES cells given activin A", "embryonic stem cell", None, None),
        ("How would H1 horizontal cells respond to IL-2?", "H1 horizontal cell", None, None),
        (
            "How would IT neurons respond to IL-2?",
            "intratelencephalic-projecting glutamatergic cortical neuron",
            None,
            None,
        ),
        ("Effect of T cell-derived IL-17 on fibroblasts", "fibroblast", None, None),
        ("How would nasal epithelial cells respond to IL-13?", "epithelial cell", None, None),
    ],
)
def test_cells_lines_and_diseases_are_told_apart(text: str, cells: str, line: str | None, disease: str | None) -> None:
    asked = parse_question(text).asked
    assert (asked.cells.name, asked.cells.line, asked.context.disease_name) == (cells, line, disease)


def test_a_class_of_which_all_are_asked_for_is_doubted() -> None:
    assert any("many drugs" in doubt for doubt in parse_question("all kinase inhibitors in HUVECs").warnings)
    assert parse_question("a kinase inhibitor in HUVECs").warnings == []


def test_a_vector_s_short_form_is_no_disease() -> None:
    assert parse_question("AAV delivery of CFTR into airway basal cells").target_disease_state is None


def test_the_tissue_of_the_cells_comes_before_another_that_is_named_first() -> None:
    query = parse_question("We have liver biopsies; what would the spleen macrophages of this donor look like?")
    assert query.target_tissue == "UBERON:0002106"


def test_absence_alone_is_read_as_blockade_and_said() -> None:
    query = parse_question("What do keratinocytes look like in the absence of IL-17?")
    assert query.asked.direction == -1
    assert [item.name for item in query.asked.absent] == ["IL-17A"]
    assert any("absent" in warning for warning in query.warnings)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("How would sparkling B cells respond to IL-4?", "'sparkling' not understood"),
        ("dexamethazone on hepatocytes", "misspelt"),
        ("TP53 mutant hepatocytes", "write knock-out, knock-down or overexpression"),
        ("IL-2 on CD4, CD8 and NK cells", "name one"),
        ("T cells in asthma", "kind of question was guessed"),
        ("monocytes in the absence of IFN-gamma", "said to be absent"),
    ],
)
def test_a_strict_question_stops_at_every_guess(text: str, message: str) -> None:
    assert parse_run(text, QuerySettings(strict=False)).understanding < 0.95
    with pytest.raises(QueryParsingError, match=message):
        parse_run(text, QuerySettings())


def test_a_sure_question_passes() -> None:
    query = parse_run("How would NK cells respond to 10 ng/ml IL-15 for 24 h?", QuerySettings())
    assert query.understanding >= 0.95


@pytest.mark.parametrize(
    "text", ["all Parse cytokines on NK cells", "hepatocytes treated with the drugs of OpenProblems"]
)
def test_a_list_is_refused_with_its_command_and_no_member_is_picked(text: str) -> None:
    assert parse_question(text).perturbations == []
    with pytest.raises(QueryParsingError, match="haystack runs expand"):
        parse_run(text, QuerySettings(strict=False))


def test_a_drug_that_nobody_knows_stops_a_question_that_would_be_another_without_it() -> None:
    with pytest.raises(QueryParsingError, match="flurbotinib"):
        parse_question("Impute hepatocytes that flurbotinib cures")
