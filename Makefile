# `make help` lists the targets. `make run` and `make test` work in a fresh clone: each target installs
# what it needs, once.
PYTHON ?= python3
SERVING := .venv/serving
DEV := .venv/dev
BEAM := .venv/beam

# For `make model`: the folder of images (in the archives' layouts, cut to squares) and that for runs.
DATA ?= ../shared/data
RUNS ?= runs
TRAINING := $(DEV)/bin/python -m training
CUT := --size 224 --crop 1.0 --pixel-path 3
RECIPE := --backbone EfficientNetLite1 --folds 3 --batch-size 32 --loss bce --diagnosis-weight 1
# Most epochs are trained at a small size, where they are cheap, and the last ones at the size that is
# served; first on ISIC 2019's images alone, then on both kinds of photo.
comma := ,
FIRST := --data $(RUNS)/data224 --size 128 --epochs 10 --seed 1
SECOND := --data $(RUNS)/data224 --epochs 6 --learning-rate 2e-4 --seed 2 --weights $(RUNS)/model128
LAST := --data $(RUNS)/world224 --epochs 4 --learning-rate 2e-4 --seed 3 --weights $(RUNS)/model224 \
  --no-tta --epoch-images 10016 --balance source:isic2019,target:1=0.08 \
  $(foreach kind,dermoscopic close-up,--balance source:milk10k,modality:$(kind)$(comma)target:1=0.05 \
  --balance source:milk10k,modality:$(kind)$(comma)target:0=0.22)
SERVED := --precision int8 --views 2 --centre 0.6 \
  --note "All images had been cut to squares of 224 to 512 px beforehand, and some of them squashed." \
  --note "The ISIC 2017 test set (isic2017-test) was looked at before, with models of other mixtures of sources." \
  --note "isic2020-part is a part of ISIC 2020: 130 patients with all melanomas and few of the other lesions."

.PHONY: run help dev beam test test-fast requirements lint audit sbom faults dyno bench model translations \
  screenshots lighthouse browser clean

run: $(SERVING)/.installed  ## start the app on http://127.0.0.1:8000 with the model in this repository
	$(SERVING)/bin/gunicorn wsgi:app

help:  ## list the targets
	@sed -nE 's/^([a-z-]+):.*  ## (.*)/\1@\2/p' $(firstword $(MAKEFILE_LIST)) | \
	while IFS=@ read -r name text; do printf '%-14s%s\n' "$$name" "$$text"; done

dev: $(DEV)/.installed  ## install the development environment, into .venv/dev

beam: $(BEAM)/.installed  ## install the environment for Apache Beam (--runner), into .venv/beam

# Beam needs older versions of some packages than the app, so its tests run in an environment of their
# own. They run at the same time as the others, and their output is shown only if they fail.
WORKERS ?= 2
ON_BEAM := tests/app/test_command_line_beam.py tests/processing/test_beam.py \
  tests/training/build/test_beam.py
test: $(DEV)/.installed $(BEAM)/.installed browser  ## run all tests, with a real S3 server and a real browser
	@log=$$(mktemp); $(BEAM)/bin/python -m pytest $(ON_BEAM) >$$log 2>&1 & \
	beam=$$!; $(DEV)/bin/python -m pytest -n $(WORKERS); failed=$$?; \
	wait $$beam || { failed=$$?; cat $$log; }; rm $$log; exit $$failed

# This leaves out tests that train a model, start a server or open a browser: those with the marker
# `slow` and those of the groups in tests/grouping.py.
test-fast: $(DEV)/.installed  ## run the quick tests, in about a minute
	$(DEV)/bin/python -m pytest -n $(WORKERS) -m "not slow"

COMPILE := $(DEV)/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
  --no-annotate --custom-compile-command "make requirements"
requirements: $(DEV)/.installed  ## compile the requirements*.txt, with hashes, from requirements*.in
	for name in requirements requirements-dicom requirements-training requirements-dev; do \
	  $(COMPILE) $$name.in -o $$name.txt || exit 1; done
	$(COMPILE) --no-deps requirements-alone.in -o requirements-alone.txt

lint: $(DEV)/.installed  ## check style, types and insecure calls
	$(DEV)/bin/ruff check .
	$(DEV)/bin/ruff format --check .
	$(DEV)/bin/mypy
	$(DEV)/bin/bandit -q -c pyproject.toml -r app config processing training wsgi.py gunicorn.conf.py

# Needs access to PyPI, which lists the known vulnerabilities of each version.
audit: $(DEV)/.installed  ## check the deployed packages for known vulnerabilities
	$(DEV)/bin/uv tool run pip-audit@2.10.1 --strict --require-hashes --disable-pip -r requirements.txt

# Needs access to PyPI, for the tool itself. In CycloneDX's format, with the hash of each file.
sbom: $(DEV)/.installed  ## list the deployed packages, as programs read it, in sbom.json
	$(DEV)/bin/uv tool run --from cyclonedx-bom==7.5.0 cyclonedx-py requirements requirements.txt \
	  --output-reproducible --of JSON -o sbom.json

faults: $(DEV)/.installed  ## test faults of S3, disk, network and clients, and print a line for each; ten minutes
	MUTATIONS=10000 FUZZED=20000 STORM_SECONDS=60 $(DEV)/bin/python -m pytest -q -m fault

dyno: $(DEV)/.installed $(SERVING)/.installed  ## measure the app as the Procfile starts it, with 512 MB, as on Heroku
	$(DEV)/bin/python -m benchmarks.dyno

bench: $(DEV)/.installed  ## run the benchmarks
	for each in serving growth pixels decoding classify selecting build input training; do \
	  $(DEV)/bin/python -m benchmarks.$$each || exit 1; done

train = if test -e $(1)/config.json; then $(TRAINING) train --run $(1) --resume; \
  else $(TRAINING) train --run $(1) $(RECIPE) $(2); fi

# Takes some seven hours on 2 cores. If it is interrupted, run it again; it resumes.
model: $(RUNS)/.exported  ## train the model in this repository, from images to the bundle
	rm -rf app/model/default
	cp -r $(RUNS)/model.bundle app/model/default

$(RUNS)/.isic2017-test: | $(DEV)/.installed
	$(TRAINING) build --isic2019 $(DATA)/isic2017-test-256 $(CUT) --out $(RUNS)/isic2017-test
	@touch $@

$(RUNS)/.isic2020-part: | $(DEV)/.installed
	$(TRAINING) build --isic2020 $(DATA)/isic2020-512 $(CUT) --out $(RUNS)/isic2020-part
	@touch $@

$(RUNS)/.world224: $(RUNS)/.isic2017-test $(RUNS)/.isic2020-part
	$(TRAINING) build --isic2019 $(DATA)/isic2019-256 $(CUT) \
	  --apart-from $(RUNS)/isic2017-test --out $(RUNS)/data224
	$(TRAINING) build --isic2019 $(DATA)/isic2019-256 --milk10k $(DATA)/milk10k-256 $(CUT) \
	  --apart-from $(RUNS)/isic2017-test --shards-of $(RUNS)/data224 --out $(RUNS)/world224
	@touch $@

$(RUNS)/.trained: $(RUNS)/.world224
	$(call train,$(RUNS)/model128,$(FIRST))
	$(call train,$(RUNS)/model224,$(SECOND))
	$(call train,$(RUNS)/model,$(LAST))
	@touch $@

$(RUNS)/.exported: $(RUNS)/.trained
	rm -rf $(RUNS)/model.bundle
	$(TRAINING) export --run $(RUNS)/model --test $(RUNS)/isic2017-test --test $(RUNS)/isic2020-part $(SERVED) \
	  --out $(RUNS)/model.bundle --report $(RUNS)/model.report
	@touch $@

# New and changed texts are empty in each language's messages.po. Translate them, then run this again.
BABEL := $(DEV)/bin/pybabel -q
translations: $(DEV)/.installed  ## update and compile the translations of the page
	$(BABEL) extract --no-location --omit-header -F pyproject.toml -o .messages.pot .
	for language in app/translations/*; do $(BABEL) update --no-fuzzy-matching --ignore-obsolete \
	  --omit-header -w 100 -i .messages.pot -d app/translations -l $$(basename $$language) || exit 1; done
	$(BABEL) compile --use-fuzzy -d app/translations
	rm .messages.pot

# To update the pictures in the documents: cp screenshots/documents/* docs/pictures/
screenshots: $(DEV)/.installed browser  ## save a screenshot of every state of the page, in screenshots/
	mkdir -p screenshots/documents
	SCREENSHOTS=screenshots $(DEV)/bin/python -m pytest -q tests/app/test_accessibility.py

# Needs Node.js, and chromium on the path.
lighthouse: $(SERVING)/.installed  ## score the page's performance, accessibility, best practices and SEO
	PORT=8765 $(SERVING)/bin/gunicorn wsgi:app & server=$$!; sleep 5; \
	CHROME_PATH=$$(command -v chromium) npx --yes lighthouse@13.5.0 http://127.0.0.1:8765/ --quiet \
	  --chrome-flags="--headless=new --no-sandbox" --output json --output-path .lighthouse.json; \
	kill $$server; $(PYTHON) -c 'import json; [print(c["title"], c["score"]) for c in \
	  json.load(open(".lighthouse.json"))["categories"].values()]'; rm .lighthouse.json

# Debian and Ubuntu have a package of a browser. Elsewhere, the tests of the page are skipped.
browser:
	@command -v chromium >/dev/null || command -v google-chrome >/dev/null || { \
	  sudo=$$(test "$$(id -u)" = 0 || echo sudo); \
	  $$sudo apt-get update -qq && $$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y chromium >/dev/null; } || \
	echo "No browser could be installed: the tests of the page will be skipped."

$(SERVING)/.installed: requirements.txt
$(DEV)/.installed: requirements-alone.txt requirements-dev.txt
$(DEV)/.installed: ALONE := requirements-alone.txt
$(BEAM)/.installed: requirements-dev.txt
$(BEAM)/.installed: ON_TOP := requirements-beam.txt

.venv/%/.installed:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14) and \
	"Python 3.11 to 3.13 is needed; $(PYTHON) is %d.%d. Choose another one: make PYTHON=python3.12 ..." % sys.version_info[:2])'
	$(PYTHON) -m venv $(@D)
	for file in $(lastword $^) $(ON_TOP); do \
	  $(@D)/bin/python -m pip install --quiet --no-compile --disable-pip-version-check -r $$file || exit 1; done
	$(if $(ALONE),$(@D)/bin/python -m pip install --quiet --no-compile --disable-pip-version-check --no-deps -r $(ALONE))
	@touch $@

clean:  ## remove the virtual environments
	rm -rf .venv
