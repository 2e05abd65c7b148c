# Two commands for everybody: `make run` (the demo) and `make test`. Each sets up what it needs in .venv first; a second
# call is quick. CI adds `make check` (format, lint, import order, types, workflow lint, docs) and `make test-slow` (kills, bad
# runs, equal bytes, a model trained on real cells); every night `make test-nightly` (long suites) and `make mutations`.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Set up anew only when what is to be installed has changed: what the pipeline needs, and what its tests need beside it.
STAMP := $(VENV)/.installed
TESTS := $(VENV)/.installed-tests
EXTRAS := stack,api,gcp,slurm,dev
TORCH := $(shell sed -n 's/^torch==//p' constraints.txt)
PROFILE ?= profiles/local
# Pipeline and tests start Python hundreds of times: each start would parse all sources anew where this is set.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: run test test-slow test-nightly mutations check setup

run: $(STAMP)
	$(BIN)/snakemake --profile $(PROFILE)

test: $(TESTS)
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "not slow"

test-slow: $(TESTS)
	$(BIN)/python -m pytest -n 2 --dist loadfile -m slow
	$(BIN)/python -m pytest -p nbmake --nbmake --nbmake-timeout=600 docs/notebooks

test-nightly: $(TESTS)
	$(BIN)/python -m pytest -n 2 --dist loadfile -m nightly

mutations: $(TESTS)
	$(BIN)/python tests/mutations.py

check: $(TESTS)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports
	$(BIN)/mypy
	$(BIN)/snakefmt --check workflow
	$(BIN)/snakemake --lint
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet --site-dir build/site

setup: $(TESTS)

# uv installs 300 packages in a sixth of pip's time. It does not read pip's settings: where only these lead to an index,
# pip does it.
define install
	@echo "Installing: $(1)"
	@{ $(BIN)/pip install -q --no-compile --constraint constraints.txt uv \
	    && $(BIN)/uv pip install -q --python $(BIN)/python --compile-bytecode \
	        --constraint constraints.txt --editable ".[$(1)]"; } \
	    || $(BIN)/pip install -q --constraint constraints.txt --editable ".[$(1)]"
endef

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	    || { echo "HAYSTACK needs Python 3.11 or newer; say which with: make $(MAKECMDGOALS) PYTHON=python3.11"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@# Without a GPU the small CPU build of torch, wherever the package index offers one; the usual build otherwise.
	@if ! command -v nvidia-smi >/dev/null 2>&1 \
	    && $(BIN)/pip install -q --no-compile --constraint constraints.txt "torch==$(TORCH)+cpu" 2>/dev/null; \
	    then echo "torch: CPU build"; \
	    else $(BIN)/pip install -q --no-compile --constraint constraints.txt "torch==$(TORCH)"; fi
	$(call install,stack)
	@$(BIN)/python -m compileall -q src
	@touch $(STAMP)

$(TESTS): $(STAMP)
	$(call install,$(EXTRAS))
	@touch $(TESTS)
