"""Fetch a model into the model store: an arc-stack checkpoint from the Hugging Face hub, or a finished model folder."""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from haystack.errors import MissingExtraError, ModelError

if TYPE_CHECKING:
    from haystack.config import ModelDownload

log = logging.getLogger(__name__)


def download_stack_model(download: ModelDownload, out_dir: str | Path, *, offline: bool) -> None:
    """Fetch a checkpoint and its gene list at a pinned commit, and import them (see `import_checkpoint`).

    What huggingface_hub has fetched before it takes from its own cache; an interrupted download goes on. `HF_ENDPOINT`,
    `HF_HOME` and `HF_TOKEN` mean what they mean to huggingface_hub.

    Parameters
    ----------
    download
        repository, commit, file names, and the sha256 that the files must have where they are given
    out_dir
        model folder to write, whole or without provenance.json
    offline
        the setting of that name

    Raises
    ------
    ModelError
        offline, unknown repository, commit or file, no network, another sha256, or a checkpoint that is refused
    """
    where = f"{download.repository} at {download.revision[:12]}"
    if offline:
        raise ModelError(
            f"model.download: {where} would be fetched, but `offline: true` forbids it. {_instead(out_dir)}"
        )
    try:
        import huggingface_hub
        from huggingface_hub.errors import HfHubHTTPError
    except ModuleNotFoundError as error:
        raise MissingExtraError("stack", "model.download") from error

    from haystack.inference.importing import import_checkpoint

    files: list[Path] = []
    for name in (download.checkpoint, download.genes):
        try:
            files.append(Path(huggingface_hub.hf_hub_download(download.repository, name, revision=download.revision)))
        except HfHubHTTPError as error:
            status = error.response.status_code if error.response is not None else "no"
            raise ModelError(
                f"model.download: the hub answers {status} for {name} of {where}. Correct repository, revision and "
                "file names; a closed repository needs HF_TOKEN"
            ) from error
        except (OSError, ValueError) as error:  # no connection, no space, a malformed repository name
            raise ModelError(f"model.download: {name} of {where} cannot be fetched: {_first_line(error)}") from error
        log.info("fetched %s of %s", name, where)
    checkpoint, genes = files
    import_checkpoint(
        checkpoint,
        genes,
        out_dir,
        download.checkpoint_sha256,
        download.genes_sha256,
        {"repository": download.repository, "revision": download.revision},
    )


def copy_model(url: str, out_dir: str | Path) -> None:
    """Copy a finished model folder from `gs://` (or any address that fsspec knows), and check it against its hashes.

    provenance.json is put in place last: a folder without it is known to be unfinished.

    Raises
    ------
    ModelError
        a file is absent, storage cannot be read, or a file does not have the hash that provenance.json names
    """
    from haystack.inference.store import all_files, check_folder

    folder = Path(out_dir)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".part-") as temporary:
        part = Path(temporary)
        for name in all_files():
            _copy(f"{url.rstrip('/')}/{name}", part / name)
        check_folder(part)
        for name in all_files():
            (part / name).replace(folder / name)
    log.info("copied %s to %s", url, folder)


def _copy(url: str, out: Path) -> None:
    try:
        import fsspec

        filesystem, path = fsspec.core.url_to_fs(url)
        filesystem.get_file(path, str(out))
    except ImportError as error:
        raise MissingExtraError("gcp", f"Reading {url}") from error
    except FileNotFoundError:
        raise ModelError(
            f"{url}: no such file. `model.path` names a folder as `haystack model import` writes it"
        ) from None
    except Exception as error:  # storage libraries raise errors of their own kinds
        raise ModelError(f"{url}: cannot be read: {type(error).__name__}: {_first_line(error)}") from error


def _instead(out_dir: str | Path) -> str:
    return f"Set offline: false, or make {out_dir} elsewhere with `haystack model download` and set model.path"


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
