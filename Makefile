# Each target makes its own .venv first, once, and brings it up to date when the dependencies have changed.
.DEFAULT_GOAL := help
.PHONY: help demo test lint

PYTHON ?= python3
# Processes of the tests; each takes about a gigabyte.
JOBS ?= 2
STAMP := .venv/.installed

help:  ## say what there is
	@echo "make demo   the whole story on the shipped showers, into fastv-demo/"
	@echo "make test   the tests"
	@echo "make lint   style, format and types"

# A virtual environment works only where it was made: the stamp keeps the place, and one from elsewhere is made anew.
MADE_AT := $(shell cat $(STAMP) 2>/dev/null)
ifneq ($(MADE_AT),$(CURDIR))
.PHONY: $(STAMP)
endif

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -m venv $(if $(MADE_AT),$(if $(filter-out $(CURDIR),$(MADE_AT)),--clear)) .venv
	@.venv/bin/python -m pip install -qq --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@echo '$(CURDIR)' > $(STAMP)

demo: $(STAMP)
	@.venv/bin/fastv demo -o fastv-demo --force

test: $(STAMP)
	@.venv/bin/python -m pytest -n $(JOBS) --dist loadfile

lint: $(STAMP)
	@.venv/bin/ruff check
	@.venv/bin/ruff format --check
	@.venv/bin/mypy
