"""GMT files: gene sets by name."""

from __future__ import annotations

from pathlib import Path

from haystack.knowledge.tables import KnowledgeError


def gene_sets(path: str | Path) -> dict[str, list[str]]:
    """The gene sets of a GMT file, in the order of the file; genes in order, each once.

    A line is `name <tab> source <tab> gene <tab> gene ...`. A gene may carry a weight (`STAT1,1.0`), which is dropped.

    Raises
    ------
    KnowledgeError
        naming the file and line: no such file, a line without genes, an empty or a repeated name, or no set at all.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise KnowledgeError(f"{path}: no such gene set file (GMT)") from None
    except UnicodeDecodeError as error:
        raise KnowledgeError(
            f"{path}: not UTF-8 text ({error.reason} at byte {error.start}); expected a GMT file"
        ) from None
    found: dict[str, list[str]] = {}
    first_line: dict[str, int] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        name, genes = _parse(line, f"{path}, line {number}")
        if name in found:
            raise KnowledgeError(
                f"{path}, line {number}: the gene set '{name}' is there already (line {first_line[name]}); "
                "rename or remove one of them"
            )
        found[name] = genes
        first_line[name] = number
    if not found:
        raise KnowledgeError(f"{path}: holds no gene set; expected lines of name, source and genes with tabs between")
    return found


def _parse(line: str, where: str) -> tuple[str, list[str]]:
    cells = [cell.strip() for cell in line.split("\t")]
    if not cells[0]:
        raise KnowledgeError(f"{where}: a gene set without a name")
    genes = list(dict.fromkeys(cell.split(",")[0] for cell in cells[2:] if cell))
    if not genes:
        raise KnowledgeError(
            f"{where}: the gene set '{cells[0]}' is empty; expected name, source and genes with tabs between"
        )
    return cells[0], genes
