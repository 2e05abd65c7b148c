"""Just enough of the Dockerfile language to test ours, and to run on this machine with the environment they declare."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from batch_service import Image

REPOSITORY = Path(__file__).parents[2]
DOCKERFILE = REPOSITORY / "docker/Dockerfile"
VENV = "/opt/venv"


def instructions(path: Path) -> list[tuple[str, str]]:
    """(INSTRUCTION, arguments) in order; continued lines joined, comments left out."""
    lines = [line for line in path.read_text().splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    return [
        (word.upper(), rest.strip()) for word, _, rest in (line.partition(" ") for line in joined.splitlines()) if word
    ]


def stages(name: str) -> list[tuple[str, str]]:
    """Instructions of a stage of docker/Dockerfile, after those of the stages that it begins with."""
    found = instructions(DOCKERFILE)
    starts = [number for number, (word, _) in enumerate(found) if word == "FROM"]
    for start, end in zip(starts, [*starts[1:], len(found)], strict=True):
        base, _, own = found[start][1].partition(" AS ")
        if own == name:
            return [*([] if base == "${BASE}" else stages(base)), *found[start:end]]
    raise KeyError(name)


def environment(name: str) -> dict[str, str]:
    """What ENV declares in an image."""
    pairs = [pair for word, rest in stages(name) if word == "ENV" for pair in shlex.split(rest)]
    return dict(pair.split("=", 1) for pair in pairs)


def image_on_this_machine(name: str, folder: Path | None = None) -> Image:
    """The environment of an image, its copied files and its venv being those of this machine."""
    copied = {}
    for word, rest in stages(name):
        source, target = rest.split()[-2:] if word == "COPY" else ("", "")
        if (REPOSITORY / source).is_file() and target.startswith("/"):
            copied[target] = str(REPOSITORY / source)
    values = {key: copied.get(value, value) for key, value in environment(name).items()}
    values["PATH"] = values["PATH"].replace(f"{VENV}/bin", str(Path(sys.executable).parent))
    return Image(values, folder)


def build(name: str, folder: Path) -> None:
    """Run the steps of a build stage in a folder of this machine, as `docker build` would in its root."""
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    inner = folder / "src"
    inner.mkdir(parents=True)
    for word, rest in stages(name):
        if word == "ENV":
            variables |= dict(pair.split("=", 1) for pair in shlex.split(rest))
        elif word == "COPY":
            *sources, target = rest.split()
            for source in map(REPOSITORY.joinpath, sources):
                place = inner / target / ("" if target != "./" else source.name)
                (shutil.copytree if source.is_dir() else shutil.copyfile)(source, place)
        elif word == "RUN":
            command = rest.replace("/opt/", f"{folder}/opt/").replace("python -m", f"{sys.executable} -m")
            print(f"{name}: {rest}", flush=True)
            subprocess.run(["/bin/bash", "-c", command], cwd=inner, env=variables, check=True)


if __name__ == "__main__":  # dockerfiles.py STAGE FOLDER: where there is no docker
    build(sys.argv[1], Path(sys.argv[2]).resolve())
