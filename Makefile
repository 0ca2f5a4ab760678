# Everything that CI does, and what a newcomer needs. PYTHON chooses the interpreter (3.11 or newer).
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
ONE_THREAD := OMP_NUM_THREADS=1

.PHONY: setup demo test slow format lint types wheel check clean

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

# torch first and pinned: a looser requirement can pull gigabytes of CUDA packages.
$(VENV)/.runtime: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check torch==2.13.0
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e . -c constraints.txt
	touch $@

$(VENV)/.dev: $(VENV)/.runtime
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[dev]" -c constraints.txt
	touch $@

setup: $(VENV)/.dev

demo: $(VENV)/.runtime
	$(BIN)/expunge demo

test: $(VENV)/.dev
	$(ONE_THREAD) $(BIN)/python -m pytest -m "not slow" -n 2

slow: $(VENV)/.dev
	$(ONE_THREAD) $(BIN)/python -m pytest -m slow --timeout 1800 || [ $$? -eq 5 ]

format: $(VENV)/.dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lint: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(VENV)/.dev
	$(BIN)/mypy

# The wheel is installed beside the packages of the development environment and tried from outside the source tree.
wheel: $(VENV)/.dev
	rm -rf dist build/wheel
	$(BIN)/python -m build --wheel --outdir dist . > /dev/null
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --target build/wheel dist/expunge-*.whl
	cd build && PYTHONPATH=wheel ../$(BIN)/python -c "import expunge, pathlib; assert 'wheel' in expunge.__file__, expunge.__file__"
	cd build && PYTHONPATH=wheel ../$(BIN)/python -m expunge --version
	cd build && PYTHONPATH=wheel ../$(BIN)/python -m expunge list methods --json

check: lint types test wheel

clean:
	rm -rf $(VENV) dist build
