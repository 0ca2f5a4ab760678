# Everything that CI does, and what a newcomer needs: `make` lists it. PYTHON names the interpreter (3.11 or newer).
PYTHON ?= python3
VENV ?= .venv
WORKERS ?= 2
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest
WHEEL := .make/wheel

.DEFAULT_GOAL := help
.PHONY: help setup demo test slow format lint types wheel check clean

# Build tools run in environments of their own, which take their versions from these; the second is for pip 25.3 and later.
export PIP_CONSTRAINT := constraints.txt
export PIP_BUILD_CONSTRAINT := constraints.txt
export PIP_NO_INPUT := 1
# Only what is installed counts, not what lies on the caller's path.
unexport PYTHONPATH
# Compiled files are kept, or each of the many processes that the tests start would compile the package again.
unexport PYTHONDONTWRITEBYTECODE

help: ## this list
	@grep -E '^[a-z]+:.*## ' Makefile | sed -E 's/:.*## /\t/' | expand -t 10

# A link to an interpreter that is gone counts as missing; a half-made environment is not left behind.
$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Expunge needs Python 3.11 or newer; name it: make PYTHON=python3.12")'
	$(PYTHON) -m venv --clear $(VENV) || { rm -rf $(VENV); exit 1; }

# torch comes first, by itself and at the pinned version: a looser requirement can pull gigabytes of CUDA packages.
$(VENV)/.runtime: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) install --quiet torch==2.13.0 -c constraints.txt
	$(PIP) install --quiet -e . -c constraints.txt
	@touch $@

$(VENV)/.dev: $(VENV)/.runtime
	$(PIP) install --quiet -e ".[dev]" -c constraints.txt
	@touch $@

setup: $(VENV)/.dev ## install everything into .venv

demo: $(VENV)/.runtime ## teach a small model invented persons, make it forget some, and show whether it did
	$(BIN)/expunge demo

test: $(VENV)/.dev ## the fast tests
	$(PYTEST) -m "not slow" -n $(WORKERS) --dist loadfile

# Tests of an extra run where it is installed, and EXPUNGE_EXTRAS says that here none may be left out.
$(VENV)/.extras: $(VENV)/.dev
	$(PIP) install --quiet -e ".[lm-eval,parquet]" -c constraints.txt
	@touch $@

# pytest leaves with 5 where it finds no test; that is no failure here, and is said in words.
slow: $(VENV)/.extras ## the tests that take minutes, those of the extras too
	@found=0; $(PYTEST) -m slow --collect-only -qq > /dev/null || found=$$?; \
	if [ $$found -eq 5 ]; then echo "There are no slow tests."; else EXPUNGE_EXTRAS=1 $(PYTEST) -m slow -n $(WORKERS) --dist loadfile --timeout 1800; fi

format: $(VENV)/.dev ## rewrite the files in the house style
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lint: $(VENV)/.dev ## check format and style
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(VENV)/.dev ## mypy --strict
	$(BIN)/mypy --strict

# The wheel is tried in an environment of its own, which borrows the installed libraries but not the source tree: an editable
# install is a .pth file, and those are not read in a borrowed folder.
wheel: $(VENV)/.dev ## build the wheel and try it
	rm -rf dist $(WHEEL)
	$(BIN)/python -m build --wheel --outdir dist . > /dev/null
	$(BIN)/python -m venv --without-pip $(WHEEL)
	$(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))' \
		> "$$($(WHEEL)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/borrowed.pth"
	$(PIP) --python $(WHEEL)/bin/python install --quiet --no-deps --ignore-installed dist/expunge-*.whl
	cd $(WHEEL) && bin/python -c 'import expunge, sys; sys.exit(not expunge.__file__.startswith(sys.prefix) and expunge.__file__)'
	cd $(WHEEL) && bin/expunge --version
	cd $(WHEEL) && bin/expunge list methods --json > /dev/null
	cd $(WHEEL) && bin/python -c 'from expunge.benchmarks.lm_eval import task_files; assert len(task_files()) > 30'
	cd $(WHEEL) && bin/python -m expunge doctor > /dev/null

check: lint types test wheel ## all of the above but the slow tests; what must pass before a change is handed in

clean: ## remove what make made
	rm -rf $(VENV) .make dist build
