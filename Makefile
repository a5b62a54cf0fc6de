# Everything a developer does, by name. `make` alone lists it.

PYTHON ?= $(shell for each in python3.11 python3.12 python3; do \
	$$each -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 13))' 2>/dev/null \
	&& echo $$each && break; done)
EXTRAS := worker,torch,serve,embedded,onnx,dev
BROKER ?= embedded
DATA ?=
ARGS ?=
PIP_ARGS ?=
BIN := .venv/bin

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-slow lint bench kafka clean

help:  ## say what there is
	@grep -hE '^[a-z-]+:.*  ## ' $(firstword $(MAKEFILE_LIST)) | sed -E 's/:.*  ## /\t/' | expand -t 14
	@echo
	@echo 'ARGS="…" goes to the command that a target runs; setup also takes PYTHON=… and PIP_ARGS="…".'

setup: .venv/.stamp  ## make .venv with everything in it; done again only when versions changed

.venv/.stamp: pyproject.toml constraints.txt
	@$(if $(PYTHON),$(PYTHON),false) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 13))' || { \
	echo 'setup: Python 3.11 or 3.12 is needed, found: "$(PYTHON)". Install one, or name it: make setup PYTHON=/path/to/python3.11' >&2; \
	exit 1; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear .venv
	$(BIN)/python -m pip install $(PIP_ARGS) -c constraints.txt -e '.[$(EXTRAS)]'
	@$(BIN)/python -m compileall -q schemas streams learners
	@$(BIN)/python -c 'import rheostat.streams.intake_join, rheostat.streams.learn.stage'  # compiles their loops
	@touch $@

demo: setup  ## the whole loop on this machine; BROKER=embedded (nothing to install) or kafka; DATA=folder
	$(BIN)/rheostat demo --broker $(BROKER) $(if $(DATA),--data $(DATA)) $(ARGS)

test: setup  ## all tests but the long ones
	$(BIN)/pytest $(ARGS)

test-slow: setup  ## the long ones: statistics, many histories, alert rules
	$(BIN)/pytest -m slow $(ARGS)

lint: setup  ## ruff, format and mypy --strict
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: setup  ## measure intake and freshness on this machine, on a real Kafka; prints JSON
	$(BIN)/rheostat bench intake --json $(ARGS)
	$(BIN)/rheostat bench freshness --json $(ARGS)

kafka: setup  ## a real single-node Kafka in the foreground, until Ctrl-C (needs Java 17 and Maven)
	$(BIN)/python -m rheostat.streams.local.kafka $(ARGS)

clean:  ## remove caches and build outputs; .venv stays
	rm -rf build dist deploy/kafka/target tests/java/target .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find schemas streams learners tests -name __pycache__ -type d -prune -exec rm -rf {} +
