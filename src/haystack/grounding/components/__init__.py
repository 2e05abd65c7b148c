"""One module per component of the score, each with a `SPEC` (haystack.specs.ComponentSpec)."""
