# Everything a fresh machine needs: `make up` runs it, `make test` tests it, both through `make install`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: install up test lint format demo crash crash-nightly lock fetch clean

install: $(STAMP) fetch

$(STAMP): requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "retainer needs Python 3.11 or newer; run: make install PYTHON=python3.12")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --require-hashes --only-binary :all: -r requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@

fetch: $(STAMP)
	$(BIN)/retainer fetch --for-tests

up: $(STAMP)
	$(BIN)/retainer up

demo: install
	$(BIN)/retainer demo

test: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports
	$(BIN)/mypy
	# What fails beside others on an overloaded machine gets one run alone, and must pass there.
	$(BIN)/pytest -n auto --dist loadscope || $(BIN)/pytest --last-failed --last-failed-no-failures none

lint: $(STAMP)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .
	$(BIN)/lint-imports
	$(BIN)/mypy

# 200 kills over 2,000 messages in 20 chats: a quarter of an hour. The nightly one is five times that, and more.
crash: $(STAMP)
	$(BIN)/python bench/crash.py --kills 200 --messages 2000 --chats 20 --peers

crash-nightly: $(STAMP)
	$(BIN)/python bench/crash.py --kills 1000 --messages 10000 --chats 20
	$(BIN)/python bench/crash.py --kills 100 --messages 1000 --chats 20 --signal term
	$(BIN)/python bench/crash.py --search 0
	$(BIN)/python bench/power.py --copies 200
	$(BIN)/python bench/erase.py

lock:
	uv pip compile --universal --generate-hashes --no-emit-index-url --python-version 3.11 --group dev --all-extras --upgrade pyproject.toml -o requirements.lock

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .hypothesis dist build
