"""Pages of the site that live elsewhere in the repository, so that links work there and here."""

from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ELSEWHERE = {"config/README.md": "settings.md", "CONTRIBUTING.md": "contributing.md"}
ROOT = Path(__file__).parents[1]


def on_files(files: Files, config: Any) -> Files:
    """Add the pages."""
    for path, page in ELSEWHERE.items():
        text = (ROOT / path).read_text(encoding="utf-8").replace("](docs/", "](").replace("](../docs/", "](")
        files.append(File.generated(config, page, content=text))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Lead links that leave the folder of the docs to the pages."""
    for path, page in ELSEWHERE.items():
        markdown = markdown.replace(f"](../{path}", f"]({page}")
    return markdown
