# PYTHON is what the virtual environment is made with, ARGS is handed on to the tool that runs.
PYTHON ?= python3
VENV   ?= .venv
GROUP  ?= dev
ARGS   ?=

BIN     := $(VENV)/bin
RUNTIME := $(VENV)/.runtime-installed
GROUPED := $(VENV)/.$(GROUP)-installed
# Tests wait more than they compute, so there are more workers than processors.
WORKERS ?= 4
REPORT  ?= docs/chaos.md
SMOKE   := tests/stories tests/fluid/workers tests/fluid/cli/test_running.py tests/telemetry/test_metrics.py \
	$(patsubst %,tests/fluid/scheduler/test_%.py,consumer events offload schedules codec task)
DOCS    := $(wildcard tests/docs tests/examples)

.DEFAULT_GOAL := help
.PHONY: help install run test servers others smoke test-all chaos million outage first-run latency bench lists bench-check \
	hostile conventions check format dashboards alerts-live build clean

help: ## Say what there is to make
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: $(GROUPED) ## Install what a developer needs into .venv

run: $(RUNTIME) ## Install what it takes and start the example service
	@$(BIN)/python -m examples.census $(ARGS)

test: $(GROUPED) servers ## Run the tests; ARGS="-k name" picks some
	$(BIN)/pytest -n $(WORKERS) $(ARGS)

servers: ## Install the real servers that the tests start, where that may be done
	@scripts/servers

others: ## Install into an environment for each other Python that is there, for `make smoke`
	@for python in $$(PYTHON=$(PYTHON) scripts/pythons); do \
		$(MAKE) install PYTHON=$$python VENV=.venv-$${python##*/python} GROUP=test || exit; \
	done

smoke: servers ## Run the stories and a few of each kind, on Redis, under every other Python that is installed
	@for python in $$(PYTHON=$(PYTHON) scripts/pythons); do \
		$(MAKE) test PYTHON=$$python VENV=.venv-$${python##*/python} GROUP=test \
		ARGS='-m "not slow" -k "not valkey" $(SMOKE) $(ARGS)' || exit; \
	done

test-all: test ## Run all tests under every Python that is installed
	@for python in $$(PYTHON=$(PYTHON) scripts/pythons); do \
		$(MAKE) test PYTHON=$$python VENV=.venv-$${python##*/python} GROUP=test || exit; \
	done

chaos: $(GROUPED) servers ## Break a fleet on purpose, report in docs/chaos.md; SEED="1 2 3" MINUTES=2 RUNS=20000
	$(BIN)/python -m tests.chaos --seed $(or $(SEED),1) --minutes $(or $(MINUTES),2) $(RUNS:%=--runs %) \
		--report $(REPORT) $(ARGS)

million: $(GROUPED) servers ## Put a million runs through a queue, and see that it leaves nothing; RUNS=1000000
	FLUID_TEST_RUNS=$(or $(RUNS),1000000) $(BIN)/pytest tests/chaos/test_million.py $(ARGS)

outage: $(GROUPED) servers ## Take the broker away for five minutes, and see that nothing restarts; AWAY=300
	FLUID_TEST_OUTAGE=$(or $(AWAY),300) $(BIN)/pytest -rP tests/telemetry/test_probes.py -k an_outage $(ARGS)

first-run: ## Do what a new user does, from nothing, and look at what is served
	@scripts/first-run

latency: $(GROUPED) servers ## Measure how soon a queued run starts in an idle consumer
	$(BIN)/python -m tests.bench.latency

bench: $(GROUPED) servers ## Measure beside the peers, tables in docs/performance.md; ARGS="--rounds 1 --peers saq"
	$(BIN)/python -m tests.bench --report docs/performance.md $(ARGS)

lists: $(GROUPED) servers ## Measure what it costs to list 100,000 runs and to decide about them, table in docs/performance.md
	$(BIN)/python -m tests.bench.lists --report docs/performance.md $(ARGS)

bench-check: $(GROUPED) servers ## See that a run costs no more calls, commands and round trips than its budget
	$(BIN)/python -m tests.bench.check

hostile: $(GROUPED) servers ## Measure what exporters and handlers in trouble cost others, tables in docs/performance.md
	$(BIN)/python -m tests.bench.hostile --report docs/performance.md $(ARGS)

conventions: $(GROUPED) ## Hold spans against the published conventions; MODEL=path/to/semantic-conventions/model
	FLUID_TEST_CONVENTIONS=$(abspath $(MODEL)) $(BIN)/pytest tests/telemetry/conventions tests/telemetry/test_traces.py $(ARGS)

check: $(GROUPED) ## Read the code: format, lint, types, house rules, documented examples
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/pytest -n $(WORKERS) tests/house $(DOCS)

format: $(GROUPED) ## Format the code and mend what can be mended
	$(BIN)/ruff check --fix-only
	$(BIN)/ruff format

dashboards: $(GROUPED) ## Write boards and rules anew; thresholds are in dashboards/thresholds.toml
	$(BIN)/python -m dashboards

alerts-live: $(GROUPED) servers ## Break things, and see which alerts come and go; 45 minutes, ARGS="--scale 0.02" for one
	$(BIN)/python -m tests.live --report docs/alerts-live.md $(ARGS)

build: $(GROUPED) ## Build the wheel and the source distribution into dist/
	rm -rf dist
	$(BIN)/python -m build

clean: ## Remove everything that was made here
	rm -rf .venv .venv-* .bench build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find $(wildcard fluid telemetry dashboards tests examples) -name __pycache__ -prune -exec rm -rf {} +

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(RUNTIME): pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable '.[embedded,cpu]'
	@touch $@

# The pip that Python brings may be older than dependency groups.
$(GROUPED): pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --editable . --group $(GROUP)
	@touch $@ $(RUNTIME)
