# Two commands do everything: `make demo` and `make test`. `make help` lists the rest.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
STAMP := $(VENV)/.installed
DEV_STAMP := $(VENV)/.installed-dev
BENCH_STAMP := .venv-bench/.installed
WORKERS ?= 2

.DEFAULT_GOAL := help
.PHONY: help install demo up test faults check docs bench-install bench-gateway-install bench-sandbox-install constraints clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1|/' | \
	  awk -F'|' '{printf "  make %-21s %s\n", $$1, $$2}'

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "UAOL needs Python 3.11 or newer; set PYTHON=/path/to/python3"; exit 2; }
	$(PYTHON) -m venv $(VENV)

$(STAMP): pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing into $(VENV) (about a minute) ..."
	$(PIP) install --constraint constraints.txt --editable '.[bio]'
	@# The Rule Set 3 model is a file inside this wheel; its code pins libraries we do not want.
	$(PIP) install --constraint constraints.txt --no-deps rs3
	@touch $@

$(DEV_STAMP): $(STAMP)
	$(PIP) install --constraint constraints.txt --editable '.[bio,dev]'
	@touch $@

install: $(STAMP) ## install into .venv

demo: $(STAMP) ## design a checked CRISPR knockout of HBB; the result is in demo/
	@$(BIN)/uaol demo

up: $(STAMP) ## serve until Ctrl-C; prints URL, key and MCP client configuration
	@$(BIN)/uaol up

test: $(DEV_STAMP) ## run every test that this machine can run
	@tests/system_packages.sh
	@$(BIN)/python -m tests.conformance.node.install >/dev/null || echo "so these tests will be skipped"
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal -q

FAULTS_SECONDS ?= 600
faults: $(DEV_STAMP) ## the long fault tests, ten minutes; the last line is one JSON object
	@tests/system_packages.sh
	@UAOL_FAULTS_SECONDS=$(FAULTS_SECONDS) $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal \
	  -q -p tests.faults.summary --hypothesis-profile=random tests/faults tests/simulation \
	  tests/sandbox/abuse/test_leaks.py

check: $(DEV_STAMP) ## ruff, mypy --strict, import-linter
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: $(DEV_STAMP) ## write the references of settings, errors and schemas from the code
	@$(BIN)/python -m tests.architecture.generate

$(BENCH_STAMP): bench/requirements-peers.txt
	$(PYTHON) -m venv .venv-bench
	.venv-bench/bin/python -m pip --disable-pip-version-check --quiet install --requirement $<
	@touch $@

bench-install: $(BENCH_STAMP) ## install the benches' peers into .venv-bench

.venv-bench-%/.installed: bench/requirements-%.txt
	$(PYTHON) -m venv .venv-bench-$*
	.venv-bench-$*/bin/python -m pip --disable-pip-version-check --quiet install --requirement $<
	@touch $@

bench-gateway-install: .venv-bench-fastmcp/.installed .venv-bench-contextforge/.installed ## install the gateway's peers

bench-sandbox-install: .venv-bench-llmsandbox/.installed ## install the sandbox's peer

constraints: $(DEV_STAMP) ## write constraints.txt anew from what is installed
	$(BIN)/python -m pip --disable-pip-version-check freeze --exclude-editable --exclude uaol \
	  | grep -E '^[A-Za-z0-9._-]+==[^ ]+$$' | LC_ALL=C sort -f > constraints.txt

clean: ## remove the environment (not the data in .uaol)
	rm -rf $(VENV) .venv-bench .venv-bench-* build *.egg-info
