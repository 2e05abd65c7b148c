"""What starts runs, one module each with a `SPEC` (haystack.specs.BackendSpec): local processes, Google Batch."""
