"""`haystack profile install`: profiles become known to Snakemake by name."""

import pytest

from haystack.errors import ConfigError
from haystack.profiles import install_profiles


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "profiles"
    for name in ("gcp", "local"):
        (folder / name).mkdir(parents=True)
        (folder / name / "config.yaml").write_text("cores: 1\n")
    return folder


def test_links_lead_to_the_profiles_and_a_second_call_changes_nothing(source, tmp_path):
    target = tmp_path / "user"
    first = install_profiles(source, target)
    assert install_profiles(source, target) == first
    assert sorted(first) == ["gcp", "local"]
    assert (target / "gcp/config.yaml").read_text() == "cores: 1\n"


def test_link_follows_a_moved_checkout(source, tmp_path):
    target = tmp_path / "user"
    install_profiles(source, target)
    moved = source.rename(tmp_path / "moved")
    install_profiles(moved, target)
    assert (target / "local").resolve() == (moved / "local").resolve()


def test_a_profile_of_the_user_is_never_replaced(source, tmp_path):
    target = tmp_path / "user"
    (target / "local").mkdir(parents=True)
    with pytest.raises(ConfigError, match="'local'"):
        install_profiles(source, target)
    assert not (target / "gcp").exists()


def test_wrong_folder_is_named(tmp_path):
    with pytest.raises(ConfigError, match="no profile found"):
        install_profiles(tmp_path / "nothing")
