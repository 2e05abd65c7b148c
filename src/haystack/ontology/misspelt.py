"""Complete truncated words and correct misspelt ones."""

from __future__ import annotations

import difflib
from collections.abc import Mapping


def completions(word: str, known: Mapping[str, int]) -> str | None:
    """The most frequent known word that begins with `word` (at least four letters, clearly truncated), if any."""
    if len(word) < 4 or not word.isalpha():
        return None
    longer = [name for name in known if name.startswith(word) and len(name) >= len(word) + 2 and name.isalpha()]
    return min(longer, key=lambda name: (-known[name], name), default=None)


def corrections(word: str, known: Mapping[str, int]) -> str | None:
    """The known word with nearly the same letters (at least six), if any."""
    if len(word) < 6 or not word.isalpha():
        return None
    near = [name for name in known if name[0] == word[0] and abs(len(name) - len(word)) <= 2]
    found = difflib.get_close_matches(word, sorted(near), n=1, cutoff=0.88)
    return found[0] if found else None
