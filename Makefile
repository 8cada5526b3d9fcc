# Thin: each target is a line or two that anyone can type by hand. `make book` and `make test` start from nothing.
PYTHON ?= python3
BIN := .venv/bin
WORKERS ?= 2
# The packages whose shapes are checked in tests: all but the lab and the press, which have no tensors.
comma := ,
space := $(subst ,, )
SHAPED := $(filter-out %.lab %.press %.__pycache__,$(subst /,.,$(patsubst src/%/,%,$(wildcard src/regularity/*/))))
HOOK := $(subst $(space),$(comma),$(strip $(SHAPED))),beartype.beartype

.PHONY: book test bench lab edit serve execute clean help
.DEFAULT_GOAL := help

help:  ## say what the targets do
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.venv/.installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

book: .venv/.installed  ## build the site into _build/html (the committed notebooks are executed already)
	$(BIN)/jupyter-book build . -W -n --keep-going
	@echo "The book is at $(CURDIR)/_build/html/index.html"

# Tests run side by side: one thread each, or they would wait for one another.
test: export OMP_NUM_THREADS = 1
test: .venv/.installed book  ## everything that CI runs
	$(BIN)/ruff check . && $(BIN)/ruff format --check .
	$(BIN)/pytest -n $(WORKERS) --doctest-modules --jaxtyping-packages=$(HOOK) -m "not bad_input and not site" src tests
	$(BIN)/pytest -n $(WORKERS) -m bad_input
	$(BIN)/pytest -n $(WORKERS) --dist loadfile --nbval --nbval-sanitize-with tests/nbval_sanitize.cfg notebooks book/how_fast.ipynb
	$(BIN)/pytest -n $(WORKERS) -m site tests/book/test_site.py tests/press/test_plain.py

.venv/.bench: .venv/.installed
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[bench]'
	touch $@

bench: .venv/.bench  ## time each method against its peer, into benchmarks/results.json
	$(BIN)/pytest benchmarks

lab: .venv/.installed  ## open JupyterLab on plain copies of the chapters, in plain/, which are yours to change
	$(BIN)/regularity notebook --to plain
	$(BIN)/jupyter lab plain

# From here, where pyproject.toml says how the halves of a notebook belong together.
edit: .venv/.installed  ## open JupyterLab on the chapters themselves, .py and .ipynb in step
	$(BIN)/jupyter lab --LabApp.default_url=/lab/tree/notebooks

serve: book  ## serve the site on http://localhost:8000
	$(BIN)/python -m http.server --bind localhost --directory _build/html 8000

execute: .venv/.installed  ## re-execute the chapters whose source has changed
	$(BIN)/regularity execute

clean:  ## remove the built site and caches, keep .venv
	rm -rf _build .pytest_cache .ruff_cache
