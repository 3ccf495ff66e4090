# Every target sets up what it needs: a virtual environment with the locked dependencies, nothing else.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
SOURCES := attribution collector streams sinks api runtime

.DEFAULT_GOAL := help
.PHONY: help demo up test check format bench chaos chaos-long kills ga360 story lock clean

help: ## show these words
	@grep -E '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

demo: $(VENV)/.runtime ## simulated traffic with a known truth; ends with the channel report
	@$(BIN)/headwater demo --exit

up: $(VENV)/.runtime ## the whole system on this machine; Ctrl-C stops it
	@$(BIN)/headwater up

test: $(VENV)/.dev ## every test, on real servers
	@$(BIN)/python -m pytest -q -n 2 --dist loadfile --no-loadscope-reorder

check: $(VENV)/.dev ## format, lint, types, import rules, known vulnerabilities
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo
	@$(BIN)/python deploy/audit.py requirements.lock requirements-dev.lock

format: $(VENV)/.dev ## format the code
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

bench: $(VENV)/.dev ## speed, as ratios in one run
	@$(BIN)/python -m bench

chaos: $(VENV)/.dev ## faults of all kinds on three Kafka nodes, two collectors, three workers; then count
	@$(BIN)/python -m bench.storm

kills: $(VENV)/.dev ## kill -9 of every part of `headwater up` under load, then count
	@$(BIN)/python -m bench.kills

chaos-long: $(VENV)/.dev ## a million events and 200 faults on three Kafka nodes
	@$(BIN)/python -m bench.storm --long

story: $(VENV)/.dev ## from an ad click to closed revenue with what it cost, every figure checked to the cent
	@$(BIN)/python -m bench.closed_loop

ga360: $(VENV)/.dev ## one real day of the Google Merchandise Store against Google's own sessions
	@$(BIN)/python -m bench.ga360

lock: ## pin the dependencies again (needs uv)
	deploy/lock.sh

clean: ## remove the virtual environment and the state of `up`
	rm -rf $(VENV) .headwater

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed: make PYTHON=/path/to/python3.11 ..."; exit 2; }
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.runtime: requirements.lock pyproject.toml | $(VENV)/bin/python
	@echo "Installing the locked dependencies into $(VENV) ..."
	@$(PIP) install --require-hashes --no-deps -r requirements.lock
	@$(PIP) install --no-deps --editable .
	@touch $@
	@du -sh $(VENV) | awk '{print "Installed: " $$1 " on disk"}'

$(VENV)/.dev: requirements-dev.lock $(VENV)/.runtime
	@echo "Installing the development dependencies into $(VENV) ..."
	@$(PIP) install --require-hashes --no-deps -r requirements-dev.lock
	@touch $@
