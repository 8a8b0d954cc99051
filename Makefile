# Two commands set everything up and run it: `make results/table4.csv` and `make test`.
# Other results by their path (`make results/table4.md`), other options by SNAKEMAKE_ARGS:
#   make results/table4.csv CONFIG=paper
# A CONFIG is a file below config/, or several, the last one on top: CONFIG="mnist_cpu studies/known_breaks".
PYTHON ?= python3
CORES ?= all
SNAKEMAKE_ARGS ?=
CONFIG ?=
CONFIGFILES := $(if $(strip $(CONFIG)),--configfile $(patsubst %,config/%.yaml,$(CONFIG:%.yaml=%)))
BIN := .venv/bin
READY := .venv/.ready

# A file's tests stay together; those that take longest are first (tests/conftest.py). One process more than there are
# cores, at most 8, because the first file's tests wait for SLURM most of the time.
PROCESSES := $(shell $(PYTHON) -c 'import os; print(min(8, os.cpu_count() + 1))')
PYTEST = $(BIN)/python -m pytest -n $(PROCESSES) --dist loadfile --no-loadscope-reorder

.PHONY: help environment test test-fast lint collected format docs clean FORCE

help:
	@echo "make results/table4.csv   set up, then make the table (or any other file under results/)"
	@echo "make ... CONFIG=mnist_quick       with config/mnist_quick.yaml on top of the default config"
	@echo "make test                 set up, then run all checks and tests, several at a time"
	@echo "make test-fast            the checks, and the quick tests of the library alone"
	@echo "make environment          set up only: the environment in .venv"
	@echo "make lint | make format   check or mend the style"
	@echo "make docs                 make docs/config.md, the config key by key, and the site in build/site"
	@echo "make clean                remove results, logs and the site (not the environment, not downloads)"

environment: $(READY)

# Remade when a pin changes. The Python check comes first: its message beats a resolver's.
$(READY): requirements.txt constraints.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "$$($(PYTHON) --version) is too old: Python 3.11 or newer is needed (make PYTHON=python3.12 ...)"; exit 1; }
	@$(PYTHON) -c 'import shutil; free = shutil.disk_usage(".").free / 1e9; \
	  print(f"warning: {free:.1f} GB free here; the environment takes 6 GB on Linux, with the CUDA build of torch") if free < 7 else None'
	@echo "Installing into .venv: 2 to 3 minutes with a fast network, and 6 GB on Linux; nothing is said until it is done"
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt -c constraints.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps --editable .
	@printf '%s\n' '#!/bin/sh' '# Snakemake, with targets where people put them: src/purification/command_line.py.' \
	  'exec "$$(dirname "$$0")/python" -P -c "from purification.command_line import main; main()" "$$@"' > $(BIN)/snakemake
	@chmod +x $(BIN)/snakemake
	@touch $@

results/%: FORCE $(READY)
	PATH="$(CURDIR)/$(BIN):$$PATH" snakemake $@ --cores $(CORES) --resources gpu=1 $(CONFIGFILES) $(SNAKEMAKE_ARGS)

FORCE:

test: $(READY)
	@$(MAKE) --no-print-directory --jobs 2 lint collected
	PATH="$(CURDIR)/$(BIN):$$PATH" $(PYTEST)

test-fast: $(READY)
	@$(MAKE) --no-print-directory --jobs 2 lint collected
	PATH="$(CURDIR)/$(BIN):$$PATH" $(PYTEST) -m "not slow" tests/unit

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/snakefmt --check Snakefile workflow/rules
	$(BIN)/mypy
	$(BIN)/python docs/prose.py

# Each of the test processes collects all tests. Compiled once before, beside the style checks, they need half the
# time for it. An error in a test file ends here.
collected: $(READY)
	@found=$$(PYTHONDONTWRITEBYTECODE= PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m pytest --collect-only -qq 2>&1) || \
	  { echo "$$found"; exit 1; }

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/snakefmt Snakefile workflow/rules

# The key reference, from the schema, and the site of all documents.
docs: $(READY)
	$(BIN)/python docs/key_reference.py > docs/config.md
	$(BIN)/python docs/build_site.py

clean:
	rm -rf results logs .snakemake build/docs build/site
