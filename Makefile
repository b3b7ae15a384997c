PYTHON ?= python3
BIN := .venv/bin

.PHONY: quickstart test lint clean

quickstart: .venv/ready  ## draw from the shipped model, fit on real digits, draw from that
	$(BIN)/python examples/quickstart.py

test: .venv/ready-to-test  ## the test suite, doctests included
	$(BIN)/python -m pytest

lint: .venv/ready-to-test  ## ruff and mypy --strict
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/ready: pyproject.toml | .venv/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	touch $@

.venv/ready-to-test: pyproject.toml | .venv/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[dev]"
	touch $@ .venv/ready

clean:
	rm -rf .venv build dist *.egg-info src/*.egg-info
