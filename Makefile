PYTHON ?= python3
BIN := .venv/bin
BANKING77 ?= ../shared/data/banking77/train.csv

.PHONY: setup demo demo-stop test faults check e2e bench-data lock clean

setup: ## make .venv and .venv-vllm; quick when nothing changed
	@$(PYTHON) requirements/install.py

demo: setup ## the whole loop on sample tickets, in a real Airflow
	$(BIN)/retune demo

demo-stop: ## end all that the demo started
	$(BIN)/retune demo --stop

test: setup ## unit, contract and DAG tests
	$(BIN)/pytest -n 2 tests/unit
	$(BIN)/pytest $(wildcard tests/contract tests/dags)

faults: setup ## real processes, really killed
	$(BIN)/pytest tests/faults

check: setup ## style, types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

e2e: setup ## the tune DAG on real data: make e2e BANKING77=train.csv
	$(BIN)/retune e2e $(BANKING77)

bench-data: setup ## speed, memory and sureness of the data stage
	$(BIN)/python -m benchmarks.data

lock: setup ## resolve the lock files anew
	requirements/lock.sh

clean: ## remove the environments and all working files
	rm -rf .venv .venv-vllm .retune .mypy_cache .ruff_cache .pytest_cache .hypothesis
