.DEFAULT_GOAL := help
PYTHON ?= .venv/bin/python

.PHONY: env help check test versions lint types demo bench chaos dist clean

help:  ## This list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 12

check: lint types test  ## Everything that must pass before a commit

test:  ## The test suite (makes the environment if need be)
	python3 tests/run.py

versions:  ## The engine's tests on PostgreSQL 15, 16, 17 and 18
	python3 tests/run.py --all-versions

env:
	@python3 demos/environment.py dev

lint: env  ## Style, formatting, and that imports point downwards
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	.venv/bin/lint-imports

types: env  ## mypy --strict
	$(PYTHON) -m mypy

demo:  ## The demos, with a worker killed on the way
	python3 demos/run.py

bench:  ## Measure this machine
	.venv/bin/pgorch bench

chaos: env  ## Faults under load: ten minutes of the standard plan, then the liveness plan
	$(PYTHON) -m tests.chaos
	$(PYTHON) -m tests.chaos --plan liveness

dist: env  ## A wheel in dist/
	$(PYTHON) -m pip wheel --no-deps --wheel-dir dist .

clean:  ## Remove what the tools leave behind; the environment stays
	rm -rf dist build .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
