"""Pages from templates: everything is escaped unless it is our own markup."""

from __future__ import annotations

import base64
import hashlib
import json
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from haystack.report import words

_UNSAFE_IN_SCRIPT = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026"}


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("haystack.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["asset"] = asset
    environment.globals["plotly"] = plotly_script
    environment.globals["policy"] = policy
    environment.globals["words"] = words
    environment.filters["script_json"] = script_json
    return environment


def render(name: str, **context: Any) -> str:
    """Render a template; an undefined name is an error."""
    return _environment().get_template(name).render(**context)


def load_templates() -> None:
    """Compile all templates and read their largest asset."""
    for name in _environment().list_templates(extensions=["j2"]):
        _environment().get_template(name)
    plotly_script()


def asset(name: str) -> Markup:
    """CSS or JavaScript of this package, to be inlined."""
    return Markup(files("haystack.report").joinpath("templates", name).read_text(encoding="utf-8"))  # noqa: S704


def script_json(value: Any) -> Markup:
    """JSON safe inside script tags: it cannot end the tag or start a comment."""
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    for character, escaped in _UNSAFE_IN_SCRIPT.items():
        text = text.replace(character, escaped)
    return Markup(text)  # noqa: S704


def policy(scripts: list[str]) -> str:
    """A content security policy: no network, and only these scripts (by hash)."""
    hashes = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in scripts]
    allowed = " ".join(f"'sha256-{value}'" for value in hashes)
    return f"default-src 'none'; style-src 'unsafe-inline'; img-src data: blob:; script-src {allowed}; base-uri 'none'"


@cache
def plotly_script() -> Markup:
    """plotly.js 4.1.1, bundle of Cartesian plots (`npm pack plotly.js-cartesian-dist-min`; MIT, see vendor/)."""
    text = files("haystack.report").joinpath("vendor", "plotly-cartesian.min.js").read_text(encoding="utf-8")
    # A closing tag inside a string of the library would end the element that holds it.
    return Markup(text.replace("</script", "<\\/script"))  # noqa: S704
