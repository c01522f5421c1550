# The environment in .venv is made on first use, and again when the requirements change.
PYTHON ?= python3.11
BIN := .venv/bin

.DEFAULT_GOAL := help
.PHONY: help demo test conformance lint bench

help:  ## This list
	@grep -E '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 10

demo: .venv/.made  ## Everything on real text: teacher, students, one table (20 minutes on two cores)
	$(BIN)/nlg-distill reproduce demo

test: .venv/.made  ## The whole test suite, slow tests included
	$(BIN)/python -m pytest --numprocesses auto --dist loadfile --no-loadscope-reorder

conformance: .venv/.made  ## The losses beside those of other systems, which this installs
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[conformance]'
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --no-deps torchdistill
	$(BIN)/python -m pytest -m conformance

lint: .venv/.made  ## Style, spelling and types
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/codespell
	$(BIN)/mypy

bench: .venv/.made  ## Training speed against a bare loop; what diagnostics cost; how long a start takes
	$(BIN)/python benchmarks/training_speed.py
	$(BIN)/python benchmarks/diagnostics_cost.py
	$(BIN)/python benchmarks/start.py

.venv/.made: pyproject.toml constraints.txt
	$(PYTHON) -m venv --clear .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt torch
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $@
