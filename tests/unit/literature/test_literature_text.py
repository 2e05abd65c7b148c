"""Cleaning, sentences, names, and what sentences state."""

from __future__ import annotations

import pytest

from haystack.literature.statements import read_sentence
from haystack.literature.text import clean, gene_pattern, names_pattern, plain, sentences

IFNB = names_pattern(["IFN-beta", "interferon beta", "IFNB1"])
IL10 = names_pattern(["IL-10", "interleukin-10"])
STATES = [
    ("IFN-β induces CXCL10 in human monocytes.", "CXCL10", 1),
    ("IFN-beta treatment upregulated ISG15, MX1 and CXCL10.", "CXCL10", 1),
    ("Interferon beta suppresses IL-6 secretion.", "IL6", -1),
    ("CXCL10 was strongly induced by IFN-β.", "CXCL10", 1),
    ("CXCL10 expression was significantly increased in IFNβ-treated cells.", "CXCL10", 1),
    ("We observed upregulation of CXCL10 by IFN-β.", "CXCL10", 1),
    ("Increased CXCL10 expression after IFN-β stimulation was seen.", "CXCL10", 1),
    ("IFN-β-induced CXCL10 production peaked at 6 h.", "CXCL10", 1),
    ("In IFN-β-treated monocytes, ISG15 and CXCL10 were upregulated.", "CXCL10", 1),
    ("After IFN-β exposure CXCL10 expression increased.", "CXCL10", 1),
    ("Treatment with IFN-β led to a decrease in CXCL10 mRNA.", "CXCL10", -1),
    ("Both ISG15 and CXCL10 were markedly reduced by IFN-β treatment.", "CXCL10", -1),
    ("IFN-β induced ISG15 and suppressed IL6.", "IL6", -1),
    ("IFN-β induced ISG15 and suppressed IL6.", "ISG15", 1),
    ("IFN-β increased ISG15 but suppressed CXCL10.", "CXCL10", -1),
    ("IFN-β increased ISG15, and CXCL10 was reduced.", "CXCL10", -1),
    ("IFN-β reduced the induction of CXCL10 by LPS.", "CXCL10", -1),
    ("IFN-β inhibited LPS-induced CXCL10 expression.", "CXCL10", -1),
    ("IFN-β enhanced the suppression of CXCL10.", "CXCL10", -1),
    ("The IFN-β-induced downregulation of CXCL10 was rapid.", "CXCL10", -1),
    ("CXCL10 was lower in untreated cells than in IFN-β-treated cells.", "CXCL10", 1),
    ("IFN-β not only induced CXCL10 but also ISG15.", "CXCL10", 1),
]
DENIED = [
    "IFN-β did not induce CXCL10.",
    "IFN-β failed to upregulate CXCL10 mRNA.",
    "IFN-β had no effect on CXCL10 expression.",
    "CXCL10 levels were unchanged after IFN-β.",
    "CXCL10 was not upregulated by IFN-β.",
]
TAKEN_AWAY = [
    "Anti-IFN-β antibody reduced CXCL10 levels.",
    "IFN-β blockade decreased CXCL10.",
    "Neutralization of IFN-β abolished CXCL10 induction.",
    "Ifnb1-deficient cells expressed lower CXCL10.",
]
SILENT = [
    "CXCL10 increased IFN-β production.",
    "CXCL10 induces IFN-β.",
    "CXCL10 inhibited proliferation in IFN-β-treated cells.",
    "TNF suppressed CXCL10 in IFN-β-treated cells.",
    "IFN-β increased ISG15, whereas TNF reduced CXCL10.",
    "In IFN-β-treated cells CXCL10 was suppressed by dexamethasone.",
    "We asked whether IFN-β induces CXCL10.",
    "Does IFN-β induce CXCL10?",
    "In the absence of IFN-β, CXCL10 was induced.",
    "IFN-beta receptor blockade reduced CXCL10.",
    "CXCL10 and IFN-β were measured.",
    "IFN-β induced CXCL10 and IFN-β suppressed CXCL10.",
    "IFN-β induces CXCL100.",
    "IFN-β was increased by CXCL10.",
]

AGENTS = {
    "TGF-beta": ["TGF-beta", "TGF-beta1", "transforming growth factor beta"],
    "IFN-gamma": ["IFN-gamma", "interferon gamma"],
    "dexamethasone": ["dexamethasone"],
    "TNF-alpha": ["TNF-alpha", "TNF", "tumor necrosis factor"],
    "rapamycin": ["rapamycin"],
    "IL-4": ["IL-4"],
}
FRESH = [
    (
        "TGF-β1 stimulated fibroblasts showed significantly elevated levels of COL1A1 and ACTA2 mRNA.",
        "ACTA2",
        "TGF-beta",
        1,
    ),
    (
        "Transforming growth factor-β potently induces PAI-1 (SERPINE1) transcription through SMAD3.",
        "SERPINE1",
        "TGF-beta",
        1,
    ),
    ("MYC is repressed by TGF-β in epithelial cells.", "MYC", "TGF-beta", -1),
    ("Exposure to IFN-γ resulted in a 20-fold increase in CXCL9 transcripts.", "CXCL9", "IFN-gamma", 1),
    ("CIITA, which is inducible by IFN-γ, controls MHC class II genes.", "CIITA", "IFN-gamma", 1),
    ("IFN-γ-mediated upregulation of CD274 was abrogated by the JAK inhibitor ruxolitinib.", "CD274", "IFN-gamma", 1),
    ("Silencing of IRF1 reduced IFN-γ-induced CXCL9 expression.", "CXCL9", "IFN-gamma", 1),
    ("Dexamethasone repressed TNF-induced expression of CXCL8 in airway cells.", "CXCL8", "dexamethasone", -1),
    (
        "FKBP5 was among the most strongly upregulated genes following dexamethasone exposure.",
        "FKBP5",
        "dexamethasone",
        1,
    ),
    ("The glucocorticoid dexamethasone increased TSC22D3 while decreasing IL1B.", "IL1B", "dexamethasone", -1),
    ("The glucocorticoid dexamethasone increased TSC22D3 while decreasing IL1B.", "TSC22D3", "dexamethasone", 1),
    ("TNF-α treatment caused rapid degradation of NFKBIA.", "NFKBIA", "TNF-alpha", None),
    ("TNF upregulates ICAM1 and VCAM1 on endothelial cells.", "VCAM1", "TNF-alpha", 1),
    (
        "ICAM1 expression in response to TNF-α was higher in patients than in healthy donors.",
        "ICAM1",
        "TNF-alpha",
        None,
    ),
    ("Etanercept, a TNF inhibitor, decreased CCL2 levels.", "CCL2", "TNF-alpha", 1),
    ("Blocking TNF with infliximab reduced ICAM1 expression.", "ICAM1", "TNF-alpha", 1),
    ("Rapamycin treatment had little effect on FOXP3 levels.", "FOXP3", "rapamycin", 0),
    ("Rapamycin promotes the expansion of FOXP3 T cells.", "FOXP3", "rapamycin", 1),
    ("In macrophages, IL-4 induces expression of ARG1 and MRC1, markers of alternative activation.", "MRC1", "IL-4", 1),
    ("Compared with medium alone, IL-4 significantly increased CD23 but not CD86 expression.", "CD86", "IL-4", None),
    ("Cells cultured with IL-4 expressed less CXCL10.", "CXCL10", "IL-4", -1),
    ("We found no evidence that IL-4 induces ARG1 in human macrophages.", "ARG1", "IL-4", 0),
    ("ARG1 was not detectable after IL-4.", "ARG1", "IL-4", None),
    ("Although LPS induced IL6, pretreatment with IL-4 attenuated this response.", "IL6", "IL-4", -1),
    ("IL-4 and IL-13 upregulated CCL26 expression.", "CCL26", "IL-4", 1),
    ("Expression of SOCS1 rose sharply upon IL-4 addition.", "SOCS1", "IL-4", 1),
    ("IL-4-treated monocytes had reduced CD14 compared to untreated cells.", "CD14", "IL-4", -1),
    ("CCL17 secretion is enhanced by IL-4 but inhibited by IFN-γ.", "CCL17", "IL-4", 1),
    ("CCL17 secretion is enhanced by IL-4 but inhibited by IFN-γ.", "CCL17", "IFN-gamma", -1),
    ("Mice lacking IL-4 showed decreased CCL17.", "CCL17", "IL-4", 1),
    ("CCL17 levels correlated with IL-4.", "CCL17", "IL-4", None),
    ("Dexamethasone synergized with IL-4 to increase MRC1.", "MRC1", "IL-4", 1),
]
"""sentences written after the rules, which were not changed for them; None: no direction is stated"""


@pytest.mark.parametrize(("sentence", "gene", "direction"), STATES)
def test_directions(sentence, gene, direction):
    found = read_sentence(plain(sentence), gene_pattern(gene), IFNB)
    assert found is not None
    assert found.direction == direction
    assert not found.negated


@pytest.mark.parametrize("sentence", DENIED)
def test_a_denied_change_is_no_change(sentence):
    found = read_sentence(plain(sentence), gene_pattern("CXCL10"), IFNB)
    assert (found.direction, found.negated) == (0, True)


@pytest.mark.parametrize("sentence", TAKEN_AWAY)
def test_taking_the_perturbation_away_turns_the_direction(sentence):
    found = read_sentence(plain(sentence), gene_pattern("CXCL10"), IFNB)
    assert (found.direction, found.negated) == (1, True)


@pytest.mark.parametrize("sentence", SILENT)
def test_what_states_nothing_about_it(sentence):
    assert read_sentence(plain(sentence), gene_pattern("CXCL10"), IFNB) is None


@pytest.mark.parametrize(
    ("sentence", "direction"),
    [
        ("IL-10 suppressed IFN-β-induced CXCL10.", -1),
        ("LPS induced IL-10 and increased CXCL10.", None),
        ("LPS upregulated IL-10 which increased CXCL10.", 1),
        ("IL-10 expression was increased in CXCL10-deficient cells.", None),
        ("CXCL10 inhibits IL-10 signaling.", None),
        ("Neither IL-10 nor IL-4 induced CXCL10.", 0),
    ],
)
def test_who_does_what_to_whom(sentence, direction):
    found = read_sentence(plain(sentence), gene_pattern("CXCL10"), IL10)
    assert (found and found.direction) == direction


@pytest.mark.parametrize(
    ("sentence", "direction"),
    [
        ("STAT1 knockdown reduced CXCL10.", -1),
        ("STAT1 induces CXCL10.", -1),
        ("Loss of STAT1 abolished CXCL10 expression.", -1),
        ("CXCL10 was increased in STAT1-deficient cells.", 1),
        ("Overexpression of STAT1 increased CXCL10.", -1),
    ],
)
def test_a_knock_out_reads_statements_on_the_gene_the_other_way_round(sentence, direction):
    found = read_sentence(plain(sentence), gene_pattern("CXCL10"), names_pattern(["STAT1"]), lost=True)
    assert found.direction == direction


@pytest.mark.parametrize("text", ["IFNβ", "IFN-β", "ifn beta", "IFN\u2011β", "Interferon-β", "IFN-\u200bbeta", "IFNB1"])
def test_spellings_of_a_name(text):
    assert IFNB.search(plain(f"with {text}, cells"))


@pytest.mark.parametrize("text", ["IL-1", "IL-100", "MIL-10", "IL-10R", "IL-10 receptor", "IL-10RA"])
def test_what_is_another_name(text):
    assert not IL10.search(plain(f"with {text} cells"))


def test_names_too_short_to_look_for():
    assert names_pattern(["E2", "-"]) is None


@pytest.mark.parametrize(
    ("symbol", "text", "found"),
    [
        ("IL6", "IL-6", True),
        ("IL6", "Il6", True),
        ("IL6", "IL-6 receptor", False),
        ("IL6", "IL-16", False),
        ("IL6", "anti-IL-6", False),
        ("STAT1", "p-STAT1", False),
        ("STAT1", "STAT1 phosphorylation", False),
        ("REST", "the rest of", False),
        ("CAT", "CAT", True),
        ("HLA-DRA", "HLA-DRA", True),
    ],
)
def test_gene_names(symbol, text, found):
    assert bool(gene_pattern(symbol).search(plain(f"of {text} here"))) is found


def test_aliases_are_looked_for_unless_they_are_short_words():
    pattern = gene_pattern("CDKN1A", ["p21", "WAF", "cyclin inhibitor"])
    assert [bool(pattern.search(f"the {text} gene")) for text in ("P21", "cyclin-inhibitor", "waf")] == [
        True,
        True,
        False,
    ]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("<h4>Background</h4>IFN-&#946; <i>induces</i> it", "Background. IFN-β induces it"),
        ("a &lt;b&gt;bold&lt;/b&gt; claim", "a bold claim"),
        ("p &lt; 0.05 and n > 3", "p < 0.05 and n > 3"),
        ("lone \ud800 surrogate\x00\u200b and\ttab", "lone surrogate and tab"),
        ("cafe\u0301", "café"),
        (None, ""),
        (float("nan"), ""),
        (["x"], ""),
    ],
)
def test_clean(given, expected):
    assert clean(given) == expected


def test_sentences_keep_abbreviations_together_and_drop_tables():
    text = (
        "IFN-β (Fig. 2) induces it, e.g. In B cells. No effect, cf. Smith et al. 2010. " + "Word " * 300 + "ends. Done."
    )
    assert sentences(text) == [
        "IFN-β (Fig. 2) induces it, e.g. In B cells.",
        "No effect, cf. Smith et al. 2010.",
        "Done.",
    ]


def test_on_sentences_the_rules_were_not_written_for_they_miss_some_and_err_on_none():
    read = [
        read_sentence(plain(text), gene_pattern(gene), names_pattern(AGENTS[agent])) for text, gene, agent, _ in FRESH
    ]
    pairs = [(found and found.direction, wanted) for found, (*_, wanted) in zip(read, FRESH, strict=True)]
    assert [pair for pair in pairs if pair[0] is not None and pair[0] != pair[1]] == []
    assert sum(found is not None for found, _ in pairs) >= 21
