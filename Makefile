# Each target makes its own .venv first, once, and brings it up to date when the dependencies have changed.
.DEFAULT_GOAL := help
.PHONY: help demo test lint coverage docs release-check

PYTHON ?= python3
# Processes of the tests; each takes about a gigabyte.
JOBS ?= 2
STAMP := .venv/.installed

help:  ## say what there is
	@echo "make demo   the whole story on the shipped showers, into fastv-demo/"
	@echo "make test   the tests"
	@echo "make lint   style, format and types"
	@echo "make docs           the site, into build/site"
	@echo "make coverage       the tests, with a table of what they do not run"
	@echo "make release-check  wheel and sdist; the wheel in a clean environment, the demo from it"

# A virtual environment works only where it was made: the stamp keeps the place, and one from elsewhere is made anew.
MADE_AT := $(shell cat $(STAMP) 2>/dev/null)
ifneq ($(MADE_AT),$(CURDIR))
.PHONY: $(STAMP)
endif

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -m venv $(if $(MADE_AT),$(if $(filter-out $(CURDIR),$(MADE_AT)),--clear)) .venv
	@.venv/bin/python -m pip install -qq --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@echo '$(CURDIR)' > $(STAMP)

# Packages that one target alone needs: the extra of its name.
.venv/.%: $(STAMP)
	@.venv/bin/python -m pip install -qq --disable-pip-version-check -c constraints.txt -e '.[$*]'
	@touch $@

demo: $(STAMP)
	@.venv/bin/fastv demo -o fastv-demo --force

test: $(STAMP)
	@.venv/bin/python -m pytest -n $(JOBS) --dist loadfile

lint: $(STAMP)
	@.venv/bin/ruff check
	@.venv/bin/ruff format --check
	@.venv/bin/mypy

coverage: .venv/.coverage
	@.venv/bin/python -m pytest -n $(JOBS) --dist loadfile --cov --cov-report=term

docs: .venv/.docs
	@OMP_NUM_THREADS=1 .venv/bin/sphinx-build -q -W --keep-going -E -d build/site-trees docs build/site
	@.venv/bin/python -m pytest tests/docs/test_site.py
	@echo "build/site/index.html"

release-check: .venv/.release
	@.venv/bin/python .ci/release_check.py
