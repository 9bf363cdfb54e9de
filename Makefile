# `make demo`, `make test`, `make docs` for the API reference in docs/api, and `make bench` for the benchmark beside other
# tools. Each makes .venv, installs what it needs, and does its job; what is already set up is left alone until
# pyproject.toml or the patches change. PYTHON=python3.12 picks another Python.
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
RECIPE := pyproject.toml hatch_build.py $(wildcard patches/*.json patches/*.patch patches/*.py)

.PHONY: demo test docs bench clean

demo: $(VENV)/.installed
	$(RUN) prune_model.py $(ARGS)

test: $(VENV)/.installed-test
	$(RUN) -m pytest $(ARGS)

docs: $(VENV)/.installed-test
	$(RUN) -m pdoc --docformat google --output-directory docs/api prune_model relation relation_errors ultralytics.slim

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

$(VENV)/.installed-bench: $(RECIPE) | $(RUN)
	$(RUN) -m pip install --disable-pip-version-check -e ".[bench]"
	@touch $@ $(VENV)/.installed

$(RUN):
	@$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 10))" || { \
		echo "Python 3.10 or newer is needed and $(PYTHON) is not; name one: make $(MAKECMDGOALS) PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -c "import ensurepip, venv" || { \
		echo "$(PYTHON) cannot make environments. On Debian and Ubuntu: apt-get install python3-venv"; exit 1; }
	$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }
