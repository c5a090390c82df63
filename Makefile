# Every target installs what it needs; a second run installs nothing again.
PYTHON ?= python3
# make test QT=pyside6 DEPS=newest: another binding of Qt, other versions (pinned, lowest, newest), each in an
# environment of its own. The extra `all` has compiled triangulation beside, for labels and shapes, which every
# process of the tests would warm up.
QT ?= pyqt6
DEPS ?= pinned
ENVIRONMENT := $(subst -pinned,,$(subst -pyqt6,,.venv-$(QT)-$(DEPS)))
CONSTRAINTS := $(subst -pinned,,constraints-$(DEPS)).txt
BIN := $(ENVIRONMENT)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint $(CONSTRAINTS)
XVFB := xvfb-run --auto-servernum --server-args "-screen 0 1600x1000x24"
# Empty where there is a screen.
SCREEN := $(if $(DISPLAY)$(WAYLAND_DISPLAY),,virtual)
DEMO_SAMPLE := sample_data/sunspot_burst.fits
DEMO_METHOD := sv-momfbd

.PHONY: setup system demo test coverage gauntlet gauntlet-short lint wheel docs site bench bench-gpu clean
.DEFAULT_GOAL := setup

setup: $(ENVIRONMENT)/.setup

$(ENVIRONMENT)/.setup: pyproject.toml $(CONSTRAINTS)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "heliorestore needs Python 3.11 or newer: make PYTHON=...")'
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || sh .ci/system python3-venv
	$(PYTHON) -m venv $(ENVIRONMENT)
	$(PIP) --editable ".[$(QT),movie]"
	@touch $@

$(ENVIRONMENT)/.test: $(ENVIRONMENT)/.setup
	$(PIP) --editable ".[$(QT),movie,test]"
	@touch $@

$(ENVIRONMENT)/.lint: $(ENVIRONMENT)/.setup
	$(PIP) --editable ".[$(QT),movie,lint]"
	@touch $@

$(ENVIRONMENT)/.site: $(ENVIRONMENT)/.setup
	$(PIP) --editable ".[$(QT),movie,site]"
	@touch $@

system:
	@sh .ci/system $$(grep -v '^#' apt.txt)

# Threads that wait without spinning leave the cores to whatever else runs.
# Restores the bundled sample; where there is a screen, napari opens on it and stays.
demo: export OMP_WAIT_POLICY ?= PASSIVE
demo: $(ENVIRONMENT)/.setup system
	@mkdir -p demo
ifeq ($(SCREEN),)
	$(BIN)/heliorestore $(DEMO_METHOD) $(DEMO_SAMPLE) -o demo/restored.fits --overwrite
	$(BIN)/heliorestore view $(DEMO_SAMPLE) --method $(DEMO_METHOD)
else
	$(XVFB) $(BIN)/python -c 'from heliorestore.plugin.launch import demo; \
	  demo("$(DEMO_SAMPLE)", "demo/restored.fits", "demo/screenshot.png", "$(DEMO_METHOD)")'
	@echo "No screen: napari ran on a virtual one. Look at $(CURDIR)/demo/screenshot.png"
endif
	@echo "The restored image is $(CURDIR)/demo/restored.fits"

# The images of the tests are small: a second thread would only wait for the first, a second process does half.
# Compiled modules are kept, or each of the many processes compiles them anew.
test coverage gauntlet gauntlet-short: export PYTHONDONTWRITEBYTECODE =
test coverage gauntlet gauntlet-short: export QT_API = $(QT)
test coverage gauntlet gauntlet-short: export PYTEST_QT_API = $(QT)
test: $(ENVIRONMENT)/.test system
	OMP_NUM_THREADS=1 $(XVFB) $(BIN)/python -m pytest -n auto

# The lines that the tests run, of all but the window.
coverage: $(ENVIRONMENT)/.test $(ENVIRONMENT)/.lint system
	@mkdir -p build
	OMP_NUM_THREADS=1 $(XVFB) $(BIN)/python -m coverage run -m pytest --ignore tests/plugin
	$(BIN)/python -m coverage report

# Attacks on the package, counted in one table: ROWS="files kills" chooses some of them, and with KEEP=folder a
# run that was cut off goes on.
gauntlet: $(ENVIRONMENT)/.test system
	$(BIN)/python tests/gauntlet $(ROWS) $(if $(KEEP),--keep $(KEEP))

# The few of them that every change must pass.
gauntlet-short: $(ENVIRONMENT)/.test system
	$(BIN)/python tests/gauntlet --short

lint: $(ENVIRONMENT)/.lint
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/npe2 validate src/heliorestore/napari.yaml
	$(BIN)/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
	$(BIN)/check-jsonschema --builtin-schema vendor.citation-file-format CITATION.cff

# Builds the source archive, from it the wheel, which must be what the checkout gives too, byte by byte, and tries
# the wheel in a fresh environment: command, manifest and sample data.
wheel: $(ENVIRONMENT)/.lint
	rm -rf dist build/fresh build/again
	$(BIN)/python -m build --outdir dist .
	$(BIN)/python -m build --wheel --outdir build/again .
	cmp dist/*.whl build/again/*.whl
	$(PYTHON) -m venv build/fresh
	build/fresh/bin/pip install --quiet --disable-pip-version-check --constraint constraints.txt dist/*.whl npe2
	cd build && fresh/bin/python ../.ci/try_wheel.py

docs: export OMP_WAIT_POLICY ?= PASSIVE
docs: $(ENVIRONMENT)/.setup system
	$(XVFB) $(BIN)/python docs/make_pictures.py
	$(XVFB) $(BIN)/python docs/make_tutorial_pictures.py
	$(XVFB) $(BIN)/python docs/make_film.py

# The pages, a reference from the code, and the gallery as a site that needs no server and no network:
# open build/site/index.html. A warning is an error.
site: export OMP_WAIT_POLICY ?= PASSIVE
site: export NO_MKDOCS_2_WARNING = 1
site: export MPLBACKEND = agg
site: export COLUMNS = 88
site: $(ENVIRONMENT)/.site
	$(BIN)/python -m mkdocs build --clean --quiet
	@echo "The site is $(CURDIR)/build/site/index.html"

bench: $(ENVIRONMENT)/.test system
	$(XVFB) $(BIN)/python -m pytest benchmarks --benchmark-enable --benchmark-only

# On a machine with a CUDA GPU, by a Python whose torch has CUDA: make bench-gpu PYTHON=python3 OUT=gpu-results
bench-gpu:
	sh benchmarks/gpu.sh $(OUT)

clean:
	rm -rf .venv .venv-* build dist demo
