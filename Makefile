PYTHON ?= python3
BIN := .venv/bin
BANKING77 ?= ../shared/data/banking77/train.csv
TRIALS ?= 10000

.PHONY: setup demo demo-stop test faults check e2e bench-data bench-backends bench-evaluation gpu-check lock clean

setup: ## make .venv and .venv-vllm; quick when nothing changed
	@$(PYTHON) requirements/install.py

demo: setup ## the whole loop on sample tickets, in a real Airflow
	$(BIN)/retune demo

demo-stop: ## end all that the demo started
	$(BIN)/retune demo --stop

test: setup ## unit, contract and DAG tests
	$(BIN)/pytest -n 2 tests/unit
	$(BIN)/pytest -n 2 --dist loadfile $(wildcard tests/contract tests/dags)

faults: setup ## real processes, really killed
	$(BIN)/pytest -n 2 --dist loadfile tests/faults
	$(BIN)/python -m benchmarks.exactly_once --trials $(TRIALS)

check: setup ## style, types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

e2e: setup ## the tune DAG on real data: make e2e BANKING77=train.csv
	$(BIN)/retune e2e $(BANKING77)
	$(BIN)/retune e2e --services $(wildcard $(BANKING77))

bench-data: setup ## speed, memory and sureness of the data stage
	$(BIN)/python -m benchmarks.data

bench-backends: setup ## waiting for jobs, and the trainer beside stock TRL
	$(BIN)/python -m benchmarks.backends

bench-evaluation: setup ## false promotions, coverage, planted cases, and the client beside its peers
	$(BIN)/python -m benchmarks.evaluation

gpu-check: ## the trainer beside stock TRL on a GPU; PYTHON has torch, transformers and peft
	PYTHONPATH=plugins $(PYTHON) -m benchmarks.gpu_check $(GPU_CHECK)

lock: setup ## resolve the lock files anew
	requirements/lock.sh

clean: ## remove the environments and all working files
	rm -rf .venv .venv-vllm .retune .mypy_cache .ruff_cache .pytest_cache .hypothesis
