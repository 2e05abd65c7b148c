#!/usr/bin/env bash
# Snakemake runs this in the pipeline's folder once the environment is made.
set -euo pipefail
python -m pip install --quiet --constraint constraints.txt ".[stack]"
