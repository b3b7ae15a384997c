PYTHON ?= python3
BIN := .venv/bin
LOWER := .venv-lower/bin
EXTRAS := .venv-extras/bin
# libraries whose samplers the oracle judges in the tests; their other dependencies are large and not needed
JUDGED := azula==0.11.1 einops==0.8.1 k-diffusion==0.1.1.post1 smalldiffusion==0.5.0 torchsde==0.2.6 trampoline==0.1.2
# a process for each core, each with one BLAS thread
ONE_THREAD := OPENBLAS_NUM_THREADS=1 OMP_NUM_THREADS=1
PYTEST := -m pytest --numprocesses auto --dist worksteal
CHROMIUM := $(firstword $(foreach one,chromium chromium-browser google-chrome,$(shell command -v $(one))))

.PHONY: quickstart test test-browser test-lower test-extras docs lint clean

quickstart: .venv/ready  ## draw from the shipped model, fit on real digits, draw from that
	$(BIN)/python examples/quickstart.py

test: .venv/ready-to-test  ## the test suite, doctests included
	$(ONE_THREAD) $(BIN)/python $(PYTEST) -m "not browser"
ifeq ($(CHROMIUM),)
	@echo "Chromium is missing, so the tests of the page in a browser were left out."
else
	$(MAKE) test-browser
endif

test-browser: .venv/ready-to-browse  ## the tests of the page in Chromium, in one process, as they measure times
	$(ONE_THREAD) $(BIN)/python -m pytest -m browser tests

test-lower: .venv-lower/ready  ## the test suite at the lower bounds of the dependencies
	$(ONE_THREAD) $(LOWER)/python $(PYTEST) -m "not browser"

test-extras: .venv-extras/ready  ## the tests that need optional dependencies
	$(ONE_THREAD) $(EXTRAS)/python $(PYTEST) -m "dask or torch or diffusers"

docs: .venv-extras/ready  ## the site, in docs/_build/html; every example is run, and a warning is an error
	$(ONE_THREAD) $(EXTRAS)/python -m sphinx -W --keep-going -q docs docs/_build/html
	$(EXTRAS)/python scripts/check_site.py

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

.venv/ready-to-browse: .venv/ready-to-test
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[browser]"
	touch $@

.venv-lower/ready: pyproject.toml scripts/lower_bounds.py
	$(PYTHON) -m venv .venv-lower
	$(LOWER)/python scripts/lower_bounds.py > .venv-lower/constraints.txt
	$(LOWER)/python -m pip install --quiet --disable-pip-version-check --editable ".[test]" \
		--constraint .venv-lower/constraints.txt
	touch $@

.venv-extras/ready: pyproject.toml
	$(PYTHON) -m venv .venv-extras
	$(EXTRAS)/python -m pip install --quiet --disable-pip-version-check --editable ".[test,dask,torch,diffusers,docs]"
	$(EXTRAS)/python -m pip install --quiet --disable-pip-version-check --no-deps $(JUDGED)
	touch $@

clean:
	rm -rf .venv .venv-lower .venv-extras build dist docs/_build docs/gallery docs/learn/course docs/reference/api *.egg-info src/*.egg-info
