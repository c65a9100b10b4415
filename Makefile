# Two commands: `make ablation` (Table 1 on synthetic rooms, no download) and `make test`. `make lab` opens JupyterLab.
PYTHON ?= python3
BIN := .venv/bin
export PIP_DISABLE_PIP_VERSION_CHECK = 1
# What is compiled is kept, even where the shell says otherwise: else every kernel would compile torch again.
unexport PYTHONDONTWRITEBYTECODE

FUZZ_SEED ?= 0

.PHONY: ablation test test-fast fuzz gpu bench lab notebooks docs clean

# Installed once, and again when the requirements change.
REQUIREMENTS := settings.ini setup.py pyproject.toml

# A current pip resolves in half the time of the one that Python brings, and modules are compiled when they are first
# imported: of the 16,000 that come along, few ever are. Together they halve the time of the installation.
$(BIN)/python:
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --upgrade pip

.venv/installed: $(REQUIREMENTS) | $(BIN)/python
	$(BIN)/pip install --quiet --no-compile --editable .
	touch $@

.venv/installed-dev: $(REQUIREMENTS) | $(BIN)/python
	$(BIN)/pip install --quiet --no-compile --editable '.[dev]'
	touch .venv/installed $@

ablation: .venv/installed
	$(BIN)/advdepth ablate table1 --scale quick --seeds 3 --jobs 2

test: .venv/installed-dev
	$(BIN)/python -m pytest

# What takes a few seconds at most, in under two minutes: for a look between edits.
test-fast: .venv/installed-dev
	$(BIN)/python -m pytest -m fast

# A thousand wrong inputs over every command: `make fuzz FUZZ_SEED=7`.
fuzz: .venv/installed-dev
	$(BIN)/python tests/fuzz.py --count 1000 --seed $(FUZZ_SEED)

# What only a GPU can tell: steps of every row, speed and memory, loader, rendering, a short ablation.
gpu: .venv/installed
	$(BIN)/python benchmarks/gpu.py -o benchmarks/

# CPU seconds of what people wait for, each beside an alternative: a CSV with the processor in its name.
bench: .venv/installed
	$(BIN)/python benchmarks/bench.py -o benchmarks/

lab: .venv/installed-dev
	$(BIN)/python tools/notebooks.py text
	$(BIN)/jupyter lab --notebook-dir . --LabApp.default_url=/lab/tree/nbs/index.ipynb

# After editing nbs_py/*.py or a notebook: bring text, notebooks, modules and README.md into step.
notebooks: .venv/installed-dev
	$(BIN)/python tools/notebooks.py build

# Guides, notebooks with their pictures, reports and API as pages that need no network: build/docs/html/index.html. The
# first time executes a hundred notebooks, in half an hour on two cores; later only those whose code has changed.
docs: .venv/installed-dev
	$(BIN)/python docs/make.py

clean:
	rm -rf build dist *.egg-info .pytest_cache .ruff_cache
