# make run · make test · make lint · make bench · make bench-crash

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# "compat" puts this directory itself on the path, so that twistd finds twisted/plugins here.
INSTALL := $(BIN)/pip install --quiet --config-settings editable_mode=compat --editable

run: $(VENV)/.run vrxmpp.toml
	@echo "Starting vrxmpp; Ctrl-C stops it."
	@$(BIN)/twistd -n --pidfile= vrxmpp --config vrxmpp.toml

test: lint
	@sh tests/peers/install.sh
	$(BIN)/pytest -rs

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(VENV)/.test
	$(BIN)/python -m bench $(BENCH)

bench-crash: $(VENV)/.test
	$(BIN)/python -m bench.crash $(CRASH)

vrxmpp.toml:
	cp vrxmpp/config/example.toml $@

$(VENV)/.run: pyproject.toml | $(BIN)/pip
	@echo "Installing into $(VENV); this takes a minute."
	@$(INSTALL) .
	@touch $@

$(VENV)/.test: pyproject.toml | $(BIN)/pip
	@echo "Installing into $(VENV), with the tools for tests; this takes a minute or two."
	@$(INSTALL) '.[test]'
	@touch $@ $(VENV)/.run

$(BIN)/pip:
	$(PYTHON) -m venv $(VENV)

.PHONY: run test lint bench bench-crash
