"""One module per scheme that fsspec's own way does not serve; each has a `SPEC` (haystack.specs.StorageSpec)."""
