# Two commands on a fresh machine with Python >= 3.11: `make demo` and `make test`.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: help setup demo test lint format results bench clean

help:
	@echo "make demo     set up, train three auto-encoders on digits, write demo/report.html"
	@echo "make test     set up, run everything that continuous integration runs"
	@echo "make setup    only set up the virtual environment $(VENV)"
	@echo "make lint     formatting, lint and types"
	@echo "make format   format the code"
	@echo "make results  train and measure what results/ reports on digits and MNIST (a day; MNIST is"
	@echo "              looked for in \$$FISHERAE_DATA/mnist and data/mnist, then on the hub)"
	@echo "make bench    what it costs, against floors and peers (minutes), to results/"
	@echo "make clean    remove the virtual environment, the demo and caches"

setup: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "fisherae needs Python >= 3.11; try: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

demo: setup
	$(BIN)/fisherae demo

lint: setup
	$(BIN)/ruff format --check src tests results benchmarks examples
	$(BIN)/ruff check src tests results benchmarks examples
	$(BIN)/mypy

format: setup
	$(BIN)/ruff format src tests results benchmarks examples
	$(BIN)/ruff check --fix src tests results benchmarks examples

test: lint
	OMP_NUM_THREADS=1 $(BIN)/pytest --numprocesses auto --dist loadgroup

results: setup
	$(BIN)/fisherae reproduce mnist --budget cpu --out results
	$(BIN)/python results/masking.py runs/reproduce/cpu results/masking
	$(BIN)/python results/score_fraction.py runs/reproduce/cpu results/score_fraction/mnist
	$(BIN)/python results/pareto.py baselines mnist --runs runs/reproduce/cpu
	$(BIN)/python results/length.py runs/length results/length
	$(BIN)/python results/encoders.py runs/encoders results/encoders
	$(BIN)/python results/inference.py runs/inference results/inference
	$(BIN)/python results/inference.py runs/inference results/inference --data digits --network mlp --epochs 100
	$(BIN)/python results/corruptions.py mnist results/corruptions
	$(BIN)/python results/pareto.py baselines digits
	$(BIN)/python results/pareto.py variances digits
	$(BIN)/python results/score_fraction.py runs/pareto/cpu results/score_fraction/digits --data digits
	$(BIN)/python results/wild.py runs/pareto/cpu results/wild
	$(BIN)/python results/priors.py results/priors --runs runs/pareto/cpu
	$(BIN)/python results/posterior.py results/posterior
	$(BIN)/python results/posterior.py results/posterior --runs runs/pareto/cpu
	$(BIN)/python results/posterior.py results/posterior --runs runs/reproduce/cpu --data mnist
	$(BIN)/python results/blindness.py results/blindness
	$(BIN)/python results/corruptions.py digits results/corruptions

bench: setup
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[bench]'
	$(BIN)/python -m benchmarks --out results/benchmarks

clean:
	rm -rf $(VENV) demo .pytest_cache .mypy_cache .ruff_cache .hypothesis
