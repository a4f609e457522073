# Every command of the README and of continuous integration; `make` alone lists them.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed
STORE := quickstart/store
JOBS ?= 2
# Stops and kills workers at the second: undisturbed, and in a process that has run nothing else.
ALONE := tests/orchestrator/test_ray_backend.py
SWEEPS := $(filter-out protocols,$(patsubst sweeps/%.py,%,$(wildcard sweeps/[!_]*.py)))

.DEFAULT_GOAL := help
.PHONY: help install quickstart small test cluster-test lint bench clean

help: ## list these commands
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 20

install: $(STAMP) ## make .venv and install the pinned environment (again only when it changed)

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "warmgrid needs Python 3.11 or newer, and '$(PYTHON)' is not: make install PYTHON=python3.11" >&2; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "Installing PyTorch, Ray and the rest into .venv: some minutes and about 6 GB the first time."
	@if uv --version >/dev/null 2>&1; then \
	  uv pip install --compile-bytecode --python $(BIN)/python -c constraints.txt -e '.[test,png]'; \
	else \
	  $(BIN)/python -m pip install -c constraints.txt -e '.[test,png]'; \
	fi
	@touch $(STAMP)

quickstart: install ## train the quickstart's grid (under 90 s on 2 cores) and draw its scatter
	$(BIN)/warmgrid launch quickstart --store $(STORE)
	$(BIN)/warmgrid figure quickstart --store $(STORE) --output quickstart/scatter.html
	@echo
	@echo "Open quickstart/scatter.html in a browser. Ask the results in SQL:"
	@echo "  $(BIN)/warmgrid query --store $(STORE) \\"
	@echo "    \"SELECT init, avg(test_accuracy) FROM results WHERE sweep='quickstart' GROUP BY init\""

small: install ## run the small version of every sweep, draw all figures, judge all claims
	@for sweep in $(SWEEPS); do \
	  $(BIN)/warmgrid launch $$sweep --small --store small/store && \
	  $(BIN)/warmgrid figure $$sweep --small --store small/store --output small/$$sweep.html || exit; \
	done
	$(BIN)/warmgrid claims --store small/store
	$(BIN)/warmgrid report --store small/store --output small/report.html

test: install ## run the tests, warnings as errors, two files at a time (JOBS=1: one)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(ALONE)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses $(JOBS) --dist loadfile --no-loadscope-reorder --ignore $(ALONE)

cluster-test: install ## tests with Ray clusters of several machines (half an hour; some need root)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/cluster --cluster

lint: install ## ruff and mypy, as strict as pyproject.toml says
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

bench: install ## measure trainer, grids and overhead beside baselines (under 15 minutes on 2 cores)
	$(BIN)/python -m benchmarks.cpu --output docs/benchmarks

clean: ## remove the environment and all caches; stores with results are kept
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
