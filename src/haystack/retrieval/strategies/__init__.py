"""One module per strategy; each has `propose(question) -> Proposals`."""
