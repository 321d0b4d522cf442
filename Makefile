# Two commands: `make demo` and `make test`. Each sets up what it needs in .venv first.
PYTHON ?= python3
VENV   := .venv
RUN    := $(VENV)/bin/python
DEMO   := demo
WORKERS ?= 2
LOWEST := tests/unit/nn tests/unit/data tests/unit/measure tests/unit/interop tests/unit/lit tests/unit/figures tests/config tests/train/test_command.py tests/cli/test_generate_command.py

.DEFAULT_GOAL := help
.PHONY: help setup demo test lint browser unit docs notebooks lowest clean

help:
	@echo "make demo   set up, then the whole chain on phantom data, offline: $(DEMO)/report.html (about ten minutes on two cores)"
	@echo "make test   set up, then all checks and tests"
	@echo "make setup  only set up: $(VENV) with lfvar and the tested versions"
	@echo "make notebooks   set up, then run all notebooks and keep their outputs"
	@echo "make lint   ruff and mypy"
	@echo "make docs   set up, then the documentation site: build/docs/index.html"
	@echo "make lowest the tests that touch other libraries, with the lowest versions (Python 3.10: make lowest PYTHON=python3.10)"
	@echo "make clean  remove what the others made"

setup: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
	  { echo "error: $(PYTHON) is too old; lfvar needs Python >= 3.10"; echo "  what to do: make PYTHON=python3.11"; exit 1; }
	@echo "== setting up $(VENV) (once; torch is large)"
	$(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@

demo: setup
	@echo "== checking this machine"
	$(RUN) -m lfvar.doctor
	@echo "== phantom data, tokenizer, transformer, generated lesions (offline)"
	$(RUN) -m lfvar.pipeline experiment=demo folder=$(DEMO) paths.runs=$(DEMO)/runs paths.prepared=$(DEMO)/prepared
	@cp "$$(ls -t $(DEMO)/tokenizer-*/pictures/latest.png | head -1)" $(DEMO)/reconstructions.png
	@cp "$$(ls -t $(DEMO)/generate-matrix-*/sheets/*.png | head -1)" $(DEMO)/matrix.png
	@echo "== done. Everything on one page: open $(DEMO)/report.html"
	@echo "   Pictures: $(DEMO)/matrix.png (every type on every skin), $(DEMO)/reconstructions.png, $(DEMO)/generate-*/sheets"

test: setup lint browser unit

lint: setup
	@echo "== ruff, mypy"
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy

# The page is tested in Chromium. Where none can be installed, those tests are skipped and say so.
browser:
	@command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null || { \
	  if command -v apt-get >/dev/null && [ "$$(id -u)" = 0 ]; then \
	    echo "== installing Chromium for the tests of the page"; \
	    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium >/dev/null; \
	  else false; fi; } \
	  || echo "== no Chromium: the tests of the page will be skipped (Debian: sudo apt-get install chromium)"

unit: setup
	@echo "== pytest, $(WORKERS) processes"
	$(RUN) -m pytest --numprocesses $(WORKERS) --dist worksteal

docs: setup
	@echo "== documentation, warnings as errors"
	$(RUN) -m sphinx -q -W --keep-going docs build/docs
	@echo "== done: build/docs/index.html"

notebooks: setup
	@echo "== notebooks, with new outputs (a few minutes)"
	$(VENV)/bin/jupyter-execute --inplace notebooks/*.ipynb

lowest:
	$(PYTHON) -m venv .venv-lowest
	.venv-lowest/bin/python -m pip install --quiet --constraint constraints-lowest.txt --editable '.[lite,hub]' pytest pytest-timeout hypothesis
	.venv-lowest/bin/python -m pytest $(LOWEST)

clean:
	rm -rf $(VENV) $(DEMO) .mypy_cache .ruff_cache .pytest_cache dist build docs/notebooks notebooks/work
