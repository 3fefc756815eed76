# The targets are the only way things are done here. Each installs what it needs.
#   make demo [ARGS=--once]   a controller and two devices on this machine, used as a person would
#   make test [ARGS=...]      every test; ARGS go to pytest
#   make coverage             whether the tests of the pure packages reach all of them: every line, every branch
#   make fuzz [SECONDS=600]   damaged recordings, for as long as is asked
#   make lint                 format, rules, types, directions of imports, the Ansible collection
#   make bench [ONLY=name]    side by side with OpenSSH
#   make assets               third-party JavaScript, CSS and fonts for the web door, from npm
#   make lock                 resolve the dependencies anew and lock them with hashes
#   make wheel                the distribution, with the web assets in it
#   make dist [ARGS=...]      what people install, into dist/: wheel, archives and Debian packages; scripts/dist --help
#   make ansible              Ansible, in .venv-ansible

SHELL := /bin/bash
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
.PHONY: help demo test coverage fuzz lint bench assets lock wheel dist ansible format clean

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ASSETS := controller/web/static/vendor/.built
FRONTEND := controller/web/frontend
TUS_JS := tests/controller/api/tus-js
AXE := tests/system/dashboard/axe
ANSIBLE := .venv-ansible
NPM_CI := npm ci --loglevel=error --no-update-notifier --no-fund --no-audit --ignore-scripts

help:
	@sed -n '2,13s/^# \?//p' Makefile

demo: $(VENV)/.controller $(ASSETS)
	@scripts/packages demo
	@exec $(BIN)/python scripts/demo.py $(ARGS)

test: $(VENV)/.dev $(ANSIBLE)/.built $(ASSETS) $(TUS_JS)/node_modules/.built $(AXE)/node_modules/.built
	@scripts/packages test
	@PYTHON=$(BIN)/python scripts/test $(ARGS)

# The pure tests alone, each property with few and always the same examples; what runs in another process counts nowhere.
coverage: $(VENV)/.dev
	@scripts/packages coverage
	@mkdir -p build
	@$(BIN)/coverage run -m pytest -q -p no:xdist --hypothesis-profile=few --ignore=tests/protocol/ssh \
	  --ignore=tests/protocol/recording/test_fuzz.py tests/protocol tests/controller/policy tests/edge_agent/policy $(ARGS)
	@$(BIN)/coverage report

fuzz: $(VENV)/.dev
	@$(BIN)/python -m tests.protocol.recording.fuzz_recording --seconds $(or $(SECONDS),600) $(ARGS)

lint: $(VENV)/.dev $(ANSIBLE)/.built
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	@mkdir -p build/collections/ansible_collections/skerry
	@ln -sfn ../../../../deploy/ansible build/collections/ansible_collections/skerry/edge
	cd deploy/ansible && PATH="$(CURDIR)/$(ANSIBLE)/bin:$$PATH" ANSIBLE_COLLECTIONS_PATH="$(CURDIR)/build/collections" \
	  ansible-lint --offline --profile production

format: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.dev $(ASSETS)
	@scripts/packages bench
	@$(BIN)/python benchmarks/run.py $(if $(ONLY),--only $(ONLY)) $(ARGS)

assets: $(ASSETS)

$(ASSETS): $(FRONTEND)/package.json $(FRONTEND)/package-lock.json $(FRONTEND)/build.mjs
	@scripts/packages assets
	@echo "Building the web assets, with npm"
	@cd $(FRONTEND) && $(NPM_CI) && node build.mjs
	@touch $@

# A client of tus in JavaScript, for the tests of uploads.
$(TUS_JS)/node_modules/.built: $(TUS_JS)/package.json $(TUS_JS)/package-lock.json $(TUS_JS)/.npmrc
	@scripts/packages assets
	@echo "Installing the tus client for the tests, with npm"
	@cd $(TUS_JS) && $(NPM_CI)
	@touch $@

# axe-core, which looks for accessibility faults in the dashboard's pages.
$(AXE)/node_modules/.built: $(AXE)/package.json $(AXE)/package-lock.json $(AXE)/.npmrc
	@scripts/packages assets
	@echo "Installing axe-core for the tests, with npm"
	@cd $(AXE) && $(NPM_CI)
	@touch $@

# The virtual environment, in two sizes: what runs the programs, and what tests them too.
$(VENV)/bin/python:
	@scripts/packages python
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.controller: $(VENV)/bin/python requirements/controller.txt requirements/build.txt pyproject.toml
	@echo "Installing what the programs need into $(VENV) (some minutes)"
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/controller.txt -r requirements/build.txt
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/bin/python requirements/dev.txt requirements/build.txt pyproject.toml
	@echo "Installing what the tests need into $(VENV) (some minutes)"
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt -r requirements/build.txt
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@ $(VENV)/.controller

# Ansible and its linter, in a virtual environment of their own.
ansible: $(ANSIBLE)/.built

$(ANSIBLE)/.built: requirements/ansible.txt
	@scripts/packages python
	@echo "Installing Ansible into $(ANSIBLE) (some minutes)"
	@$(PYTHON) -m venv $(ANSIBLE)
	@$(ANSIBLE)/bin/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/ansible.txt
	@touch $@

lock: $(VENV)/bin/python
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/lock.txt
	scripts/lock

wheel: $(VENV)/.dev $(ASSETS)
	$(BIN)/pip wheel --quiet --no-deps --no-build-isolation --wheel-dir dist .

dist: $(VENV)/.controller $(ASSETS)
	@PYTHON=$(BIN)/python scripts/dist $(ARGS)

clean:
	rm -rf build dist var $(VENV) $(ANSIBLE) controller/web/static/vendor $(FRONTEND)/node_modules $(TUS_JS)/node_modules $(AXE)/node_modules
