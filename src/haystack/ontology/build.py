"""Build the compact, tracked index of resources/ontology from cellxgene-ontology-guide (its terms, pinned version).

`python -m haystack.ontology.build` rewrites the files; a test fails when they and the package drift apart.
"""

from __future__ import annotations

import gzip
import sys
from collections.abc import Iterator
from pathlib import Path

from haystack.files import whole_file
from haystack.ontology.guide import lines
from haystack.ontology.index import FILES, parse, resources
from haystack.ontology.vocabulary import NAMES_FILE, name_lines


def build(folder: Path) -> list[Path]:
    """Write one gzipped file per ontology, and the words of CL's names; equal input gives equal bytes."""
    written = [_write(folder / FILES[name], lines(name)) for name in FILES]
    return [*written, _write(folder / NAMES_FILE, name_lines(parse("CL", "\n".join(lines("CL")))))]


def _write(path: Path, text: Iterator[str]) -> Path:
    data = "\n".join(text).encode() + b"\n"
    with whole_file(path) as temporary:
        temporary.write_bytes(gzip.compress(data, compresslevel=9, mtime=0))
    return path


if __name__ == "__main__":
    for built in build(resources()):
        sys.stdout.write(f"{built.name}\t{built.stat().st_size} bytes\n")
