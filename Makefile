# One word per job. `make` alone lists them.
# Nothing here names an absolute path, so that the book works in any folder, also one with spaces.

PYTHON_IN := .venv/bin/python
BOOK := $(PYTHON_IN) -m helpers.cli
INSTALL := sh tools/install.sh
# An author's name, a library and a class of syntax trees look like slips to the spelling check.
SPELL := $(PYTHON_IN) -m codespell_lib --ignore-words-list raison,astroid,notin

# PYTHON chooses the interpreter of .venv: PYTHON=python3.12 make book
export PYTHON
# Settings of the surrounding shell that would mix other packages into the book.
unexport PYTHONPATH PYTHONHOME

C ?=
PROFILE ?= quick
GRID ?=
SEEDS ?= 5
ARGS ?=

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help book test lab chapter refresh sweep lint clean distclean

help: ## list the jobs
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "  make %-10s %s\n", $$1, $$2}' Makefile

book: ## install, run every chapter, build the site
	@$(INSTALL) book
	@$(BOOK) build

test: ## run every test, the chapters and the site included (ARGS="-k data" for some)
	@$(INSTALL) book test
	@$(PYTHON_IN) -m pytest $(ARGS)

lab: ## open JupyterLab on the notebooks
	@$(INSTALL) book lab
	@$(PYTHON_IN) -m jupyter lab --notebook-dir=notebooks $(ARGS)

chapter: ## run one chapter: C=its_name [PROFILE=gpu] [ARGS="-p name=value"]
	@test -n "$(C)" || { echo "Which chapter? make chapter C=dendritic_localized_learning" >&2; exit 2; }
	@$(INSTALL) book
	@$(BOOK) run "$(C)" --profile "$(PROFILE)" $(ARGS)

refresh: ## renew what is out of date: committed outputs, the README table (C=one chapter)
	@$(INSTALL) book
	@$(BOOK) refresh $(C) $(ARGS)

sweep: ## run a chapter over a grid: C=its_name GRID="eta=1e-3,1e-2" [SEEDS=5]
	@test -n "$(C)" -a -n "$(GRID)" || { echo 'Which grid? make sweep C=dendritic_localized_learning GRID="eta=1e-3,1e-2"' >&2; exit 2; }
	@$(INSTALL) book
	@$(BOOK) sweep "$(C)" --seeds "$(SEEDS)" $(foreach axis,$(GRID),--grid "$(axis)") $(ARGS)

lint: ## check style, types, spelling and the notebook rules
	@$(INSTALL) book test
	@$(PYTHON_IN) -m ruff check .
	@$(PYTHON_IN) -m ruff format --check .
	@$(PYTHON_IN) -m mypy
	@$(SPELL) $$(git ls-files '*.md' '*.py' '*.yml' '*.yaml' '*.bib' '*.cff' Makefile)
	@for notebook in notebooks/*.ipynb; do \
	    $(PYTHON_IN) -m jupytext --quiet --to md --output - "$$notebook" | $(SPELL) - || exit 1; \
	done
	@$(PYTHON_IN) tools/lint_notebooks.py

clean: ## remove what was built (the environment stays)
	@rm -rf _build .pytest_cache .mypy_cache .ruff_cache .hypothesis
	@find . -name __pycache__ -type d -not -path './.venv/*' -prune -exec rm -rf {} +

distclean: clean ## remove the environment as well
	@rm -rf .venv tenpapers.egg-info
