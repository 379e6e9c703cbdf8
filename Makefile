# Everything runs in .venv, which `make setup` creates and every other target implies.
.DEFAULT_GOAL := help
SHELL := /bin/sh
BIN := .venv/bin
STAMP := .venv/.lock-installed

# Certificates of the machine, not only those that uv and Node bring along: company networks need it.
export UV_SYSTEM_CERTS ?= 1
export NODE_USE_SYSTEM_CA ?= 1
export UV_PYTHON_DOWNLOADS ?= never
export SAM_CLI_TELEMETRY := 0
# Tools and functions of this checkout see nothing of an environment that happens to be active.
unexport VIRTUAL_ENV PYTHONPATH PYTHONHOME

PYTHON_CODE := layers/lamina/python/lamina local benchmarks $(wildcard functions/*/app.py) $(wildcard builder/*.py)

.PHONY: help setup check demo serve replay scenarios schema bench test faults lint format lock build clean

help:  ## what can be made
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(STAMP)  ## the development environment, .venv (PYTHON=python3.12 chooses the interpreter)

$(STAMP): requirements/dev.txt
	@PYTHON='$(PYTHON)' scripts/setup
	@touch $@

check: setup  ## DIR=layers [JSON=result.json]: what an update would do to definitions and the locks beside them
	@$(BIN)/python -m local check $(if $(DIR),'$(DIR)') $(if $(JSON),--json '$(JSON)')

demo: setup  ## watch a good update go out and a bad one come back, with real packages
	@$(BIN)/python -m local demo

serve: setup  ## AWS on this machine with Lamina in it, to explore with the AWS CLI
	@$(BIN)/python -m local serve

replay: setup  ## SCENARIO=scenarios/httpx-0.28 [JSON=result.json]: replay a piece of history
	@test -n '$(SCENARIO)' || { echo 'which one? make replay SCENARIO=PATH, e.g. scenarios/httpx-0.28' >&2; exit 2; }
	@$(BIN)/python -m local replay '$(SCENARIO)' $(if $(JSON),--json '$(JSON)')

scenarios: setup  ## replay every folder under scenarios/, one after another: half an hour or more
	@failed=; for folder in scenarios/*/; do \
	echo "== $$folder"; $(BIN)/python -m local replay "$$folder" || failed="$$failed $$folder"; \
	done; test -z "$$failed" || { echo "not as expected:$$failed" >&2; exit 1; }

schema: setup  ## write docs/layer.schema.json anew, for editors of layer.toml
	@$(BIN)/python -m local schema

bench: setup  ## NAME=check | time_travel | quiet_day | build | verdict: measure, as JSON and as a table
	@test -n '$(NAME)' || { echo 'which one? make bench NAME=check' >&2; exit 2; }
	@PYTHONPATH=layers/lamina/python:. $(BIN)/python -m 'benchmarks.$(NAME)'

test: setup  ## the tests; LONG=1 adds those that take minutes each, PYTEST="-k name" passes options on
	@$(BIN)/python -m pytest --numprocesses=auto --dist=loadfile $(PYTEST)

faults: setup  ## fail every AWS call of a rollout and of a rollback in turn; ARGS="--quick" or "--step Hold" does less
	@PYTHONPATH=layers/lamina/python:. $(BIN)/python -W ignore -m tests.faults $(ARGS)

lint: setup  ## style, types, template, state machines: all of them, then the verdict
	@failed=; run() { echo "- $$*"; "$$@" || failed=1; }; \
	run $(BIN)/ruff check --quiet; \
	run $(BIN)/ruff format --check --quiet; \
	run $(BIN)/mypy $(PYTHON_CODE); \
	run $(BIN)/cfn-lint template.yaml; \
	run $(BIN)/sam validate --lint --template template.yaml --region eu-central-1; \
	run scripts/lint-states statemachine/*.asl.yaml; \
	test -z "$$failed"

format: setup  ## put imports and layout in order
	@$(BIN)/ruff check --fix
	@$(BIN)/ruff format

lock: setup  ## resolve all requirements again; UPGRADE=1 takes newer versions
	@scripts/lock $(if $(UPGRADE),--upgrade)

build: setup  ## sam build; needs the template's Python on the PATH
	@$(BIN)/sam build

clean:  ## remove what was built and installed here
	rm -rf .venv .cache .aws-sam .mypy_cache .pytest_cache .ruff_cache .hypothesis node_modules reports
