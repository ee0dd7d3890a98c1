# VLA Agent.  `make help` lists the targets.  Stamps in $(VENV)/.stamps say what is installed: a stopped install starts again.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.ONESHELL:
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
MAKEFLAGS += --no-builtin-rules

PYTHON ?= python3.11
VENV ?= .venv
BIN := $(VENV)/bin
STAMPS := $(VENV)/.stamps
PIP := $(BIN)/python -m pip --disable-pip-version-check
# Modules are compiled when they are first imported: most of the packages' 20,000 never are.
INSTALL := $(PIP) install -q --no-compile
TORCH_VERSION := $(shell sed -n 's/^torch==//p' constraints.txt)
TORCH_CPU_INDEX ?= https://download.pytorch.org/whl/cpu

POLICY ?= policies/tabletop-nano
RECIPE ?= policies/tabletop-nano.yaml
EPISODES ?= 2
WORKERS ?= 2
OUT ?= runs/demo
DATASET ?= datasets/tabletop
COLLECT_EPISODES ?= 500
TRAINED ?= runs/train
BENCH ?=

# One thread a process: two processes with two threads each are several times slower on two cores.
export OMP_NUM_THREADS ?= 1
export LP_NUM_THREADS ?= 0
export MUJOCO_GL ?= egl
export PYTHONUTF8 := 1
# Compiled modules are kept, also where a container's image says otherwise: each `import torch` takes seconds without them.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help demo view test suite check lint types layers style docs film format train collect bench doctor install install-dev system clean print-demo lerobot-check openpi-check colcon-check

help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14
	@echo
	@echo 'settings: POLICY=$(POLICY) EPISODES=$(EPISODES) WORKERS=$(WORKERS) OUT=$(OUT) PYTHON=$(PYTHON) VENV=$(VENV)'

DEMO = vla-agent eval $(POLICY) --episodes $(EPISODES) --workers $(WORKERS) --out $(OUT) --resume

demo: install ## install, then evaluate the shipped policy: progress, report.html, videos
	@$(BIN)/$(DEMO)
	echo "open $(OUT)/report.html in a browser; \`make view\` shows the policy live: tell it what to do, move the objects"

view: install ## a live page of POLICY in the simulator
	@$(BIN)/python -c 'import mjviser, viser' 2> /dev/null || $(INSTALL) -c constraints.txt -e '.[view]'
	$(BIN)/vla-agent view $(POLICY)

print-demo: # what demo runs; the benchmark spine-demo times it
	@echo $(DEMO)

test: install-dev ## install; all tests, and beside them lint, type check and the documentation site
	@$(MAKE) --no-print-directory --jobs=3 suite types style layers docs

suite: install-dev # tests wait for nodes and processes now and then: the checks beside it fill that time
	@$(BIN)/python -m pytest -n 2 --dist worksteal

check: install-dev # lint and docs at the same time: each keeps one core busy
	@$(MAKE) --no-print-directory --jobs=2 --output-sync=target types style layers docs

lint: style types layers ## ruff, mypy, and the layers of docs/architecture.md

style: install-dev
	@$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: install-dev
	@$(BIN)/mypy

layers: install-dev
	@PYTHONPATH=. $(BIN)/lint-imports --no-logo --no-cache

docs: install-dev ## build the documentation site into site/; its search needs `python -m http.server -d site`
	@$(BIN)/python -m benchmarks docs --check
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

film: install ## make the README's animation again: docs/img/film.webp
	@$(BIN)/python -m benchmarks.house.film

format: install-dev ## fix what ruff can fix
	@$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

collect: install ## record demonstrations into DATASET, COLLECT_EPISODES in all
	@$(BIN)/vla-agent collect --suite tabletop --episodes $(COLLECT_EPISODES) --workers $(WORKERS) -o $(DATASET) --resume

train: install ## train RECIPE into TRAINED
	@$(BIN)/vla-agent train $(RECIPE) -o $(TRAINED) --resume

bench: install-dev ## run the benchmarks named in BENCH, then list all
	@for name in $(BENCH); do $(BIN)/python -m benchmarks run $$name; done
	$(BIN)/python -m benchmarks list

doctor: install ## check this machine
	@$(BIN)/vla-agent doctor

LEROBOT := .venv-lerobot
lerobot-check: install-dev ## install lerobot 0.4.4 into its own environment; it reads our datasets, its policies are driven
	@if ! $(LEROBOT)/bin/python -c 'import importlib.metadata as m; assert m.version("lerobot") == "0.4.4"' 2> /dev/null; then
	  $(PYTHON) -m venv --clear $(LEROBOT)
	  pip="$(LEROBOT)/bin/python -m pip --disable-pip-version-check install -q"
	  $$pip "torch==$(TORCH_VERSION)+cpu" 2> /dev/null || $$pip "torch==$(TORCH_VERSION)+cpu" --index-url $(TORCH_CPU_INDEX)
	  $$pip -r tests/lerobot_check/requirements.txt
	  $$pip --no-deps torchvision==0.25.0 lerobot==0.4.4
	fi
	$(LEROBOT)/bin/python -m pip --disable-pip-version-check install -q -r tests/lerobot_check/serving.txt
	$(BIN)/python -m pytest tests/data/test_collection.py tests/serving/test_peers.py -k lerobot

OPENPI := .venv-openpi
openpi-check: install-dev ## install openpi-client 0.1.2 into its own environment, and let it ask our server
	@if ! $(OPENPI)/bin/python -c 'import importlib.metadata as m; assert m.version("openpi-client") == "0.1.2"' 2> /dev/null; then
	  $(PYTHON) -m venv --clear $(OPENPI)
	  $(OPENPI)/bin/python -m pip --disable-pip-version-check install -q -r tests/openpi_check/requirements.txt
	fi
	$(BIN)/python -m pytest tests/serving/test_serving.py -k openpi

COLCON := .venv-colcon
colcon-check: install-dev ## install colcon into its own environment, and let it list, build and test the package
	@if ! [ -x $(COLCON)/bin/colcon ]; then
	  $(PYTHON) -m venv --clear $(COLCON)
	  $(COLCON)/bin/python -m pip --disable-pip-version-check install -q -r tests/colcon_check/requirements.txt
	fi
	packages=$$($(BIN)/python -c 'import site; print(site.getsitepackages()[0])')
	echo "import site; site.addsitedir('$$packages')" > "$$($(COLCON)/bin/python -c 'import site; print(site.getsitepackages()[0])')/vla_agent_packages.pth"
	$(BIN)/python -m pytest tests/package/test_colcon.py

install: $(STAMPS)/install ## the virtual environment and the package
install-dev: $(STAMPS)/install-dev ## the same, with the tools for tests and rclpy

system: ## software OpenGL (EGL) and the venv module from apt, where they are missing and this user may install them
	@if ! command -v apt-get > /dev/null; then exit 0; fi
	missing=()
	[[ "$$(/sbin/ldconfig -p)" == *libEGL.so.1* ]] || missing+=(libegl1)
	[[ "$$(/sbin/ldconfig -p)" == *libEGL_mesa.so.0* ]] || missing+=(libegl-mesa0 libgl1-mesa-dri)
	command -v $(PYTHON) > /dev/null || missing+=($(notdir $(PYTHON)))
	$(PYTHON) -c 'import ensurepip, venv' 2> /dev/null || missing+=($(notdir $(PYTHON))-venv)
	if (( $${#missing[@]} == 0 )); then exit 0; fi
	sudo=; if [[ $$(id -u) != 0 ]]; then sudo=sudo; fi
	if [[ -n $$sudo ]] && ! sudo -n true 2> /dev/null; then
	  echo "missing, and no rights to install them: sudo apt-get install $${missing[*]}"; exit 0
	fi
	echo "installing $${missing[*]}"
	$$sudo apt-get update -qq
	$$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$${missing[@]}" > /dev/null

$(STAMPS)/venv: | system
	@if ! command -v $(PYTHON) > /dev/null; then echo "$(PYTHON) is missing: install it, or say make PYTHON=python3.12"; exit 2; fi
	if ! $(PYTHON) -c 'import ensurepip, venv' 2> /dev/null; then echo "the venv module is missing: apt-get install python3-venv"; exit 2; fi
	[ -x $(BIN)/python ] && $(BIN)/python -m pip --version > /dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	mkdir -p $(STAMPS); touch $@

# The CPU build of torch where there is no NVIDIA driver: 200 MB against 3 GB.  First from the indexes that pip is set up with,
# then from PyTorch's own CPU index, at last whatever build the indexes have.
$(STAMPS)/torch: $(STAMPS)/venv constraints.txt
	@if $(BIN)/python -c 'import torch, sys; sys.exit(torch.__version__.split("+")[0] != "$(TORCH_VERSION)")' 2> /dev/null; then touch $@; exit 0; fi
	echo "installing PyTorch into $(VENV)"
	if command -v nvidia-smi > /dev/null; then
	  $(INSTALL) "torch==$(TORCH_VERSION)"
	else
	  $(INSTALL) "torch==$(TORCH_VERSION)+cpu" 2> /dev/null \
	    || $(INSTALL) "torch==$(TORCH_VERSION)+cpu" --index-url $(TORCH_CPU_INDEX) \
	    || $(INSTALL) "torch==$(TORCH_VERSION)"
	fi
	touch $@

$(STAMPS)/install: $(STAMPS)/torch setup.py setup.cfg
	@echo "installing the package and what it needs into $(VENV): one to three minutes"
	$(INSTALL) -c constraints.txt -e .
	touch $@

$(STAMPS)/install-dev: $(STAMPS)/torch setup.py setup.cfg
	@echo "installing the package, its tools and what they need into $(VENV): one to three minutes"
	$(INSTALL) -c constraints.txt -e '.[dev,docs,ros-wheels]'
	touch $@ $(STAMPS)/install

clean: ## remove caches and builds; runs, datasets and the environment stay
	@rm -rf build dist ./*.egg-info .pytest_cache .mypy_cache .ruff_cache
	find . -path ./$(VENV) -prune -o -name __pycache__ -type d -print0 | xargs -0 rm -rf
