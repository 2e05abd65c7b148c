"""One module per model; each has a `SPEC`, its descriptor (haystack.specs.ModelSpec)."""
