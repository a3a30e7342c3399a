# Every target sets up what it needs, once: scripts/setup runs again only if pyproject.toml, constraints.txt or Python changes.
# PYTHON=python3.12 make setup   takes that Python instead of the first that fits.

.DEFAULT_GOAL := help
.PHONY: help setup kafka demo test test-slow lint format constraints clean

BIN := .venv/bin
SOURCES := vidtopics producers consumers spark_jobs feature_repo benchmarks
READY := .venv/.ready-$(shell $(or $(PYTHON),$(BIN)/python) -V 2>/dev/null | tr -cd 0-9.)

# Two processes share the files of tests among them (tests/conftest.py); more need 6 GB each.
WORKERS ?= 2
PYTEST := $(BIN)/pytest -n $(WORKERS) --dist loadscope --no-loadscope-reorder

# These JVMs live for minutes on small data: without the second compiler a session with one write and one read costs 18 s of CPU, not 34.
export JDK_JAVA_OPTIONS ?= -XX:TieredStopAtLevel=1 -XX:ReservedCodeCacheSize=256m
# Threads of torch that spin while they wait take ten times as long where cores are shared.
export OMP_WAIT_POLICY ?= PASSIVE
export PYSPARK_PYTHON ?= $(CURDIR)/$(BIN)/python

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 14

setup: $(READY) ## virtual environment, Java, the Delta jar (the other targets do this themselves)

kafka: $(READY) ## Spark's Kafka connector, which a first session with it fetches otherwise
	scripts/setup kafka

demo: $(READY) ## the whole platform on a simulated short-video world
	$(BIN)/vidtopics demo

test: lint ## style, types, imports, and all tests but the slow ones
	$(PYTEST) --durations=15

test-slow: $(READY) ## the slow tests
	$(PYTEST) -m slow --durations=15

lint: $(READY) ## style, types, imports
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy --strict $(SOURCES)
	$(BIN)/lint-imports

format: $(READY) ## rewrites the code in the project's style
	$(BIN)/ruff check --fix-only
	$(BIN)/ruff format

constraints: $(READY) ## writes constraints.txt from the environment in use
	scripts/constraints

clean: ## removes the environment and all caches; tables (.vidtopics) stay
	rm -rf .venv build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache spark-warehouse

$(READY): pyproject.toml constraints.txt scripts/setup
	PYTHON="$(PYTHON)" scripts/setup
