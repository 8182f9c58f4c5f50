# Every target sets itself up: .venv is made once, and again when pyproject.toml changes.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
WORKERS ?= 2

.PHONY: demo test browser docs check bench slow venv clean
.DEFAULT_GOAL := test

demo: $(STAMP)  ## train the demo network on MNIST, print its test accuracy and where the report is
	rm -rf runs/demo
	$(BIN)/lamina train mnist --recipe mnist_fast --output runs/demo

test: $(STAMP)  ## every test that is not marked slow
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal -m "not slow"

browser: $(STAMP)  ## the server's page in a real browser: Debian's chromium and playwright, installed where they are missing
	@for name in chromium chromium-browser google-chrome; do command -v $$name >/dev/null && exit 0; done; \
		command -v apt-get >/dev/null || { echo 'The browser tests need Chromium, and there is no apt-get here. Install it as `chromium`.' >&2; exit 1; }; \
		as=; [ "$$(id -u)" = 0 ] || as=sudo; \
		$$as apt-get update -qq && $$as apt-get install -y -qq --no-install-recommends chromium || \
		{ echo 'Chromium could not be installed. As root: apt-get install chromium' >&2; exit 1; }
	@$(BIN)/python -c 'import playwright' 2>/dev/null || $(BIN)/python -m pip install --quiet --disable-pip-version-check 'playwright>=1.49'
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/browser

docs: $(STAMP)  ## the site of docs/, into site/; a broken link or reference is an error
	@$(BIN)/python -c 'import material, mkdocstrings' 2>/dev/null || $(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[docs]"
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

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
	rm -rf $(VENV) runs site build dist benchmarks/.peers .pytest_cache .mypy_cache .ruff_cache
