"""JSON contracts: one pydantic model per file, checked when written and when read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from haystack.errors import ContractError
from haystack.files import write_text


class Contract(BaseModel):
    """Base of everything written as JSON. Unknown fields are refused; NaN and infinity too."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, populate_by_name=True)


ContractT = TypeVar("ContractT", bound=Contract)


def to_json(contract: Contract) -> str:
    """The file's text: indented, keys in field order, a newline at the end; equal objects give equal bytes."""
    data = contract.model_dump(mode="json", by_alias=True)
    return json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def write_json(path: str | Path, contract: Contract) -> None:
    """Validate once more (fields may have been assigned) and write, whole or not at all."""
    checked = type(contract).model_validate(contract.model_dump(by_alias=True))
    write_text(path, to_json(checked))


def read_json(path: str | Path, model: type[ContractT]) -> ContractT:
    """Read and validate.

    Raises
    ------
    ContractError
        naming the file, the first wrong field and what was expected.
    """
    path = Path(path)
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ContractError(f"{path}: no such file (expected {model.__name__})") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ContractError(f"{path}: not whole JSON ({error}); delete it and run again") from None
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise ContractError(f"{path}: {explain(error)}") from None


def explain(error: ValidationError, limit: int = 5) -> str:
    """One line: field, what is wrong, the value found; at most `limit` of them."""
    lines = []
    for item in error.errors()[:limit]:
        where = ".".join(str(part) for part in item["loc"]) or "(top level)"
        lines.append(f"{where}: {item['msg']} (found {_short(item.get('input'))})")
    more = error.error_count() - limit
    return "; ".join(lines) + (f"; and {more} more" if more > 0 else "")


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
