# `make run` and `make test` are all that a fresh clone needs; each sets up what it uses, once.
PYTHON ?= python3
SERVING := .venv/serving
DEV := .venv/dev
BEAM := .venv/beam

.PHONY: run test lint bench browser clean

run: $(SERVING)/.installed  ## serve http://127.0.0.1:8000 with the model the repository carries
	$(SERVING)/bin/gunicorn wsgi:app

# Beam takes older pins than the app, so that its tests have an environment of their own.
test: $(DEV)/.installed $(BEAM)/.installed browser  ## everything, with a real S3 server and browser
	$(BEAM)/bin/python -m pytest tests/training/test_beam.py
	$(DEV)/bin/python -m pytest

lint: $(DEV)/.installed
	$(DEV)/bin/ruff check .
	$(DEV)/bin/ruff format --check .
	$(DEV)/bin/mypy

bench: $(DEV)/.installed
	for each in serving build input training; do $(DEV)/bin/python -m benchmarks.$$each || exit 1; done

# Debian and Ubuntu carry a browser; elsewhere the page's tests skip and say so.
browser:
	@command -v chromium >/dev/null || command -v google-chrome >/dev/null || { \
	  sudo=$$(test "$$(id -u)" = 0 || echo sudo); \
	  $$sudo apt-get update -qq && $$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y chromium >/dev/null; } || \
	echo "No browser could be installed: the tests of the page will skip."

$(SERVING)/.installed: requirements.txt
$(DEV)/.installed: requirements.txt requirements-training.txt requirements-dev.txt
$(BEAM)/.installed: requirements.txt requirements-training.txt requirements-dev.txt
$(BEAM)/.installed: ON_TOP := requirements-beam.txt
# The official scorer, against which the figures are tested. Without its dependencies: one of them
# would have to be compiled, to unpack archives that no test has.
$(DEV)/.installed: ALONE := isic-challenge-scoring==5.6.0 rdp==0.8

.venv/%/.installed:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14) and \
	"Python 3.11 to 3.13 is needed, $(PYTHON) is %d.%d. Name another: make PYTHON=python3.12 ..." % sys.version_info[:2])'
	$(PYTHON) -m venv $(@D)
	for file in $(lastword $^) $(ON_TOP); do \
	  $(@D)/bin/python -m pip install --quiet --disable-pip-version-check -r $$file || exit 1; done
	$(if $(ALONE),$(@D)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps $(ALONE))
	@touch $@

clean:  ## remove the virtual environments
	rm -rf .venv
