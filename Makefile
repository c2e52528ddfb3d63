# `make run` is the quick start; `make quick` and `make test` are for who changes the code.
VENV ?= .venv
PY := $(VENV)/bin/python
# pip compiles nothing: of the 21,000 modules that it installs a run imports a fifth, and Python keeps
# what it has compiled for those, unless the shell forbids it.
PIP := $(PY) -m pip install -q --no-compile --disable-pip-version-check -c constraints.txt
# An environment with a new pip, which installs in half the time of the one that Python brings.
NEW := python3 -m venv --without-pip $(VENV) && \
	python3 -m pip --python $(PY) install -q --no-compile --disable-pip-version-check pip || \
	{ python3 -m venv $(VENV) && $(PIP) --upgrade pip; }
unexport PYTHONDONTWRITEBYTECODE
# Thread pools of PyTorch, OpenBLAS and Ray workers would otherwise fight for the same cores.
export OMP_NUM_THREADS ?= 1

# Two processes, each with whole files: the suite waits for others (Ray, servers) half of its time.
TWO := -n 2 --dist loadfile --no-loadscope-reorder

.PHONY: run quick lint test chaos clean

# The stamps are renewed when the dependencies change, so a second `make` starts at once.
$(VENV)/.run: pyproject.toml constraints.txt
	@echo "installing what a run needs into $(VENV) (2 GB): about a minute"
	@$(NEW)
	@$(PIP) -e '.[platform]'
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt
	@echo "installing what runs and tests need into $(VENV) (2.3 GB): about a minute"
	@$(NEW)
	@$(PIP) -e '.[dev]'
	@touch $(VENV)/.run $@

run: $(VENV)/.run
	@echo "six short trainings on sounds made on the spot: about a minute and a half on two cores"
	$(VENV)/bin/supclap run experiments/quickstart.yaml

quick: $(VENV)/.dev
	$(VENV)/bin/ruff check .
	$(PY) -m pytest $(TWO) -m 'not heavy and not long and not cluster'

lint: $(VENV)/.dev
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

test: lint
	$(PY) -m pytest $(TWO)

# One test after another: each starts a cluster of its own, whose hosts are this machine.
chaos: $(VENV)/.dev
	$(PY) -m pytest -m cluster tests/cluster
	$(PY) -m pytest -m long tests/platform/test_chaos.py

clean:
	rm -rf $(VENV)
