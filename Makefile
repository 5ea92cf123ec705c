# make run · make test · make lint · make bench

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

run: $(READY) vrxmpp.toml
	@echo "Starting vrxmpp; stop it with Ctrl-C. In another terminal: $(BIN)/vrxmpp user add alice@localhost"
	@$(BIN)/twistd -n --pidfile= vrxmpp --config vrxmpp.toml

test: $(READY) lint
	$(BIN)/pytest

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(READY)
	$(BIN)/python -m bench $(BENCH)

vrxmpp.toml:
	cp vrxmpp/config/example.toml $@

# "compat" puts this directory itself on the path, so that twistd finds twisted/plugins here.
$(READY): pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --config-settings editable_mode=compat --editable '.[test]'
	touch $@

.PHONY: run test lint bench
