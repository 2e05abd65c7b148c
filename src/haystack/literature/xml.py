"""XML from the web: without entities of its own, which could grow without end or read files."""

from __future__ import annotations

import re
from xml.etree import ElementTree

from haystack.http import Answer, BadAnswerError

_DECLARATION = re.compile(r"^\s*<\?xml[^>]*\?>")


def parse_xml(answer: Answer) -> ElementTree.Element:
    """The root element.

    Raises
    ------
    BadAnswerError
        when it is not well-formed to its end, or declares entities.
    """
    text = _DECLARATION.sub("", answer.text)
    if "<!ENTITY" in text:
        raise BadAnswerError("XML that declares entities")
    try:
        return ElementTree.fromstring(text)  # noqa: S314 - entities are refused above
    except ElementTree.ParseError as error:
        raise BadAnswerError(f"not whole XML ({error})") from None
