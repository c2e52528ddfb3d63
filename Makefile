# Two commands do all: `make run` (the quick start) and `make test`.
VENV ?= .venv
PY := $(VENV)/bin/python
# Thread pools of PyTorch, OpenBLAS and Ray workers would otherwise fight for the same cores.
export OMP_NUM_THREADS ?= 1

.PHONY: run test lint clean

# The stamp is renewed when the dependencies change, so a second `make` starts at once.
$(VENV)/.installed: pyproject.toml constraints.txt
	python3 -m venv $(VENV)
	$(PY) -m pip install -q --upgrade pip
	$(PY) -m pip install -q -c constraints.txt torch
	$(PY) -m pip install -q -c constraints.txt -e '.[dev]'
	touch $@

run: $(VENV)/.installed
	$(VENV)/bin/supclap run experiments/quickstart.yaml

lint: $(VENV)/.installed
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

test: lint
	$(PY) -m pytest

clean:
	rm -rf $(VENV)
