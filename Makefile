# Every target installs what it needs; a second run installs nothing again.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
XVFB := xvfb-run --auto-servernum --server-args "-screen 0 1600x1000x24"
# Windows open on a screen where there is one; tests never use it.
SCREEN := $(if $(DISPLAY)$(WAYLAND_DISPLAY),,$(XVFB))

.PHONY: setup system demo test lint wheel docs bench clean
.DEFAULT_GOAL := setup

setup: .venv/.setup

.venv/.setup: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "heliorestore needs Python 3.11 or newer: make PYTHON=...")'
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || sh .ci/system python3-venv
	$(PYTHON) -m venv .venv
	$(PIP) --editable ".[napari]"
	@touch $@

.venv/.test: .venv/.setup
	$(PIP) --editable ".[napari,test]"
	@touch $@

.venv/.lint: .venv/.setup
	$(PIP) --editable ".[napari,lint]"
	@touch $@

system:
	@sh .ci/system $$(grep -v '^#' apt.txt)

# Restores the bundled sample: in a napari window where there is a screen, else into demo/.
demo: .venv/.setup system
	@mkdir -p demo
	$(SCREEN) $(BIN)/python -m heliorestore.plugin.launch demo $(if $(SCREEN),,--stay)

test: .venv/.test system
	$(XVFB) $(BIN)/python -m pytest

lint: .venv/.lint
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/npe2 validate src/heliorestore/napari.yaml

# Builds the wheel and tries it in a fresh environment: command, manifest and sample data.
wheel: .venv/.lint
	rm -rf dist build/fresh
	$(BIN)/python -m build --wheel --outdir dist .
	$(PYTHON) -m venv build/fresh
	build/fresh/bin/pip install --quiet --disable-pip-version-check --constraint constraints.txt dist/*.whl npe2
	cd build && fresh/bin/python ../.ci/try_wheel.py

docs: .venv/.setup system
	$(XVFB) $(BIN)/python docs/make_pictures.py

bench: .venv/.test system
	$(XVFB) $(BIN)/python -m pytest benchmarks --benchmark-enable --benchmark-only

clean:
	rm -rf .venv build dist demo
