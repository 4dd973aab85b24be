PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.stamp

.PHONY: setup fix check test demo bench lab-build lab

setup: $(STAMP)

$(STAMP): uv.lock
	@$(BIN)/python -c '' 2>/dev/null || $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "error: $(PYTHON) is missing or older than 3.11" >&2; \
		echo "hint: name a newer one: make setup PYTHON=python3.12" >&2; exit 1; }
	@$(BIN)/python -c '' 2>/dev/null || $(PYTHON) -m venv --clear --without-pip .venv
	@command -v uv >/dev/null || test -x $(BIN)/uv || \
		{ $(BIN)/python -m ensurepip && $(BIN)/python -m pip install 'uv>=0.7'; } >/dev/null 2>&1 || \
		$(PYTHON) -m pip --python $(BIN)/python install --quiet 'uv>=0.7'
	PATH="$$PATH:$(CURDIR)/$(BIN)" uv sync --frozen
	@touch $@

fix: setup
	$(BIN)/ruff format
	$(BIN)/ruff check --fix
	-UPDATE_SURFACE=1 $(BIN)/pytest -q --no-summary tests/cli/test_surface.py tests/cli/test_readme.py

check: setup
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports

test: setup
	$(BIN)/pytest -n auto
	@if $(BIN)/python deploy/lab/build.py --check >/dev/null 2>&1; then \
		set -x; $(BIN)/pytest -m lab tests/lab; \
	elif [ "$$TILLERMAN_LAB" = required ]; then \
		echo "error: the lab is not built, and TILLERMAN_LAB=required" >&2; exit 1; \
	else \
		echo "The lab tests did not run: build the lab with make lab-build, once, about a quarter of an hour."; \
	fi

demo: setup
	$(BIN)/tillerman demo

bench: setup
	$(BIN)/python tests/bench/run.py

lab-build: setup
	$(BIN)/python deploy/lab/build.py

lab: setup
	$(BIN)/python deploy/lab/run.py
