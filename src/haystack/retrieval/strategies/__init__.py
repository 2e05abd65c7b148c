"""One module per strategy, each with a `SPEC` (haystack.specs.StrategySpec)."""
