# Every target does its own setting up, in .venv, and only what has changed. Needed: python3 (3.10 or newer), a C++17
# compiler, make. For torch without CUDA point pip at PyTorch's CPU wheels, e.g. by PIP_EXTRA_INDEX_URL.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := PIP_DISABLE_PIP_VERSION_CHECK=1 $(BIN)/pip install --quiet --constraint constraints.txt
EDITABLE := --no-build-isolation --config-settings=cmake.define.GRUS_WERROR=ON --editable
# aeon asks for a numba older than NumPy 2.4 needs; with a newer one it runs, as the tests show
AEON = $(PIP) numba Deprecated scikit-learn pandas && $(PIP) --no-deps aeon
PYTEST := $(BIN)/python -m pytest --quiet --durations=25
TOGETHER := --numprocesses=auto --maxprocesses=8 --dist=worksteal # tests that measure stand in a run of their own
NATIVE := pyproject.toml CMakeLists.txt $(wildcard csrc/* csrc/*/*)
# What asks for the system is checked as on the others, without what it imports: that takes a minute each.
OTHER_SYSTEM = $(BIN)/mypy --follow-imports=skip --cache-dir=/dev/null \
	$$(grep -rlE --include='*.py' 'sys\.platform|import (fcntl|signal|resource)' src/grus) --platform
CPP := $(wildcard csrc/*.h csrc/*.inl csrc/*.cpp csrc/*/*.inl csrc/*/*.cpp)

.DELETE_ON_ERROR:
.PHONY: help demo examples test test-slow sanitize accuracy bench lint format wheel clean

help:
	@echo "make demo      train on the M3 competition's monthly series, forecast, load the model without PyTorch"
	@echo "make examples  a small real table for every task in samples/, and the commands to try on them"
	@echo "make test      every check: style, types, walls between modules, kernels' symbols, tests"
	@echo "make test-slow the checks that take long"
	@echo "make sanitize  the kernels' tests with sanitizers of addresses and undefined behaviour (ten minutes the first time)"
	@echo "make accuracy  forecasts, classifiers, a language model, beside other methods: docs/accuracy.md (three hours)"
	@echo "make bench     every shape beside every peer: benchmarks/results/cpu.json, docs/performance.md"
	@echo "make lint      the checks of make test without the tests"
	@echo "make format    bring Python and C++ into the one style"
	@echo "make wheel     source distribution and wheel, checked where there is no compiler"
	@echo "make clean     remove what was built, and the environment"

demo: $(VENV)/.editable
	$(BIN)/python examples/m3_monthly.py

examples: $(VENV)/.editable
	$(BIN)/python examples/samples.py

accuracy: $(VENV)/.accuracy
	$(BIN)/python benchmarks/m3_all.py
	$(BIN)/python benchmarks/uses.py

bench: $(VENV)/.editable $(VENV)/.peers
	$(BIN)/python -m benchmarks

test: lint
	$(PYTEST) $(TOGETHER) -m "not slow and not alone"
	$(PYTEST) -m "alone and not slow"
	@echo "make test: all checks passed"

test-slow: $(VENV)/.dev $(VENV)/.editable
	$(PYTEST) $(TOGETHER) -m "slow and not alone"
	@echo "make test-slow: all slow checks passed"

sanitize: $(VENV)/.dev
	PYTHON=$(BIN)/python CMAKE=$(BIN)/cmake NINJA=$(BIN)/ninja .ci/sanitize

lint: $(VENV)/.dev $(VENV)/.editable
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/clang-format --dry-run --Werror $(CPP)
	$(BIN)/python tests/emulated.py
	.ci/isa-symbols
	$(BIN)/lint-imports --no-logo
	$(BIN)/mypy
	$(OTHER_SYSTEM) darwin
	$(OTHER_SYSTEM) win32

format: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/clang-format -i $(CPP)

wheel: $(VENV)/.dev
	$(BIN)/python .ci/wheel.py

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find src tests benchmarks examples -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamps, from an empty folder to the whole environment: the tools that build, Grus with what the demo needs, the
# tools that check. A change in csrc/ rebuilds, a change in pyproject.toml or constraints.txt installs again.
$(VENV)/.tools: constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "Grus needs Python 3.10 or newer: make PYTHON=...")'
	@echo "setting up $(VENV); the first time takes a few minutes"
	@test -x $(BIN)/pip || $(PYTHON) -m venv $(VENV)
	$(PIP) scikit-build-core nanobind cmake ninja
	@touch $@

$(VENV)/.editable: $(VENV)/.tools $(NATIVE)
	$(PIP) $(EDITABLE) '.[train,plot]'
	@touch $@

$(VENV)/.dev: $(VENV)/.tools pyproject.toml | $(VENV)/.editable
	$(PIP) $(EDITABLE) '.[dev]'
	$(AEON)
	@touch $@

$(VENV)/.accuracy: $(VENV)/.tools pyproject.toml | $(VENV)/.editable
	$(PIP) $(EDITABLE) '.[accuracy]'
	$(AEON)
	@touch $@

# A peer that cannot be installed here is reported as such and does not stop the others.
$(VENV)/.peers: $(VENV)/.tools benchmarks/requirements.txt | $(VENV)/.editable
	@while read -r peer; do $(PIP) "$$peer" || echo "without $$peer"; done < benchmarks/requirements.txt
	@touch $@
