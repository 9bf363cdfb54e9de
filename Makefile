# `make demo`, `make test`, `make check` for the style alone, in seconds, `make docs` for the API reference in docs/api, and
# `make bench` for the benchmark beside other tools. Each makes .venv, installs what it needs, and does its job; what is
# already set up is left alone until pyproject.toml or the patches change. PYTHON=python3.12 picks another Python.
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
RECIPE := pyproject.toml hatch_build.py $(wildcard patches/*.json patches/*.patch patches/*.py)

RUFF := $(VENV)/bin/python -m ruff

.PHONY: demo test check docs bench clean

demo: $(VENV)/.installed
	$(RUN) prune_model.py $(ARGS)

test: $(VENV)/.installed-test check
	$(RUN) -m pytest -n 2 --dist worksteal $(ARGS)

check: $(VENV)/.installed-check
	$(RUFF) check --quiet
	$(RUFF) format --check --quiet

docs: $(VENV)/.installed-test
	$(RUN) -m pdoc --docformat google --output-directory docs/api prune_model relation connectors ultralytics.slim

bench: $(VENV)/.installed-bench
	$(RUN) benchmarks/bench.py $(ARGS)

clean:
	rm -rf $(VENV) build dist

$(VENV)/.installed: $(RECIPE) | $(RUN)
	$(RUN) -m pip install --disable-pip-version-check -e ".[export]"
	@touch $@

$(VENV)/.installed-test: $(RECIPE) | $(RUN)
	$(RUN) -m pip install --disable-pip-version-check -e ".[test]"
	@touch $@ $(VENV)/.installed

$(VENV)/.installed-check: pyproject.toml | $(RUN)
	$(RUN) -m pip install --disable-pip-version-check "ruff$$(sed -n 's/^required-version = "\(.*\)"/\1/p' pyproject.toml)"
	@touch $@

$(VENV)/.installed-bench: $(RECIPE) | $(RUN)
	$(RUN) -m pip install --disable-pip-version-check -e ".[bench]"
	@touch $@ $(VENV)/.installed

$(RUN):
	@$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 10))" || { \
		echo "Python 3.10 or newer is needed and $(PYTHON) is not; name one: make $(MAKECMDGOALS) PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -c "import ensurepip, venv" || { \
		echo "$(PYTHON) cannot make environments. On Debian and Ubuntu: apt-get install python3-venv"; exit 1; }
	$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }
