# One command an intent; `make help` lists them. Steps that are done are skipped.

PYTHON ?= $(firstword $(shell command -v python3.11 python3.12 python3.13 python3 2>/dev/null))
VENV := .venv
TRITON_VENV := .venv-triton
BIN := $(VENV)/bin
MANAGE := $(BIN)/python manage.py

RUN_READY := $(VENV)/.ready-run
DEV_READY := $(VENV)/.ready-dev
TRITON_READY := $(TRITON_VENV)/.ready
MODELS := triton_models/centerface/1/model.onnx triton_models/dlib_resnet/1/model.onnx \
  triton_models/yolact-mini/portrait.json triton_models/blip-mini/portrait.json
WEIGHT_SOURCES := $(shell find inference/weights -name '*.py' -o -name '*.toml' -o -path '*/mini/*/*')
PINS := requirements/constraints.txt requirements/no-deps.txt
BENCHMARKS := $(patsubst benchmarks/%.py,%,$(wildcard benchmarks/[!_]*.py))

export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_ROOT_USER_ACTION := ignore
PIP_INSTALL := -m pip install -qq

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
ifndef SIDE_BY_SIDE
.NOTPARALLEL: # steps in order, whatever -j says
endif
SUBMAKE := $(MAKE) --silent --no-print-directory
.PHONY: help demo drill up test check bench models setup setup-dev clean clean-data

help: ## List the commands
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 20

demo: models ## Enrol people, name the faces of new photos, then serve (ONCE=1: stop after the table; PHOTOS=dir/: your own)
	@exec $(MANAGE) demo $(if $(filter-out 0,$(ONCE)),--once) $(if $(PHOTOS),--photos "$(PHOTOS)")

drill: models ## Kill everything that can be killed while three cameras play; account for every frame (ARGS="--short")
	@exec $(MANAGE) drill $(ARGS)

up: models ## Run everything until Ctrl-C
	@exec $(MANAGE) up

test: setup-dev models ## Run the tests, on real servers that they start themselves (ARGS="-k name" chooses)
ifdef ARGS
	@exec $(BIN)/python -m pytest $(ARGS)
else
	@$(run_tests)
endif

check: setup-dev ## Format, lint, types, layers, migrations
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy inference portrait
	$(BIN)/lint-imports
	$(MANAGE) makemigrations --check --dry-run

bench: setup-dev models ## Run every benchmark; results go to benchmarks/results/
	@set -e; for each in $(BENCHMARKS); do $(BIN)/python -m benchmarks.$$each; done

models: setup ## Build the default models from their packages, offline
	@$(SUBMAKE) $(MODELS)

# The two environments are independent of each other: they are made side by side.
setup: ## Make the environments, .venv and .venv-triton
	@$(SUBMAKE) SIDE_BY_SIDE=1 -j2 $(RUN_READY) $(TRITON_READY)

setup-dev: ## The same, with the tools of developers
	@$(SUBMAKE) SIDE_BY_SIDE=1 -j2 $(DEV_READY) $(TRITON_READY)

clean: ## Remove the environments and caches; data and models stay
	rm -rf $(VENV) $(TRITON_VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -not -path './var/*' -prune -exec rm -rf {} +

clean-data: ## Remove ALL data: database, photos, queue (./var)
	@for lock in var/run/site.lock var/run/services.lock; do \
	  if [ -e $$lock ] && ! flock --nonblock $$lock true; then \
	    echo "Portrait runs on ./var: stop it first (Ctrl-C, or python manage.py services stop)." >&2; exit 1; fi; done
	rm -rf var

# --- files ----------------------------------------------------------------------------------------

$(BIN)/python:
	@$(call make_venv,$(VENV))

$(RUN_READY): $(BIN)/python pyproject.toml $(PINS)
	@echo "Installing Portrait's packages into $(VENV) ..."
	@$(BIN)/python $(PIP_INSTALL) -c requirements/constraints.txt -e '.[demo]'
	@$(BIN)/python $(PIP_INSTALL) --no-deps -r requirements/no-deps.txt
	@touch $@

$(DEV_READY): $(RUN_READY)
	@echo "Installing the developers' tools into $(VENV) ..."
	@$(BIN)/python $(PIP_INSTALL) -c requirements/constraints.txt -e '.[dev]'
	@touch $@

$(TRITON_VENV)/bin/python:
	@$(call make_venv,$(TRITON_VENV))

$(TRITON_READY): $(TRITON_VENV)/bin/python requirements/triton.txt
	@echo "Installing the model server into $(TRITON_VENV) ..."
	@$(TRITON_VENV)/bin/python $(PIP_INSTALL) --no-deps -r requirements/triton.txt
	@$(call fetch_libpython,$(TRITON_VENV))
	@touch $@

.PHONY: $(TRITON_VENV)
$(TRITON_VENV): $(TRITON_READY)

$(MODELS) &: $(WEIGHT_SOURCES) $(RUN_READY)
	@$(MANAGE) models build
	@touch $(MODELS)

# Beside tests/live, of which each has a half.
PART_2 := tests/browser tests/portrait/console
PART_3 := tests/inference
# Three parts side by side, each on servers of its own: most tests wait for something. The others' words come last.
define run_tests
  logs=$$(mktemp -d); \
  $(BIN)/python -m pytest $(wildcard tests/live/test_[a-i]*.py) $(PART_2) >"$$logs/2" 2>&1 & second=$$!; \
  $(BIN)/python -m pytest $(wildcard tests/live/test_[!a-i]*.py) $(PART_3) >"$$logs/3" 2>&1 & third=$$!; \
  trap 'kill -TERM $$second $$third 2>/dev/null; rm -rf "$$logs"' EXIT INT TERM; \
  $(BIN)/python -m pytest $(addprefix --ignore=,tests/live $(PART_2) $(PART_3)); one=$$?; \
  wait $$second; two=$$?; wait $$third; three=$$?; cat "$$logs"/2 "$$logs"/3; \
  exit $$((one ? one : two ? two : three))
endef

# Triton's backend needs Python as a shared library, which Debian packs apart. Where it is missing it is unpacked into
# the environment: that needs neither root nor a change of the system. portrait/embedded tells what to do if it fails.
define fetch_libpython
  stub=$$(echo $(1)/lib/python3.*/site-packages/pytriton/tritonserver/python_backend_stubs); \
  version=$$($(1)/bin/python -c 'import sys; print("%d.%d" % sys.version_info[:2])'); \
  base=$$($(1)/bin/python -c 'import sys; print(sys.base_prefix)'); \
  if LD_LIBRARY_PATH=$$base/lib LD_TRACE_LOADED_OBJECTS=1 "$$stub/$$version/triton_python_backend_stub" 2>/dev/null | grep -q "libpython.*not found"; then \
    rm -rf $(1)/libpython && mkdir -p $(1)/libpython && cd $(1)/libpython && \
    { apt-get download "libpython$$version" >/dev/null 2>&1 || { apt-get update >/dev/null 2>&1; apt-get download "libpython$$version" >/dev/null 2>&1; } || true; } && \
    for package in *.deb; do [ ! -e "$$package" ] || dpkg -x "$$package" . ; done; fi
endef

# Debian packs pip for new environments apart, too: where it is missing it is unpacked, in the same way.
define make_venv
  if ! "$(PYTHON)" -c 'import sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
    echo "Python 3.11 or newer is needed: install it, or say where it is: make PYTHON=/path/to/python3.11" >&2; exit 1; fi; \
  if "$(PYTHON)" -c 'import ensurepip' 2>/dev/null; then exec "$(PYTHON)" -m venv $(1); fi; \
  "$(PYTHON)" -m venv --without-pip $(1) && mkdir -p $(1)/pip-package && cd $(1)/pip-package && \
  { apt-get download python3-pip-whl >/dev/null 2>&1 || { apt-get update >/dev/null 2>&1; apt-get download python3-pip-whl >/dev/null 2>&1; } || true; } && \
  { dpkg -x python3-pip-whl_*.deb . 2>/dev/null || true; } && cd ../.. && \
  pip=$$(echo $(1)/pip-package/usr/share/python-wheels/pip-*.whl) && \
  if ! $(1)/bin/python "$$pip/pip" install -qq --no-index "$$pip" 2>/dev/null; then rm -rf $(1); \
    echo "Python's venv module is not complete: on Debian and Ubuntu, apt-get install python3-venv." >&2; exit 1; fi
endef
