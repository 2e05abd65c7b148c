"""Words for what is done to cells become one perturbation, or none."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from haystack.knowledge import gene_symbol, perturbations, resolve_perturbation, suggest_perturbations
from haystack.knowledge.names import bare, key

# Names as the Parse 10M PBMC atlas writes them.
PARSE = """
4-1BBL|ADSF|APRIL|BAFF|C3a|C5a|CD27L|CD30L|CD40L|CT-1|Decorin|EGF|EPO|FGF-beta|FLT3L|FasL|G-CSF|GDNF|GITRL|GM-CSF
HGF|IFN-alpha1|IFN-beta|IFN-epsilon|IFN-gamma|IFN-lambda1|IFN-lambda2|IFN-lambda3|IFN-omega|IGF-1|IL-1-alpha
IL-1-beta|IL-10|IL-11|IL-12|IL-13|IL-15|IL-16|IL-17A|IL-17B|IL-17C|IL-17D|IL-17E|IL-17F|IL-18|IL-19|IL-1Ra|IL-2
IL-20|IL-21|IL-22|IL-23|IL-24|IL-26|IL-27|IL-3|IL-31|IL-32-beta|IL-33|IL-34|IL-35|IL-36-alpha|IL-36Ra|IL-4|IL-5|IL-6
IL-7|IL-8|IL-9|LIF|LIGHT|LT-alpha1-beta2|LT-alpha2-beta1|Leptin|M-CSF|Noggin|OSM|OX40L|PRL|PSPN|RANKL|SCF|TGF-beta1
TL1A|TNF-alpha|TPO|TRAIL|TSLP|TWEAK|VEGF
"""

# Names as the OpenProblems 2023 atlas writes them.
OPEN_PROBLEMS = """
5-(9-Isopropyl-8-methyl-2-morpholino-9H-purin-6-yl)pyrimidin-2-amine|ABT-199 (GDC-0199)|ABT737|AMD-070 (hydrochloride)
AT 7867|AT13387|AVL-292|AZ628|AZD-8330|AZD3514|AZD4547|Alogliptin|Amiodarone|Atorvastatin|Azacitidine|BAY 61-3606
BAY 87-2243|BI-D1870|BMS-265246|BMS-387032|BMS-536924|BMS-777607|BX 912|Belinostat|Bosutinib|Buspirone|CC-401
CEP-18770 (Delanzomib)|CEP-37440|CGM-097|CGP 60474|CHIR-99021|Cabozantinib|Canertinib|Ceritinib|Chlorpheniramine
Clemastine|Clomipramine|Clotrimazole|Colchicine|Colforsin|Crizotinib|Dabrafenib|Dactolisib|Dasatinib|Decitabine
Defactinib|Desloratadine|Disulfiram|Dovitinib|Doxorubicin|FK 866|Flutamide|Foretinib|GLPG0634|GO-6976|GSK-1070916
GSK256066|GW843682X|Ganetespib (STA-9090)|HMN-214|HYDROXYUREA|I-BET151|IKK Inhibitor VII|IMD-0354|IN1451|Idelalisib
Imatinib|Isoniazid|Ixabepilone|K-02288|Ketoconazole|LDN 193189|LY2090314|Lamivudine|Lapatinib|Linagliptin|MGCD-265
MK-5108|MLN 2238|Masitinib|Methotrexate|Midostaurin|Mometasone Furoate|Mubritinib (TAK 165)|Navitoclax|Nefazodone
Nilotinib|O-Demethylated Adapalene|OSI-930|Oprozomib (ONX 0912)|Oxybenzone|PD-0325901|PF-03814735|PF-04691502|PRT-062607
Palbociclib|Penfluridol|Perhexiline|Phenylbutazone|Pitavastatin Calcium|Pomalidomide|Porcn Inhibitor III|Prednisolone
Proscillaridin A;Proscillaridin-A|Protriptyline|Quizartinib|R428|RG7090|RG7112|RN-486|RVX-208|Raloxifene|Resminostat
Ricolinostat|Riociguat|Ruxolitinib|SB525334|SCH-58261|SLx-2119|STK219801|Saracatinib|Scriptaid|Selumetinib|Sgc-cbp30
Sunitinib|TGX 221|TIE2 Kinase Inhibitor|TL_HRAS26|TPCA-1|TR-14035|Tacalcitol|Tamatinib|Tipifarnib|Tivantinib|Tivozanib
Topotecan|Tosedostat|Trametinib|Vandetanib|Vanoxerine|Vardenafil|Vorinostat|YK 4-279|UNII-BXU45ZH6LI
"""

SAME = {
    "IFN-gamma": "IFNg|IFN-gamma|IFN gamma|interferon gamma|Interferon-γ|IFNG|IFN-γ|ifn_gamma|IFNγ|type II interferon",
    "IFN-beta": "IFNb|IFN-β|interferon beta|IFNB1|IFN-beta1|Interferon beta-1a|recombinant human IFN-beta|rhIFN-β",
    "IFN-alpha": "IFNa|interferon alpha|IFN-α2b|type I interferon|IFNA2|interferon alfa-2a",
    "TGF-beta1": "TGFβ1|TGF-beta|TGF-β|TGFB1|TGF beta 1|transforming growth factor beta|TGFb",
    "TNF-alpha": "TNF|TNFα|TNF-a|tumor necrosis factor|tumour necrosis factor alpha|TNFalpha",
    "IL-2": "IL2|IL-2|interleukin 2|Interleukin-2|il-2|hIL-2|recombinant IL-2|aldesleukin",
    "IL-1-beta": "IL-1β|IL1B|IL-1b|interleukin-1 beta|IL-1beta|IL 1 beta|IL-1",
    "IL-12": "IL-12p70|IL12|interleukin 12",
    "IL-17A": "IL-17|IL17A|interleukin 17A",
    "IFN-lambda1": "IL-29|IFNL1|IFN-λ1|type III interferon|interferon lambda",
    "FGF-beta": "FGF2|bFGF|FGF-basic|basic fibroblast growth factor|FGF-2",
    "GM-CSF": "GMCSF|CSF2|granulocyte-macrophage colony-stimulating factor",
    "IL-17E": "IL-25|IL25",
    "sirolimus": "rapamycin|Rapamune|Sirolimus",
    "belinostat": "Belinostat|belinostat hydrochloride|PXD101|PXD-101",
    "imatinib": "imatinib mesylate|Gleevec|STI571",
    "dexamethasone": "DEX|dexamethasone 100 nM|Dexamethasone (1 µM)|dexamethasone sodium phosphate",
    "lipopolysaccharide": "LPS|endotoxin|LPS 24h|LPS stimulation|LPS (100 ng/ml)",
    "anti-CD3/CD28": "anti-CD3/anti-CD28|anti CD3 CD28|CD3/CD28 beads|αCD3/CD28",
    "JAK inhibitor": "JAK inhibitors|JAKi|Janus kinase inhibitor",
    "TNF blockade": "anti-TNF|TNF blockade|TNF-alpha inhibitor|anti-TNFα",
    "aspirin": "acetylsalicylic acid|Aspirin",
    "all-trans-retinoic acid": "ATRA|retinoic acid|tretinoin",
}

GENETIC = {
    "STAT1 knock-out": "STAT1 KO|STAT1 knockout|knock-out of STAT1|STAT1-/-|Stat1-/-|KO-STAT1|STAT1_KO|"
    "CRISPR STAT1|loss of STAT1|STAT1-deficient",
    "MYC knock-down": "MYC siRNA|siRNA against MYC|shMYC|MYC knockdown|CRISPRi of MYC|MYC CRISPRi",
    "FOXP3 overexpression": "FOXP3 overexpression|over-expression of FOXP3|OE FOXP3|FOXP3 CRISPRa|"
    "CRISPR activation of FOXP3",
    "TP53 knock-out": "p53 knockout|TP53 loss",
    "CXCL8 knock-out": "IL8 knock-out",
}


@pytest.mark.parametrize(("name", "words"), SAME.items())
def test_all_ways_to_write_it_are_one_perturbation(name, words):
    for word in words.split("|"):
        found = resolve_perturbation(word)
        assert found is not None, word
        assert (found.name, found.query) == (name, word)


@pytest.mark.parametrize(("name", "words"), GENETIC.items())
def test_genetic_perturbations(name, words):
    for word in words.split("|"):
        found = resolve_perturbation(word)
        assert found is not None, word
        assert found.name == name
        assert found.type == "genetic"
        assert found.direction == (1 if "over" in name else -1)
        assert found.external_ids["HGNC"] == found.targets[0] == name.split()[0]


def test_every_condition_of_two_large_atlases_resolves():
    cytokines = PARSE.strip().replace("\n", "|").split("|")
    assert len(cytokines) == 90
    for name in cytokines:
        found = resolve_perturbation(name, hint="cytokine")
        assert found is not None, name
        assert name in (found.name, *found.synonyms)
    names = OPEN_PROBLEMS.strip().replace("\n", "|").split("|")
    assert len(names) == 145
    missing = [name for name in names if resolve_perturbation(name, hint="drug") is None]
    assert not missing


def test_drugs_beyond_the_table_resolve_through_chebi():
    known = {perturbation.name for perturbation in perturbations()}
    for word, identifier in {
        "mebendazole": "CHEBI:6704",
        "warfarin": "CHEBI:10033",
        "Omeprazole": "CHEBI:7772",
        "metoprolol hydrochloride": "CHEBI:6904",
    }.items():
        found = resolve_perturbation(word)
        assert found is not None, word
        assert found.name not in known
        assert found.type == "drug"
        assert found.external_ids["ChEBI"] == identifier
        assert found.expected_targets == {}, "nothing is invented"


NOT_ONE = """
unicorn juice|control|ctrl|PBS|DMSO|untreated|none|CD4|CD14|NK|T cell|STAT1|interferon|IFN|UNICORN1 knock-out
cell knock-out|IL-2 + IL-15|IL-2R|😀|<b>|'; DROP
"""


@pytest.mark.parametrize("text", ["", "  ", "x" * 10_000, *NOT_ONE.strip().replace("\n", "|").split("|")])
def test_what_is_not_one_known_perturbation_is_none(text):
    assert resolve_perturbation(text) is None


def test_hints():
    assert resolve_perturbation("IFNG").type == "cytokine"
    assert resolve_perturbation("IFNG", hint="drug") is None
    assert resolve_perturbation("ibrutinib", hint="cytokine") is None
    assert resolve_perturbation("ibrutinib", hint="unknown").name == "ibrutinib"
    bare_gene = resolve_perturbation("IFNG", hint="genetic")
    assert (bare_gene.type, bare_gene.direction, bare_gene.expected_targets) == ("genetic", None, {})
    assert resolve_perturbation("STAT1+ctrl", hint="genetic").targets == ["STAT1"]


def test_suggestions():
    assert suggest_perturbations("dexametasone")[0] == "dexamethasone"
    assert suggest_perturbations("ibrutinb")[0] == "ibrutinib"
    assert suggest_perturbations("STAT1")[:2] == ["STAT1 knock-out", "STAT1 overexpression"]
    assert suggest_perturbations("IL-4 + IL-13")[:2] == ["IL-4", "IL-13"]
    assert "IFN-gamma" in suggest_perturbations("interferon", n=8)
    assert suggest_perturbations("control") == []
    assert len(suggest_perturbations("IL", n=3)) <= 3


def test_the_caller_may_change_what_it_gets():
    first = resolve_perturbation("IFN-beta")
    first.expected_targets.clear()
    first.synonyms.append("nonsense")
    second = resolve_perturbation("IFN-beta")
    assert second.expected_targets
    assert "nonsense" not in second.synonyms


def test_loss_and_gain_of_a_factor_expect_opposite_things():
    loss, gain = resolve_perturbation("STAT1 KO"), resolve_perturbation("STAT1 overexpression")
    assert loss.expected_targets["IRF1"] == -1
    assert loss.expected_pathways["Interferon gamma response"] == -1
    assert loss.expected_tfs == {"STAT1": -1}
    assert gain.expected_targets == {gene: -sign for gene, sign in loss.expected_targets.items()}
    brake = resolve_perturbation("SOCS1 knock-out")
    assert brake.expected_pathways["Interferon gamma response"] == 1, "losing a brake raises the response"
    assert list(brake.expected_targets) == ["SOCS1"]


def test_blocking_a_cytokine_turns_its_expectations_round():
    blocked, itself = resolve_perturbation("anti-IL-15"), resolve_perturbation("IL-15")
    assert (blocked.name, blocked.type, blocked.targets) == ("anti-IL-15", "drug", ["IL15"])
    assert blocked.expected_targets == {gene: -sign for gene, sign in itself.expected_targets.items()}
    assert resolve_perturbation("infliximab").expected_targets["NFKBIA"] == -1


def test_classes_share_what_their_members_do():
    kind, member = resolve_perturbation("glucocorticoids"), resolve_perturbation("dexamethasone")
    assert kind.targets == ["NR3C1"]
    assert kind.expected_targets == member.expected_targets
    assert kind.name not in {perturbation.name for perturbation in perturbations()}


def test_gene_symbols():
    assert [gene_symbol(word) for word in ("il8", "CTGF", "stat1", "H2AFX", "NOTAGENE")] == [
        *("CXCL8", "CCN2", "STAT1", "H2AX"),
        None,
    ]


def test_keys_and_salts():
    assert key("IFN-γ") == key("interferon gamma") == key("IFNg") == "ifng"
    assert key("β-estradiol") == key("beta-estradiol") != key("b-estradiol")
    assert bare("recombinant human IL-2") == "IL-2"
    assert bare("imatinib mesylate") == "imatinib"
    assert bare("metformin hydrochloride (monohydrate)") == "metformin"


@given(st.text(max_size=80))
def test_any_text_is_answered(text):
    found = resolve_perturbation(text)
    assert found is None or found.name
    assert len(suggest_perturbations(text[:20])) <= 5
