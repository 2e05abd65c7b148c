"""Just enough of the Dockerfile language to test ours, and to run on this machine with the environment they declare."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

from batch_service import Image

REPOSITORY = Path(__file__).parents[2]
VENV = "/opt/venv"


def instructions(path: Path) -> list[tuple[str, str]]:
    """(INSTRUCTION, arguments) in order; continued lines joined, comments left out."""
    lines = [line for line in path.read_text().splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    return [
        (word.upper(), rest.strip()) for word, _, rest in (line.partition(" ") for line in joined.splitlines()) if word
    ]


def last_stage(path: Path) -> list[tuple[str, str]]:
    """The instructions of the image itself."""
    found = instructions(path)
    return found[max(number for number, (word, _) in enumerate(found) if word == "FROM") :]


def environment(path: Path) -> dict[str, str]:
    """What ENV declares in the last stage."""
    pairs = [pair for word, rest in last_stage(path) if word == "ENV" for pair in shlex.split(rest)]
    return dict(pair.split("=", 1) for pair in pairs)


def image_on_this_machine(name: str, folder: Path | None = None) -> Image:
    """The environment of docker/{name}/Dockerfile, its copied files and its venv being those of this machine."""
    path = REPOSITORY / f"docker/{name}/Dockerfile"
    copied = {}
    for word, rest in last_stage(path):
        source, target = rest.split()[-2:] if word == "COPY" else ("", "")
        if (REPOSITORY / source).is_file() and target.startswith("/"):
            copied[target] = str(REPOSITORY / source)
    values = {key: copied.get(value, value) for key, value in environment(path).items()}
    values["PATH"] = values["PATH"].replace(f"{VENV}/bin", str(Path(sys.executable).parent))
    return Image(values, folder)
