# Everything a developer or a visitor runs. Each target makes and uses its own .venv.
#   make demo   needs nothing but python3 (3.11 or later) and a package registry that pip knows
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.ONESHELL:

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# The S3 server of the tests pins another botocore than the product, so it lives apart.
S3_VENV := .venv-s3
S3_STAMP := $(S3_VENV)/.installed
# locust brings gevent and a web server: neither belongs beside the product.
LOAD_VENV := .venv-load
LOAD_STAMP := $(LOAD_VENV)/.installed
# The dashboard's charts library, from a lock file without addresses: npm asks the registry it knows.
FRONTEND := requirements/frontend
VENDOR := mirror/control/pages/vendor
ASSETS := $(FRONTEND)/node_modules/.installed
SOURCES := mirror tests benchmarks
# A module's tests share its servers, so they stay together. Many wait for processes as long as they
# compute: `make test` takes one process more than there are cores.
PYTEST_ARGS ?= -n auto --dist loadscope
TEST_ARGS ?= -n $(shell expr $$(nproc) + 1) --dist loadscope

# Tests start the product hundreds of times: compiling it each time took half of their processor time.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo run test check check-full assets browser s3-server bench bench-full load soak fmt lock clean help

help: ## this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(STAMP) $(ASSETS) ## simulator + mirror + real clients, with a table of what was saved (DEMO_ONCE=1 exits)
	@exec $(BIN)/rust-mirror demo

run: $(STAMP) $(ASSETS) ## the mirror with config/dev.toml, until Ctrl-C
	@exec $(BIN)/rust-mirror serve --config config/dev.toml

test: $(STAMP) $(S3_STAMP) ## unit, contract and scenario tests, but not those marked full (under 4 minutes)
	@$(BIN)/python -m pytest -m "not full and not slow and not browser" $(TEST_ARGS)

check: $(STAMP) ## format, lint, types, layers
	@$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/test_layers.py tests/test_house.py

check-full: check $(S3_STAMP) $(LOAD_STAMP) $(ASSETS) ## every test there is: real clients, counted kills, the wheel in a fresh venv
	@$(BIN)/python -m pytest $(PYTEST_ARGS)

assets: $(ASSETS) ## the dashboard's charts library (needs npm; without it pages show tables)

browser: $(STAMP) $(ASSETS) ## the dashboard in headless Chromium: clicks, keys, both themes, accessibility
	@$(BIN)/python -m pytest -m browser -n0

s3-server: $(S3_STAMP) ## the S3 server that tests start, in .venv-s3

bench: $(STAMP) ## hits beside nginx and Varnish, cold fill, memory: the table of docs/performance.md (15 minutes)
	@$(BIN)/python -m benchmarks.hit

bench-full: $(STAMP) ## every protocol and size under reno, cubic and the default; all other benchmarks (3 hours)
	@$(BIN)/python -m benchmarks.hit --matrix
	$(BIN)/python -m benchmarks.hit --matrix --congestion cubic --skip-further
	$(BIN)/python -m benchmarks.hit --matrix --congestion default --skip-further
	$(BIN)/python -m benchmarks.hit.profile
	$(BIN)/python -m benchmarks.micro
	$(BIN)/python -m benchmarks.miss --save
	$(BIN)/python -m benchmarks.scale --save
	$(BIN)/python -m benchmarks.memory.loaded
	$(BIN)/python -m benchmarks.followers
	$(BIN)/python -m benchmarks.behaviour
	$(BIN)/python -m benchmarks.keeper_death
	$(BIN)/python -m benchmarks.counting
	$(BIN)/python -m benchmarks.scrape --save
	$(BIN)/python -m benchmarks.curve
	$(BIN)/python -m benchmarks.restart --save
	$(BIN)/python -m benchmarks.eviction
	$(BIN)/python -m benchmarks.eviction_cost
	$(BIN)/python -m benchmarks.dashboard --save

load: $(STAMP) $(LOAD_STAMP) ## LOAD_JOBS (200) simulated CI jobs for LOAD_MINUTES (5), bodies checked; TARGET=URL of a mirror
	@$(BIN)/python -m benchmarks.load --jobs $(or $(LOAD_JOBS),200) --minutes $(or $(LOAD_MINUTES),5) \
	  $(if $(TARGET),--target '$(TARGET)',--save) $(LOAD_ARGS)

soak: $(STAMP) ## SOAK_MINUTES (default 60) of good clients beside 5,000 kills, damage, faults, leaks
	@$(BIN)/python -m benchmarks.soak

fmt: $(STAMP) ## format and sort imports
	@$(BIN)/ruff check --select I --fix $(SOURCES)
	$(BIN)/ruff format $(SOURCES)

lock: $(STAMP) ## lock requirements/*.in again (asks the registry)
	@for name in runtime build dev s3server load; do
	  echo "Locking requirements/$$name.txt"
	  CUSTOM_COMPILE_COMMAND="make lock" $(BIN)/pip-compile --quiet --upgrade --generate-hashes \
	    --no-emit-index-url --no-emit-find-links --no-emit-trusted-host --allow-unsafe \
	    --strip-extras --output-file requirements/$$name.txt requirements/$$name.in
	done

clean: ## remove .venv, caches and build output
	@rm -rf $(VENV) $(S3_VENV) $(LOAD_VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage* $(VENDOR) $(FRONTEND)/node_modules
	find mirror tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

$(STAMP): requirements/dev.txt pyproject.toml mirror/__init__.py
	@command -v $(PYTHON) > /dev/null || {
	  echo "$(PYTHON) not found: install Python 3.11 or later, or say make PYTHON=/path/to/python" >&2; exit 1; }
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
	  echo "$(PYTHON) is $$($(PYTHON) -V 2>&1); 3.11 or later is needed: make PYTHON=python3.11" >&2; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { rm -rf $(VENV)
	  echo "No virtual environment could be made; on Debian: apt-get install python3-venv" >&2; exit 1; }
	total=$$(grep -c '^[a-z0-9].*==' requirements/dev.txt)
	echo "Installing $$total locked packages into $(VENV) (once; log: $(VENV)/install.log)"
	$(BIN)/python -m pip install --require-hashes -r requirements/dev.txt 2>&1 \
	  | tee $(VENV)/install.log \
	  | awk -v total=$$total '/^(Collecting|Processing|Requirement already)/ { n++; printf "\r  %d of %d", n, total }
	      /^Installing collected/ { printf "\r  unpacking    " } { fflush() } END { print "" }' || {
	  tail -n 20 $(VENV)/install.log >&2; exit 1; }
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable . \
	  >> $(VENV)/install.log 2>&1 || { tail -n 20 $(VENV)/install.log >&2; exit 1; }
	touch $@

# Best effort: a machine without npm gets tables instead of charts, and is told so.
$(ASSETS): $(FRONTEND)/package-lock.json $(FRONTEND)/package.json
	@if ! command -v npm > /dev/null; then
	  echo "npm not found: the dashboard shows tables instead of charts (make assets, once npm is there)" >&2
	elif npm ci --prefix $(FRONTEND) --ignore-scripts > $(FRONTEND)/install.log 2>&1; then
	  mkdir -p $(VENDOR)
	  cp $(FRONTEND)/node_modules/uplot/dist/uPlot.iife.min.js \
	    $(FRONTEND)/node_modules/uplot/dist/uPlot.min.css $(VENDOR)/
	  cp $(FRONTEND)/node_modules/uplot/LICENSE $(VENDOR)/uPlot.LICENSE.txt
	  rm -f $(FRONTEND)/install.log
	  touch $@
	else
	  tail -n 5 $(FRONTEND)/install.log >&2
	  echo "npm could not install: the dashboard shows tables instead of charts (make assets)" >&2
	fi

$(S3_STAMP): requirements/s3server.txt $(STAMP)
	@test -x $(S3_VENV)/bin/python || $(PYTHON) -m venv $(S3_VENV)
	echo "Installing the S3 server for tests into $(S3_VENV) (once; log: $(S3_VENV)/install.log)"
	$(S3_VENV)/bin/python -m pip install --require-hashes -r requirements/s3server.txt \
	  > $(S3_VENV)/install.log 2>&1 || { tail -n 20 $(S3_VENV)/install.log >&2; exit 1; }
	touch $@

$(LOAD_STAMP): requirements/load.txt $(STAMP)
	@test -x $(LOAD_VENV)/bin/python || $(PYTHON) -m venv $(LOAD_VENV)
	echo "Installing locust into $(LOAD_VENV) (once; log: $(LOAD_VENV)/install.log)"
	$(LOAD_VENV)/bin/python -m pip install --require-hashes -r requirements/load.txt \
	  > $(LOAD_VENV)/install.log 2>&1 || { tail -n 20 $(LOAD_VENV)/install.log >&2; exit 1; }
	touch $@
