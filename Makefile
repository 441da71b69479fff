# Every target does all of its set-up: Python 3.11 or later and make are enough.
PYTHON    ?= python3
VENV      ?= .venv
INSTALLED ?= .installed
BIN       := $(VENV)/bin
INSTALL   := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: demo test docs lint installed develop clean
.DELETE_ON_ERROR:

demo: $(VENV)/.examples
	$(BIN)/otus demo

test: $(VENV)/.test
	$(BIN)/python -m pytest -n 2 --dist worksteal $(PYTEST_ARGS)

# The examples in README.md and docs/, which `make test` runs too.
docs: $(VENV)/.test
	$(BIN)/python -m pytest tests/test_documentation.py $(PYTEST_ARGS)

lint: $(VENV)/.lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# The wheel in an environment of its own: types, import rules, docstrings, pages, the command.
installed: $(VENV)/.lint
	.ci/installed $(BIN)/python $(INSTALLED)

# Everything that work on Otus needs, in one environment.
develop: $(VENV)/.develop

$(VENV)/.examples: EXTRAS = examples
$(VENV)/.test:     EXTRAS = examples,test
$(VENV)/.lint:     EXTRAS = lint
$(VENV)/.develop:  EXTRAS = bench,docs,examples,lint,test

$(VENV)/.examples $(VENV)/.test $(VENV)/.lint $(VENV)/.develop: $(VENV)/pyvenv.cfg pyproject.toml constraints.txt
	$(INSTALL) -e '.[$(EXTRAS)]'
	touch $@

$(VENV)/pyvenv.cfg:
	@$(PYTHON) -c 'import sys; sys.exit("Otus needs Python 3.11 or later: make PYTHON=..." if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)

clean:
	rm -rf $(VENV) $(INSTALLED) .ci-venv .ci-wheel build dist *.egg-info \
	    .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
