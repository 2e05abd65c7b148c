"""JSON contracts: one pydantic model per file, checked on writing and reading."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from haystack.errors import ContractError, suggest
from haystack.files import write_text


class Contract(BaseModel):
    """Base of everything written as JSON. Unknown fields, NaN and infinity are refused."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, populate_by_name=True)


ContractT = TypeVar("ContractT", bound=Contract)


def to_json(contract: Contract) -> str:
    """Text of the file: indented, keys in field order, a final newline; equal objects give equal bytes."""
    data = contract.model_dump(mode="json", by_alias=True)
    return json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def write_json(path: str | Path, contract: Contract) -> None:
    """Validate again (fields may have been assigned) and write atomically."""
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
    """One line: field, fault and value; at most `limit` of them.

    A field with several allowed types gives an error for each; the one that got furthest is reported.
    """
    items = [(field_path(item["loc"]), item) for item in error.errors()]
    deepest = [(path, item) for path, item in items if not any(_below(other, path) for other, _ in items)]
    lines: dict[tuple[str, str], list[str]] = {}
    for path, item in deepest:
        whole = isinstance(item.get("input"), dict) and item["type"] in {"missing", "value_error"}
        value = "" if whole else f" (found {_short(item.get('input'))})"
        lines.setdefault((".".join(path), value), []).append(_message(item))
    texts = [
        (f"{path}: " if path else "") + " or ".join(dict.fromkeys(messages)) + value
        for (path, value), messages in lines.items()
    ]
    more = len(texts) - limit
    return "; ".join(texts[:limit]) + (f"; and {more} more" if more > 0 else "")


def field_path(loc: Sequence[int | str]) -> tuple[str, ...]:
    """A location as the user writes it, without pydantic's type names (`str`, `dict[str,AtlasEntry]`)."""
    return tuple(str(part) for part in loc if not _TYPE_NAME.search(str(part)))


_TYPE_NAME = re.compile(r"[\[(]|^(str|int|float|bool|list|dict)$")
_BOUNDS = {
    "greater_than_equal": ("at least", "ge"),
    "greater_than": ("more than", "gt"),
    "less_than_equal": ("at most", "le"),
    "less_than": ("less than", "lt"),
}
_FORMS = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "string": "text",
    "list": "a list",
    "dict": "a mapping (key: value)",
    "model": "a mapping (key: value)",
}


def _below(other: tuple[str, ...], path: tuple[str, ...]) -> bool:
    return len(other) > len(path) and other[: len(path)] == path


def _message(item: Any) -> str:
    """What was expected, in the user's words."""
    kind, context = item["type"], item.get("ctx", {})
    if kind in {"enum", "literal_error"}:
        return "unknown value." + suggest(str(item.get("input")), re.findall(r"'([^']*)'", context["expected"]))
    if kind == "missing":
        return "is missing"
    if kind in _BOUNDS:
        words, key = _BOUNDS[kind]
        return f"expected {words} {context[key]:g}"
    form = _FORMS.get(kind.split("_")[0])
    if form and kind.endswith(("_type", "_parsing", "_from_float")):
        return f"expected {form}"
    return str(item["msg"]).removeprefix("Value error, ").removeprefix("Assertion failed, ")


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
