"""Write what is derived from the settings: their JSON Schema (for editors), the default config, the table of settings.

Run `python -m haystack.schemas` after changing `config.py`; a test fails until it is done.
"""

from __future__ import annotations

import json
import textwrap
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic.fields import FieldInfo
from pydantic_core import to_jsonable_python

from haystack.config import Section, Settings, settings_schema
from haystack.specs import COMPONENTS, TaskKind

SCHEMA = "workflow/schemas/config.schema.json"
HEADER = f"""\
# yaml-language-server: $schema=../{SCHEMA}
# HAYSTACK's settings: biology and method. Machines are in profiles/. What stands here are the defaults, and every key
# may be left out. A key that does not exist is refused. `python -m haystack.schemas` writes this file anew.

"""


def schema() -> str:
    """JSON Schema of the settings; editors complete and check `config.yaml` by it."""
    return json.dumps(settings_schema(), indent=2, ensure_ascii=False) + "\n"


def default_config() -> str:
    """`config/config.yaml`: every key with its default, under a comment that says what it is."""
    return HEADER + "\n".join(_yaml_lines(Settings, Settings().model_dump(mode="json"), "")) + "\n"


def settings_table() -> str:
    """Markdown table of all settings."""
    rows = ["| setting | default | what it is |", "|---|---|---|", *_table_rows(Settings, Settings(), "")]
    return "\n".join(rows)


def _yaml_lines(section: type[Section], values: dict[str, Any], indent: str) -> list[str]:
    lines: list[str] = []
    for name, field in section.model_fields.items():
        inner = section_of(field)
        said = field.description or (inner.__doc__ if inner else None) or ""
        comment = said.strip().replace("\n", " ")
        wrapped = textwrap.wrap(comment, 118 - len(indent))
        if inner and values[name] is not None:
            lines += ["", *(f"{indent}# {line}" for line in wrapped), f"{indent}{name}:"]
            lines += _yaml_lines(inner, values[name], indent + "  ")
        else:
            lines += [f"{indent}# {line}" for line in wrapped]
            dumped = yaml.safe_dump({name: values[name]}, sort_keys=False, width=110, default_flow_style=False)
            lines += [indent + line for line in dumped.rstrip().splitlines()]
    return lines


def _table_rows(section: type[Section], values: Section, prefix: str) -> list[str]:
    rows = []
    for name, field in section.model_fields.items():
        value = getattr(values, name)
        inner = section_of(field)
        if inner and isinstance(value, Section):
            rows += _table_rows(inner, value, f"{prefix}{name}.")
        else:
            said = (field.description or (inner.__doc__ if inner else None) or "").strip()
            default = json.dumps(to_jsonable_python(value), ensure_ascii=False)
            shown = " ".join(said.split()).replace("|", "\\|")
            rows.append(f"| `{prefix}{name}` | `{default}` | {shown} |")
    return rows


def section_of(field: FieldInfo) -> type[Section] | None:
    """The section that a field holds directly (not in a list or mapping)."""
    annotation = field.annotation
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return annotation
    found = [part for part in get_args(annotation) if isinstance(part, type) and issubclass(part, Section)]
    return found[0] if found and type(None) in get_args(annotation) else None


def components_table() -> str:
    """Markdown table of the components of the score."""
    rows = ["| component | weight | value | chance | p | needs |", "|---|---|---|---|---|---|"]
    for task in get_args(TaskKind):
        for spec in (spec for spec in COMPONENTS if task in spec.tasks):
            cells = (f"`{spec.name}`", f"{spec.weight:g}", spec.value, spec.chance, spec.p_value, spec.needs)
            rows.append("| " + " | ".join(cells) + " |")
    return "\n".join(rows)


def with_table(text: str, name: str, table: str) -> str:
    """A Markdown page with the table between its comments `name` and `end of name` made anew."""
    begin, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
    before, rest = text.split(begin)
    return f"{before}{begin}\n{table}\n{end}{rest.split(end)[1]}"


def pages() -> dict[str, tuple[str, str]]:
    """Page -> the name of its table, and the table."""
    return {
        "config/README.md": ("settings", settings_table()),
        "docs/grounding.md": ("components", components_table()),
    }


def main(root: Path = Path()) -> None:
    """Write all of it."""
    (root / SCHEMA).write_text(schema(), encoding="utf-8")
    (root / "config/config.yaml").write_text(default_config(), encoding="utf-8")
    for name, (table, rows) in pages().items():
        page = root / name
        page.write_text(with_table(page.read_text(encoding="utf-8"), table, rows), encoding="utf-8")


if __name__ == "__main__":
    main()
