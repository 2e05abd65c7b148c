"""One module per strategy; each has a `SPEC`, its descriptor (haystack.specs.StrategySpec)."""
