# The two commands a newcomer needs are `make run` and `make test`; both set up .venv on their own.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
conf ?= vit_rgd.yaml
# Tests start dozens of processes, and without bytecode each would compile the package anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: run test test-slow lint format bench clean

run: $(VENV)/installed
	$(BIN)/python -m framework conf=$(conf)

test: lint
	$(BIN)/pytest -n 2 -q

test-slow: $(VENV)/ready
	$(BIN)/pytest -m slow --timeout=7200 -s

lint: $(VENV)/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/ready
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/ready
	$(BIN)/python tools/bench_step.py

PIP := $(BIN)/python -m pip install --quiet --no-compile --disable-pip-version-check -c constraints.txt
# on all cores, where pip uses one; a file for another Python fails, and is not needed
COMPILE := $(BIN)/python -m compileall -qq -j 0 $(VENV)/lib || true

# what a user needs; torch first, which deepspeed's own setup imports
$(VENV)/installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(v < (3, 11) and "framework needs Python 3.11 or newer; this is %d.%d (choose another with make PYTHON=...)" % v[:2])'
	@echo "setting up $(VENV): about 2 GB, once"
	$(PYTHON) -m venv $(VENV)
	$(PIP) torch
	$(PIP) -e '.[deepspeed,huggingface,sweep]'
	$(COMPILE)
	touch $@

# and what the tests need beside it
$(VENV)/ready: $(VENV)/installed
	@echo "adding what the tests need: about 1 GB, once"
	$(PIP) -e '.[dev]'
	$(COMPILE)
	touch $@

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
