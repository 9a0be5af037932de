# Everything runs in .venv, which `make` builds from the lock files with any Python from 3.11 on.

VENV := .venv
BIN := $(VENV)/bin

.DEFAULT_GOAL := help
.PHONY: help run test faults torture chaos sim mutants check bench locks clean

help: ## Show what can be made.
	@sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 16

run: $(VENV)/.run ## Run both servers in this terminal; Ctrl-C stops them.
	@$(BIN)/python -m dirsync.run.both

test: $(VENV)/.dev ## Run the tests.
	$(BIN)/pytest -n 4 --dist loadfile

faults: $(VENV)/.dev ## Run the long tests in which disks, networks and power fail (as root, to run them all).
	$(BIN)/pytest -n 2 --dist loadfile -m faults

torture: $(VENV)/.dev ## Kill servers at every call that changes a file [MINUTES= ONLY=scenario:point FROM= SEED= JOBS=].
ifeq ($(ONLY)$(FROM),)
	$(BIN)/pytest -n 2 -m torture --timeout 600
endif
	$(BIN)/python -m tests.torture $(TORTURE)

chaos: $(VENV)/.dev ## Run two servers while everything goes wrong [MINUTES=30 SEED=].
	$(BIN)/python -m tests.chaos.driver --minutes $(or $(MINUTES),30) $(if $(SEED),--seed $(SEED))

sim: $(VENV)/.dev ## Simulate whole pairs, faults included [SEEDS=1000 FIRST=1 | SEED= for one with its trace].
	$(BIN)/python -m tests.sim $(if $(SEED),--seed $(SEED),--seeds $(or $(SEEDS),1000) --first $(or $(FIRST),1))

mutants: $(VENV)/.dev ## Show that the simulator sees what is missing: safety steps taken away one by one [SEEDS=1000].
	$(BIN)/python -m tests.sim.mutants --seeds $(or $(SEEDS),1000)

check: $(VENV)/.dev ## Check format, lint, types and the layers.
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy -p dirsync -p benchmarks
	$(BIN)/lint-imports

bench: $(if $(WRITE),$(VENV)/.bench,$(VENV)/.run) ## Compare with other tools [ROWS= PEERS= PLACES= RUNS=5 QUICK=1 DIRECTORY= RESULTS= ADD=1 WRITE=1].
	$(BIN)/python -m benchmarks $(BENCH)

locks: $(VENV)/.dev ## Compile the lock files anew from pyproject.toml (with Python 3.11).
	$(BIN)/pip install --quiet pip-tools
	$(BIN)/pip-compile $(COMPILE) --output-file requirements.lock pyproject.toml
	$(BIN)/pip-compile $(COMPILE) --extra dev --output-file requirements-dev.lock pyproject.toml
	$(BIN)/pip-compile $(COMPILE) --extra bench --output-file requirements-bench.lock pyproject.toml

clean: ## Remove what was built, not what was synchronised.
	rm -rf $(VENV) build src/*.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +

COMPILE := --quiet --generate-hashes --allow-unsafe --strip-extras --build-deps-for wheel --build-deps-for editable \
	--no-emit-index-url --no-emit-find-links --no-emit-trusted-host --no-header

TORTURE = $(if $(MINUTES),--minutes $(MINUTES)) $(if $(ONLY),--only '$(ONLY)') $(if $(FROM),--from '$(FROM)') \
	$(if $(SEED),--seed $(SEED)) $(if $(JOBS),--jobs $(JOBS))

BENCH = $(if $(ROWS),--rows '$(ROWS)') $(if $(PEERS),--peers '$(PEERS)') $(if $(PLACES),--places '$(PLACES)') \
	$(if $(RUNS),--runs $(RUNS)) $(if $(QUICK),--quick) $(if $(DIRECTORY),--directory '$(DIRECTORY)') \
	$(if $(RESULTS),--results '$(RESULTS)') $(if $(ADD),--add) $(if $(WRITE),--write)

# An existing environment is brought up to date, not replaced.
$(BIN)/python:
	@for python in python3 python3.11 python3.12 python3.13 python3.14; do \
	  if $$python -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then \
	    echo "making $(VENV) with $$($$python --version)"; exec $$python -m venv $(VENV); \
	  fi; \
	done; \
	echo "dirsync needs Python 3.11 or newer with the venv module (on Debian and Ubuntu: python3-venv)" >&2; exit 1

$(VENV)/.run: requirements.lock pyproject.toml | $(BIN)/python
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.bench: requirements-bench.lock | $(VENV)/.run
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-bench.lock
	@touch $@

$(VENV)/.dev: requirements-dev.lock pyproject.toml | $(BIN)/python
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@ $(VENV)/.run
