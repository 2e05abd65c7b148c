"""Write the JSON Schemas of the config and of every JSON contract to `workflow/schemas/`.

Run `python -m haystack.schemas` after changing a model; a test fails until it is done.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from haystack import contracts
from haystack.config import settings_schema
from haystack.contracts import Contract

FILES: dict[str, type[Contract]] = {
    "query": contracts.StructuredQuery,
    "candidates": contracts.Candidates,
    "prompts": contracts.Prompts,
    "grounding": contracts.Grounding,
    "decision": contracts.Decision,
}


def schemas() -> dict[str, dict[str, Any]]:
    """File name -> JSON Schema."""
    found = {f"{name}.schema.json": model.model_json_schema(by_alias=True) for name, model in FILES.items()}
    return {"config.schema.json": settings_schema(), **found}


def main(folder: Path = Path("workflow/schemas")) -> None:
    """Write all schemas."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, schema in schemas().items():
        (folder / name).write_text(json.dumps(schema, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
