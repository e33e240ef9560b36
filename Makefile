# The two commands of the README: make demo, make test.
#   PYTHON=python3.12   the interpreter that .venv is made with
#   TORCH=2.12.0        another version of PyTorch
#   ARGS=--quick        options of `omnial demo`, of the benchmarks, or of the soak
#   SECONDS=120         how long each target is fuzzed

PYTHON ?= python3
TORCH ?= 2.13.0
ARGS ?=
SECONDS ?= 120

BIN := .venv/bin
STAMP := .venv/.setup-torch-$(TORCH)
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check

.PHONY: help setup demo test quick bench soak fuzz lint format docs api licences sbom audit clean
.DEFAULT_GOAL := help

help: ## show this list
	@sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 16

setup: $(STAMP) ## make .venv with everything for development

# PyTorch goes first, in one known version: the project's range alone would take any.
$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	    || { echo 'omnial needs Python 3.11 or newer: make $(MAKECMDGOALS) PYTHON=python3.12' >&2; exit 1; }
	@echo 'setting up .venv with PyTorch $(TORCH); the first time takes some minutes'
	@test -x $(BIN)/python || $(PYTHON) -m venv --clear .venv
	@$(PIP) install 'torch==$(TORCH)'
	@$(PIP) install --editable '.[dev]'
	@rm -f .venv/.setup-torch-*
	@touch $@

demo: setup ## generate products, train one model, open its report (about ten minutes)
	$(BIN)/omnial demo $(ARGS)
	@echo 'omnial is in .venv: type `. .venv/bin/activate` to have it on the PATH'

# One process a core, each with one thread: the networks of tests are too small to share.
test: setup lint ## check style and types, then run all tests
	OMP_NUM_THREADS=1 $(BIN)/pytest -n auto --dist loadfile --max-worker-restart 0

quick: setup ## the tests that need no training and no service: under a minute
	OMP_NUM_THREADS=1 $(BIN)/pytest -n auto --dist loadfile tests/test_architecture.py \
	    tests/test_links.py tests/cli/test_command_docs.py tests/config tests/metrics \
	    tests/synthesis tests/data

bench: setup ## measure speed and memory as ratios (about six minutes)
	$(BIN)/python -m benchmarks.run $(ARGS)

soak: setup ## kill training, evaluation and the other verbs at random, and compare (half an hour)
	$(BIN)/python -m tools.soak $(ARGS)

fuzz: setup ## search for inputs that crash, SECONDS a target (needs a C++ compiler)
	@$(PIP) install --editable '.[fuzz]'
	@for target in $$($(BIN)/python -m tools.fuzz --list); do \
	    $(BIN)/python -m tools.fuzz $$target --seconds $(SECONDS) $(ARGS) || exit 1; \
	done
	OMNIAL_EXAMPLES=$(SECONDS) $(BIN)/pytest tests/serving/test_openapi.py
	$(BIN)/pytest -m hypothesis --hypothesis-profile=random

lint: setup ## check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: setup ## put the sources into shape
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: setup ## write the tables of docs/configuration.md and of tests/bad_input/README.md again
	$(BIN)/python -m tools.settings_table docs/configuration.md
	$(BIN)/python -m tests.bad_input.page

api: setup ## write the public API to tests/public_api.txt again
	$(BIN)/python -m tools.public_api

licences: setup ## write the table of docs/licences.md again; fails on one that is not allowed
	@table=$$($(BIN)/pip-licenses) && text=$$(grep -v '^|' docs/licences.md) \
	    && printf '%s\n\n%s\n' "$$text" "$$table" > docs/licences.md

sbom: setup ## write dist/omnial.cdx.json, a CycloneDX bill of the installed packages
	@mkdir -p dist
	$(BIN)/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible --output-file dist/omnial.cdx.json .venv

audit: setup ## ask whether installed packages have known vulnerabilities
	@$(BIN)/pip-audit --local --skip-editable $(ARGS)

clean: ## remove .venv and everything that tools left behind
	rm -rf .venv build dist src/*.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find src tests -type d -name __pycache__ -prune -exec rm -rf {} +
