"""Downloads go on where they stopped and are checked before anyone sees them."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from haystack.atlas import download_atlas
from haystack.atlas.download import download_file
from haystack.errors import AtlasError

BODY = bytes(range(256)) * 20_000  # 5 MB


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "public.h5ad"
    path.write_bytes(BODY)
    return path


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "atlases" / "a.h5ad"


def test_whole_file_with_checksum(web, source, out, make_entry):
    for kind in ("md5", "sha256"):
        entry = make_entry(out, url=f"{web.url}/public.h5ad", checksum=f"{kind}:{hashlib.new(kind, BODY).hexdigest()}")
        download_atlas("a", entry, out, offline=False)
        assert out.read_bytes() == BODY
        assert os.listdir(out.parent) == ["a.h5ad"]


def test_offline_and_no_address(web, source, out, make_entry):
    with pytest.raises(AtlasError, match="is not fetched because of `offline: true`"):
        download_atlas("a", make_entry(out, url=f"{web.url}/public.h5ad"), out, offline=True)
    with pytest.raises(AtlasError, match="its entry has no `url`"):
        download_atlas("a", make_entry(out), out, offline=False)
    assert web.log == []


def test_goes_on_after_a_cut(web, source, out):
    web.cuts = [1_500_000, 2_000_000]
    download_file(f"{web.url}/public.h5ad", out, wait=0)
    assert out.read_bytes() == BODY
    starts = [int(span[6:-1]) for _, _, span in web.log[1:]]
    assert 1_400_000 < starts[0] <= 1_500_000
    assert 3_300_000 < starts[1] <= 3_500_000


def test_goes_on_in_a_later_run(web, source, out):
    web.cuts = [1_500_000, 0, 0]
    with pytest.raises(AtlasError, match=r"cannot be fetched .*; 1,4\d\d,\d\d\d bytes are kept"):
        download_file(f"{web.url}/public.h5ad", out, wait=0, attempts=2)
    assert not out.exists()
    download_file(f"{web.url}/public.h5ad", out, wait=0)
    assert out.read_bytes() == BODY
    assert web.log[-1][2].startswith("bytes=14")


def test_a_changed_file_is_fetched_anew(web, source, out):
    web.cuts = [1_500_000, 0]
    with pytest.raises(AtlasError):
        download_file(f"{web.url}/public.h5ad", out, wait=0, attempts=1)
    source.write_bytes(BODY[::-1])
    download_file(f"{web.url}/public.h5ad", out, wait=0)
    assert out.read_bytes() == BODY[::-1]


@pytest.mark.parametrize("lacking", ["ranges", "etags"])
def test_servers_that_cannot_resume(web, source, out, lacking: str):
    setattr(web, lacking, False)
    web.cuts = [1_500_000]
    download_file(f"{web.url}/public.h5ad", out, wait=0)
    assert out.read_bytes() == BODY


def test_wrong_checksum_leaves_nothing(web, source, out):
    with pytest.raises(AtlasError, match=f"the md5 of what was fetched is {hashlib.md5(BODY).hexdigest()}"):
        download_file(f"{web.url}/public.h5ad", out, "md5:" + "0" * 32)
    assert os.listdir(out.parent) == []


def test_an_old_file_stays_until_the_new_one_is_whole(web, source, out):
    out.parent.mkdir()
    out.write_bytes(b"old")
    web.cuts = [100, 0]
    with pytest.raises(AtlasError):
        download_file(f"{web.url}/public.h5ad", out, wait=0, attempts=1)
    assert out.read_bytes() == b"old"


def test_answers_of_the_server(web, source, out):
    with pytest.raises(AtlasError, match="the server answers 404"):
        download_file(f"{web.url}/nothing.h5ad", out, wait=0)
    assert len(web.log) == 1
    web.failures = [503, 429]
    download_file(f"{web.url}/public.h5ad", out, wait=0)
    assert out.read_bytes() == BODY
    web.failures = [503] * 3
    with pytest.raises(AtlasError, match="503"):
        download_file(f"{web.url}/public.h5ad", out, wait=0, attempts=3)


def test_nobody_listens(out):
    with pytest.raises(AtlasError, match="cannot be fetched"):
        download_file("http://127.0.0.1:9/a.h5ad", out, wait=0, attempts=2)


def test_a_full_disk_is_told_first(web, source, out, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda _: os.terminal_size((0, 0)) and type("U", (), {"free": 1_000})())
    with pytest.raises(AtlasError, match=r"needs 0\.0 GB more, but .* has 0\.0 GB free"):
        download_file(f"{web.url}/public.h5ad", out)
