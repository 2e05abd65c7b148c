#!/usr/bin/env bash
# Snakemake runs this in the new environment. HAYSTACK_REQUIREMENT says where the package is from that runs Snakemake.
set -euo pipefail
python -m pip install --quiet ${HAYSTACK_CONSTRAINTS:+--constraint "$HAYSTACK_CONSTRAINTS"} "$HAYSTACK_REQUIREMENT"
