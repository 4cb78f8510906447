# `make run` needs Python 3.11 or newer and make, nothing else.
.DEFAULT_GOAL := help
.SUFFIXES:
MAKEFLAGS += --no-print-directory

BIN := .venv/bin
LOCK := requirements/development.lock
# Named by what the environment was made from, so that a mere change of dates makes nothing anew.
STAMP := .venv/.made-from-$(shell { pwd; cat $(LOCK); } | cksum | tr ' ' '-')

.PHONY: help setup run test bench bench-programmes lint format migrate demo-reset lock

help:  ## Show what there is.
	@grep -E '^[a-z-]+:.*##' $(firstword $(MAKEFILE_LIST)) | sed -E 's/:.*## /\t/' | expand -t 14

setup: $(STAMP)  ## Make .venv from the hashed lock, when the lock has changed.

# A shim may be on the path without an interpreter behind it, so each is tried, not only found.
$(STAMP):
	@python=''; \
	for name in $(PYTHON) python3.13 python3.12 python3.11 python3.14 python3; do \
	    if "$$name" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' \
	        >/dev/null 2>&1; then python="$$name"; break; fi; \
	done; \
	if [ -z "$$python" ]; then \
	    echo 'No Python 3.11 or newer with venv was found.' \
	        'Install one (Debian: apt-get install python3-venv) or run `make PYTHON=/path/to/it`.' >&2; \
	    exit 1; \
	fi; \
	if ! $(BIN)/python -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then \
	    echo "Making .venv with $$python"; "$$python" -m venv --clear .venv || exit 1; \
	fi
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $(LOCK)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-index \
	    --no-build-isolation --editable .
	@touch $@

run: setup  ## Start the city's money with a demo city, on loopback.
	$(BIN)/wallet run

demo-reset: setup  ## Throw the demo city away and make a fresh one.
	$(BIN)/wallet demo reset

test: setup lint  ## Everything that must hold: format, lint, types, imports, all tests.
	$(BIN)/python -m pytest

lint: setup  ## Format check, ruff, mypy, import contracts.
	$(BIN)/ruff format --check --quiet
	$(BIN)/ruff check --quiet
	$(BIN)/mypy --no-error-summary
	$(BIN)/lint-imports --no-cache --no-logo

format: setup  ## Put the code into its one form and fix what can be fixed safely.
	$(BIN)/ruff format --quiet
	$(BIN)/ruff check --fix --quiet

bench: setup  ## Measure payments per second here and now.
	$(BIN)/python -m bench

bench-programmes: setup  ## Measure draws, first-come sales, bonuses, grants and expiry.
	@for part in draw first_come bonus grants expiry; do $(BIN)/python -m bench.$$part || exit 1; done

migrate: setup  ## Bring the database of DATABASE_OWNER_URL (or the embedded one) up to date.
	$(BIN)/alembic upgrade head

# Exact versions and hashes, and no address: where packages come from is the machine's matter.
COMPILE := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
    --no-strip-extras --no-annotate --custom-compile-command 'make lock' $(UPGRADE)

lock:  ## Resolve the dependencies anew (`make lock UPGRADE=--upgrade` for newer versions).
	$(COMPILE) pyproject.toml --output-file requirements/runtime.lock
	$(COMPILE) pyproject.toml --group development --output-file $(LOCK)
	$(COMPILE) --group build --output-file requirements/build.lock
