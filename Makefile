# Every target sets itself up: .venv is made once, and again when pyproject.toml changes.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
WORKERS ?= 2

.PHONY: demo test check bench slow venv clean
.DEFAULT_GOAL := test

demo: $(STAMP)  ## train the demo network on MNIST, print its test accuracy and where the report is
	rm -rf runs/demo
	$(BIN)/lamina train mnist --recipe mnist_fast --output runs/demo

test: $(STAMP)  ## every test that is not marked slow
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) -m "not slow"

slow: $(STAMP)  ## the tests marked slow
	$(BIN)/python -m pytest -m slow

check: $(STAMP)  ## format, lint, strict types, architecture: under a minute
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/test_architecture.py

bench: $(STAMP)  ## ours beside its peers, appended to benchmarks/RESULTS.md
	$(BIN)/python benchmarks/run.py

venv: $(STAMP)  ## only the set-up

$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo 'Lamina needs Python 3.11 or newer; "$(PYTHON)" is not. Name one: make PYTHON=python3.12 $(MAKECMDGOALS)' >&2; exit 1; }
	@echo 'Setting up $(VENV): a minute or two'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[dev]"
	@touch $@

clean:  ## everything that is made, the environments too
	rm -rf $(VENV) runs build dist benchmarks/.peers .pytest_cache .mypy_cache .ruff_cache
