# Everything runs in .venv, which the first target that needs it creates. Needs Python >= 3.11 and make.
PYTHON ?= python3
UV_VERSION := 0.13.8
VENV := .venv
BIN := $(VENV)/bin
UV := $(BIN)/uv
T ?=
PYTEST_ARGS ?=

.DEFAULT_GOAL := help

.PHONY: help
help: ## Print the targets
	@awk 'BEGIN {FS = ":.*## "} /^[a-z][a-z0-9-]*:.*## / {printf "  \033[36m%-18s\033[0m %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(UV):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; set PYTHON=/path/to/python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "uv==$(UV_VERSION)"

$(VENV)/.synced: $(UV) uv.lock pyproject.toml $(wildcard libs/*/pyproject.toml services/*/pyproject.toml proto/pyproject.toml)
	$(UV) sync --quiet --frozen --all-packages --inexact
	@touch $@

.PHONY: setup
setup: $(VENV)/.synced ## Create .venv with everything in it

.PHONY: demo
demo: setup ## Boot the embedded stack, train real models, show the result (ARGS=--keep leaves it up)
	$(BIN)/python examples/demo.py $(ARGS)

.PHONY: up
up: setup ## Start the embedded stack in the background (data in ~/.local/share/runstream)
	$(BIN)/runstream up --detach

.PHONY: down
down: setup ## Stop the embedded stack
	$(BIN)/runstream down

.PHONY: test
test: setup ## All tests; T=path narrows, PYTEST_ARGS passes options
	$(BIN)/pytest $(PYTEST_ARGS) $(T)

.PHONY: test-unit
test-unit: setup ## Tests beside the packages
	$(BIN)/pytest $(PYTEST_ARGS) proto libs services benchmarks

.PHONY: test-integration
test-integration: setup ## Tests against real Kafka, PostgreSQL and S3
	$(BIN)/pytest $(PYTEST_ARGS) tests

.PHONY: lint
lint: setup ## Style, types, import rules, protos, generated code and documents
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy libs/common/runstream_common libs/client/runstream services/artifact/runstream_artifact services/gateway/runstream_gateway services/ingest/runstream_ingest services/metadata/runstream_metadata services/registry/runstream_registry proto/runstream_contract
	$(BIN)/lint-imports
	cd proto && ../$(BIN)/buf lint
	$(BIN)/python proto/generate.py --check
	$(BIN)/python docs/check.py

.PHONY: types
types: setup ## Types alone
	$(BIN)/mypy libs/common/runstream_common libs/client/runstream services/artifact/runstream_artifact services/gateway/runstream_gateway services/ingest/runstream_ingest services/metadata/runstream_metadata services/registry/runstream_registry proto/runstream_contract

.PHONY: format
format: setup ## Format code and protos
	$(BIN)/ruff check --fix-only --quiet .
	$(BIN)/ruff format .
	cd proto && ../$(BIN)/buf format -w

.PHONY: proto
proto: setup ## Generate Python from proto/
	$(BIN)/python proto/generate.py

.PHONY: proto-breaking
proto-breaking: setup ## Compare proto/ with AGAINST (default: the last commit) for breaking changes
	cd proto && PATH="$(CURDIR)/$(BIN):$$PATH" ../$(BIN)/buf breaking --against "../.git#$(or $(AGAINST),ref=HEAD),subdir=proto"

.PHONY: docs-check
docs-check: setup ## Check links and generated pages in docs/
	$(BIN)/python docs/check.py

.PHONY: bench
bench: setup ## Measure every claim against MLflow; writes benchmarks/results/latest.json
	$(BIN)/python -m benchmarks $(ARGS)

.PHONY: kafka-up kafka-down
kafka-up: setup ## Start real Apache Kafka as a plain process (Java 17, Maven)
	$(BIN)/python deploy/local/kafka/kafka.py up
kafka-down: setup ## Stop it
	$(BIN)/python deploy/local/kafka/kafka.py down

.PHONY: s3-up s3-down
s3-up: setup ## Start a real S3 server as a plain process (Go)
	$(BIN)/python deploy/local/s3/s3.py up
s3-down: setup ## Stop it
	$(BIN)/python deploy/local/s3/s3.py down

.PHONY: clean
clean: ## Remove what the other targets made, data of kafka-up and s3-up included; `runstream up` keeps its own
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis .local dist build
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
