# Everything a person or a machine does with Flow. `make up` and `make test` need Python 3.11+, make and git, nothing else.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
UV := $(BIN)/uv
UV_VERSION := 0.13.8
STAMP := $(VENV)/.installed
NODE_STAMPS := tests/node/node_modules/.installed examples/node/node_modules/.installed
PEERS := benchmarks/peers/node_modules/.installed
SOURCES := actors cluster realtime serve_apps storage tests benchmarks examples
ARGS ?=
SERVERS := storage or cluster or model

# Flow is some twenty processes: without bytecode those that are no copies compile all they import, and a start takes twice
# as long.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help up down test check bench bench-100k bench-recs chaos chaos-mutations fuzz lint format lock install node unit-sockets unit-rest unit-learning storage-tests tensorflow-tests

help: ## Show this list
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 18

up: $(STAMP) ## Start Flow here and show what it does; Ctrl-C stops it (ARGS="--port 9000")
	@$(BIN)/flow up $(ARGS)

down: $(STAMP) ## Stop the Flow of this directory
	@$(BIN)/flow down $(ARGS)

test: install node ## Everything: what check does, and the tests on real MongoDB, Redis, Ray and Serve (ARGS="tests/link -x": those)
ifeq ($(strip $(ARGS)),)
	@$(MAKE) --no-print-directory -j2 --output-sync=target lint storage-tests unit-sockets unit-rest unit-learning tensorflow-tests
	$(BIN)/pytest -m cluster
else
	@$(MAKE) --no-print-directory lint
	$(BIN)/pytest $(ARGS)
endif

check: $(STAMP) ## Format, types, layers and the tests that need no server; one to four minutes
	@$(MAKE) --no-print-directory -j2 --output-sync=target lint unit-sockets unit-rest unit-learning

# Parts for two cores, two at a time: lint first, for it fails soonest, then the long ones. A whole Flow wants both cores: the
# tests that start one come after them, one by one.
SOCKET_TESTS := tests/engine tests/fuzz tests/link tests/realtime
LEARNING_TESTS := tests/serve_apps tests/imports
PART := $(BIN)/pytest -q -p no:cacheprovider
UNIT := $(PART) -m "not ($(SERVERS))"

unit-sockets: $(STAMP)
	@$(UNIT) $(SOCKET_TESTS) $(ARGS)

unit-rest: $(STAMP)
	@$(UNIT) $(SOCKET_TESTS:%=--ignore=%) $(LEARNING_TESTS:%=--ignore=%) $(ARGS)

unit-learning: $(STAMP)
	@$(UNIT) $(LEARNING_TESTS) $(ARGS)

storage-tests: $(STAMP)
	@$(PART) -m "storage and not cluster and not model"

tensorflow-tests: $(STAMP)
	@$(PART) -m "model and not cluster"

lint: $(STAMP) ## Format, style, types and layers
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

format: $(STAMP) ## Put the code into its form
	$(BIN)/ruff format $(SOURCES)
	$(BIN)/ruff check --fix $(SOURCES)

bench: install $(PEERS) ## Measure Flow beside its peers (ARGS="fan_out --seconds 3 --repeats 1")
	$(BIN)/python -m benchmarks $(ARGS)

bench-100k: install ## 100,000 sockets on this machine; some ten minutes and half its memory
	$(BIN)/python -m benchmarks hundred_thousand $(ARGS)

INPUTS ?= 1000000
SEED ?= 7
SECONDS ?= 60
MUTATION ?=

fuzz: $(STAMP) ## Throw INPUTS=1000000 inputs at the socket engine, led by coverage; SEED=7 repeats a run
	@$(BIN)/python -m tests.fuzz.run --inputs $(INPUTS) --seed $(SEED) $(ARGS)

bench-recs: install ## Measure recommendations: 100,000 events and people, two replicas
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.recommendation_engine
	$(BIN)/python -m benchmarks.recommendations $(ARGS)

chaos: install node ## Seeded faults on real processes, every history checked (SECONDS=120 SEED=7 MUTATION=)
	@$(BIN)/python -m tests.chaos --seconds $(SECONDS) --seed $(SEED) --mutation "$(MUTATION)" $(ARGS)

chaos-mutations: install node ## Servers that are broken on purpose: chaos must find out each (SECONDS=60 SEED=7)
	@$(BIN)/python -m tests.chaos.mutants --seconds $(SECONDS) --seed $(SEED) $(ARGS)

lock: $(STAMP) ## Resolve the dependencies anew into requirements.lock
	$(UV) pip compile pyproject.toml --all-extras --universal --generate-hashes \
		-o requirements.lock --custom-compile-command "make lock"

install: $(STAMP)

$(VENV)/bin/uv:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)

$(STAMP): $(VENV)/bin/uv requirements.lock pyproject.toml
	@echo "Installing the locked dependencies into $(VENV)."
	VIRTUAL_ENV=$(CURDIR)/$(VENV) $(UV) pip sync --compile-bytecode --require-hashes requirements.lock
	VIRTUAL_ENV=$(CURDIR)/$(VENV) $(UV) pip install --quiet --no-deps --no-build-isolation -e .
	@touch $@

node: $(NODE_STAMPS)

%/node_modules/.installed: %/package-lock.json
	@if command -v npm >/dev/null 2>&1; then \
		npm ci --prefix $* --no-audit --no-fund --silent && touch $@; \
	else \
		echo "npm is not there: tests with the JavaScript client are skipped." >&2; \
	fi
