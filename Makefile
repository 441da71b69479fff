# Every target does all of its set-up: Python 3.11 or later and make are enough.
PYTHON    ?= python3
VENV      ?= .venv
INSTALLED ?= .installed
BIN       := $(VENV)/bin
CONSTRAINTS ?= constraints.txt
INSTALL   := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c $(CONSTRAINTS)

.PHONY: demo test versions docs lint installed develop clean
.DELETE_ON_ERROR:

demo: $(VENV)/.examples
	$(BIN)/otus demo

test: $(VENV)/.test
	$(BIN)/python -m pytest -n 2 --dist worksteal $(PYTEST_ARGS)

# The tests of kernels for GPUs with another torch and Triton: make versions TORCH=2.13.0 TRITON=3.9.0
versions: OTHER = .versions/torch-$(TORCH)-triton-$(TRITON)
versions:
	mkdir -p $(OTHER)
	sed -E 's/^torch==.*/torch==$(TORCH)/; s/^triton==.*/triton==$(TRITON)/' constraints.txt > $(OTHER)/constraints.txt
	$(MAKE) test VENV=$(OTHER)/venv CONSTRAINTS=$(OTHER)/constraints.txt PYTEST_ARGS="tests/triton $(PYTEST_ARGS)"

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
	rm -rf $(VENV) $(INSTALLED) .versions .ci-venv .ci-wheel build dist *.egg-info \
	    .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
