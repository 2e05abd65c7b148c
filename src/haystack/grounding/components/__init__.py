"""One module per component of the score; each has a `SPEC`, its descriptor (haystack.specs.ComponentSpec)."""
