# Every target sets itself up: the first call makes .venv from the pinned constraints, later calls are quick.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
export OMP_NUM_THREADS ?= 1

.PHONY: demo test test-slow lint clean

demo: .venv/installed
	OMP_NUM_THREADS=2 $(BIN)/limbeck demo

test: lint
	$(BIN)/python -m pytest

test-slow: .venv/installed
	$(BIN)/python -m pytest -m slow -n 0

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	# torchvision has no CPU build there: aside, it is seen only by the tests that define the operators it misses.
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -c constraints.txt --target .venv/vision \
		timm torchvision
	touch $@

clean:
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .hypothesis build src/limbeck.egg-info
