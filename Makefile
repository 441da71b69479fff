# Each target does all of its set-up: Python 3.11 or later and make are enough.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin

.PHONY: demo test lint docs clean

demo: $(VENV)/.examples
	$(BIN)/otus demo

test: $(VENV)/.test
	$(BIN)/python -m pytest -n 2 $(PYTEST_ARGS)

docs: $(VENV)/.test
	$(BIN)/python -m pytest --doctest-glob='*.md' README.md docs
	$(BIN)/python -m pytest --doctest-modules --pyargs otus

lint: $(VENV)/.lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

$(VENV)/.examples: $(VENV)/pyvenv.cfg
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[examples]'
	touch $@

$(VENV)/.test: $(VENV)/pyvenv.cfg
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[test,examples]'
	touch $@

$(VENV)/.lint: $(VENV)/pyvenv.cfg
	$(BIN)/python -m pip install --quiet -c constraints.txt '.[lint]'
	touch $@

$(VENV)/pyvenv.cfg: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	touch $@

clean:
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache .ci-venv .ci-wheel
