from __future__ import annotations

import numpy as np
import pytest

from haystack.retrieval.similarity import best_similarities, similarities

TEXTS = ["IFN-beta", "interferon  gamma", "TNF-alpha", "IL-2", "x", "CD14-positive monocyte", "T cell T cell"]


def test_is_scikit_learns_tfidf_on_character_ngrams() -> None:
    from sklearn.feature_extraction.text import TfidfVectorizer

    reference = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 4), sublinear_tf=True)
    fitted = reference.fit_transform(TEXTS)
    asked = ["interferon beta", "monocytes", "T cells"]
    expected = (reference.transform(asked) @ fitted.T).toarray()
    np.testing.assert_allclose(similarities(asked, TEXTS), expected, atol=1e-12)


def test_the_best_of_several_names_counts() -> None:
    alone = similarities(["interferon beta"], ["interferon beta", "IFN1", "IFNB1"])[0]
    found = best_similarities(["interferon beta"], [["IFN1", "interferon beta"], ["IFNB1"]])
    assert found[0] == pytest.approx(alone[0]) == pytest.approx(1)
    assert found[1] == pytest.approx(alone[2])


def test_empty_texts_are_like_nothing() -> None:
    assert similarities([""], ["", "IL-2"]).tolist() == [[0, 0]]
    assert best_similarities(["IL-2"], []).tolist() == []
