"""Parse XML from the web without entity declarations, which could expand without limit or read files."""

from __future__ import annotations

import re
from xml.etree import ElementTree

from haystack.http import Answer, BadAnswerError

_DECLARATION = re.compile(r"^\s*<\?xml[^>]*\?>")
_ILLEGAL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff\ud800-\udfff]")
_REFERENCE = re.compile(r"&#(?:x([0-9a-fA-F]{1,6})|(\d{1,7}));")


def parse_xml(answer: Answer) -> ElementTree.Element:
    """The root element.

    Raises
    ------
    BadAnswerError
        when it is not well-formed to its end, or declares entities.
    """
    text = _ILLEGAL.sub("", _REFERENCE.sub(_legal, _DECLARATION.sub("", answer.text)))
    if "<!ENTITY" in text:
        raise BadAnswerError("XML that declares entities")
    try:
        return ElementTree.fromstring(text)  # noqa: S314 - entities are refused above
    except ElementTree.ParseError as error:
        raise BadAnswerError(f"not whole XML ({error})") from None


def _legal(match: re.Match[str]) -> str:
    """A character reference, or nothing if XML does not allow the character."""
    code = int(match[1], 16) if match[1] else int(match[2])
    return match[0] if code < 0x110000 and not _ILLEGAL.match(chr(code)) else ""
