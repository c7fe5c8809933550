# Each target sets up what it needs: a virtual environment in .venv, made once and brought up to date when
# pyproject.toml or constraints.txt change. Needs Python 3.11 or newer and make.

PYTHON ?= python3
BIN := .venv/bin
READY := .venv/ready
PYTEST := $(BIN)/python -m pytest

.PHONY: run test test-engine test-terminal test-screens test-slow test-all check bench torture schema clean

run: $(READY)
	$(BIN)/cifar-tui --run presets/quickstart.yaml

# The terminal's tests often wait for a screen, so they fill what the others, which mostly compute, leave of two cores.
test: $(READY)
	@$(MAKE) --jobs=3 --keep-going --output-sync=target --no-print-directory test-engine test-terminal test-screens

test-engine: $(READY)
	$(PYTEST) -q tests --ignore=tests/tui

test-terminal: $(READY)
	nice $(PYTEST) -q tests/tui --ignore-glob='*/test_screen_*.py'

test-screens: $(READY)
	nice $(PYTEST) -q $(wildcard tests/tui/test_screen_*.py)

test-slow: $(READY)
	$(PYTEST) -q -m slow

test-all: test test-slow

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(READY)
	$(BIN)/python -m benchmarks

torture: $(READY)
	$(BIN)/python -m benchmarks.torture

schema: $(READY)
	$(BIN)/python -m engine.preset_schema presets

clean:
	rm -rf .venv build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis

$(READY): pyproject.toml constraints.txt
	@test -x $(BIN)/python || $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and \
		"cifar-tui needs Python 3.11 or newer; this is %d.%d. Name one: make PYTHON=python3.12" % sys.version_info[:2])'
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip --version > /dev/null 2>&1 || $(BIN)/python -m ensurepip --upgrade
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@
