"""Resources are found in a checkout and in an installed package."""

import pytest

from haystack import resources
from haystack.errors import ConfigError


def test_a_checkout_comes_first_then_the_package(tmp_path, monkeypatch):
    checkout, installed = tmp_path / "resources", tmp_path / "_resources"
    for root in (checkout, installed):
        (root / "sub").mkdir(parents=True)
    (installed / "sub/only_here.txt").touch()
    (installed / "sub/both.txt").touch()
    (checkout / "sub/both.txt").touch()
    monkeypatch.setattr(resources, "CHECKOUT", checkout)
    monkeypatch.setattr(resources, "INSTALLED", installed)
    assert resources.resource("sub/only_here.txt") == installed / "sub/only_here.txt"
    assert resources.resource("resources/sub/both.txt") == checkout / "sub/both.txt"
    with pytest.raises(ConfigError, match=r"resources/sub/none.txt: not found"):
        resources.resource("sub/none.txt")
