"""Prepare a folder in which a run is repeated: its settings, and links to everything they refer to."""

from __future__ import annotations

import json
import os.path
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from haystack.config import read_yaml
from haystack.contracts.runlog import RunLog
from haystack.files import write_text

CONFIG, RUNS = PurePosixPath("config/config.yaml"), PurePosixPath("config/runs.tsv")
NOT_LINKED = {"results", "logs"}
UP = ".."


def prepare_folder(log: RunLog, root: Path, folder: Path) -> Path:
    """Link everything of `root` except results, and write a config with the log's settings and question.

    Settings and atlases may refer to files outside of `root` by relative paths (`../shared/data`). To keep these paths
    unchanged, the pipeline's folder is created as many levels below `folder` as they go up, and their targets are
    linked beside it.

    Returns
    -------
    Path
        the pipeline's folder: `folder` itself if no path leaves `root`.
    """
    root = root.resolve()
    outside = sorted({path for path in _relative_paths(log, root) if _leaves(path, root)})
    levels = max((path.parts.count(UP) for path in outside), default=0)
    names = ("up",) * levels + root.parts[1:]
    work = folder.joinpath(*names[len(names) - levels :])
    runs = PurePosixPath(os.path.normpath(log.settings["runs"]))
    if "\n" in log.settings["runs"] or not runs.parts or runs.parts[0] in {"/", UP} | NOT_LINKED:
        runs = RUNS
    _mirror(root, work, {CONFIG, runs})
    for path in outside:
        link = Path(os.path.normpath(work / path))
        if not link.exists():
            link.parent.mkdir(parents=True, exist_ok=True)
            _link(link, root / path)
    settings = log.settings | {"runs": str(runs)}
    write_text(work / CONFIG, json.dumps(settings, indent=2, ensure_ascii=False) + "\n")
    question = " ".join(log.query.raw_query.split())
    write_text(work / runs, f"run_id\tquery\n{log.run_id}\t{question}\n")
    return work


def _leaves(path: PurePosixPath, root: Path) -> bool:
    """Whether the path leads to an existing file or folder outside of `root`."""
    target = Path(os.path.normpath(root / path))
    return path.parts[:1] == (UP,) and not target.is_relative_to(root) and target.exists()


def _relative_paths(log: RunLog, root: Path) -> Iterator[PurePosixPath]:
    """Strings in settings and atlases that may be relative paths, normalised."""
    atlases: Any = log.settings["atlases"]
    if isinstance(atlases, str) and (root / atlases).is_file():
        atlases = read_yaml(root / atlases)
    data_dir = str(log.settings["data_dir"])
    settings = {name: value for name, value in log.settings.items() if name not in {"data_dir", "runs"}}
    for text in _texts([settings, atlases]):
        filled = text.replace("{data_dir}", data_dir)
        if "://" not in filled and "\n" not in filled and not filled.startswith("/"):
            yield PurePosixPath(os.path.normpath(filled))


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)


def _mirror(source: Path, target: Path, own: set[PurePosixPath]) -> None:
    """Link the content of `source`; folders that the target partly replaces are created, with links inside."""
    target.mkdir(parents=True, exist_ok=True)
    heads = {path.parts[0] for path in own}
    for item in sorted(source.iterdir()) if source.is_dir() else []:
        if item.name not in heads | NOT_LINKED and not item.name.startswith("."):
            _link(target / item.name, item)
    for head in sorted(heads):
        inside = {PurePosixPath(*path.parts[1:]) for path in own if path.parts[0] == head and len(path.parts) > 1}
        if inside:
            _mirror(source / head, target / head, inside)


def _link(link: Path, target: Path) -> None:
    link.unlink(missing_ok=True)
    link.symlink_to(target.resolve())
