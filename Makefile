# make demo     run the demo; needs only Python 3.11 or newer
# make kafka    run a real Kafka until Ctrl-C, with Java 17 and Maven or with Docker; TOPICS="orders:12 events"
# make test     run every test; Kafka comes from Java and Maven, from Docker, or from PROCESSOR_TEST_BOOTSTRAP_SERVERS
# make test-monitoring  test the shipped monitoring on a real collector and store, built once by Go (4 minutes)
# make test-image  build the image with buildah and run it; as root, with Debian's buildah and mmdebstrap (2 minutes)
# make test-cluster  test the chart in a control plane of Kubernetes, built once by Go (8 minutes)
# make quick    run the tests that need no server
# make lint     run ruff, mypy and import-linter
# make wheel    build the distribution session-processor as a wheel in dist/; DIST=/another/folder; PURE=1 compiles nothing to C
# make test-compiled  test the engine and delivery on the compiled wheel, installed by itself; needs a C compiler (3 minutes)
# make bench    measure throughput and latency, and compare; QUICK=1 to try it, ROWS="nothing 1ms" ARMS="consume processor" ROUNDS=3
#               ENGINE=compiled measures the compiled wheel, also for make bench-sweeps
# make bench-sweeps   measure how costs grow, one parameter at a time
# make bench-page     write the last results of both into docs/PERFORMANCE.md
# make chaos    inject faults on a real Kafka for ten minutes, and report the results; MINUTES=60 SEED=7 ONLY="kill the broker"
# make clean    delete everything that was made here except the downloads in .cache

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
DIST ?= dist
WAITING := tests/chaos tests/integration
COMPILED_QUICK := tests/engine $(patsubst %,tests/runtime/test_%.py,commits consuming exactly_once failures hot_sessions \
  joins sessions terms)
COMPILED_DELIVERY := tests/integration/test_delivery.py -k 'once or kill or come_and_go'
COMPILED_BENCH := .bench/compiled
COMPILED_TOOLS := hypothesis jsonschema psutil pytest pytest-timeout pytest-xdist
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: help demo kafka test prepare-compiled test-compiled test-monitoring test-image test-cluster quick lint wheel bench bench-sweeps bench-page chaos clean
.DEFAULT_GOAL := help

help:
	@sed -n 's/^# \(make .*\)/\1/p' Makefile

demo: $(VENV)/.installed
	$(BIN)/processor demo

kafka: $(VENV)/.installed-dev
	@$(BIN)/python -m tests.support.run_broker $(or $(TOPICS),orders)

# The engine's tests run first and alone, since they must cover every branch of it by themselves. They only compute, so two
# processes run them. The other tests mostly wait: for processes to start, sessions to expire and servers to return. Three
# processes run them, each with its own broker. The tests of a file stay in one process and share what the file builds.
test: $(VENV)/.installed-dev
	@status=0; set -x; rm -f .coverage .coverage.*; \
	  $(BIN)/coverage run --rcfile=tests/engine/coverage.ini -m pytest tests/engine --numprocesses=2 --durations=10 || status=1; \
	  $(BIN)/coverage combine --quiet || status=1; \
	  $(BIN)/coverage report --fail-under=100 || status=1; \
	  $(BIN)/python -m pytest $(addprefix --ignore=,tests/engine $(WAITING)) --numprocesses=3 --dist=loadfile \
	    --durations=10 || status=1; \
	  $(BIN)/python -m pytest $(WAITING) --numprocesses=3 --dist=loadgroup --durations=15 || status=1; \
	  exit $$status

test-monitoring: $(VENV)/.installed-dev
	$(BIN)/python -m tests.support.go_tools $(BUILD_SECONDS)
	PROCESSOR_TEST_MONITORING=1 $(BIN)/python -m pytest tests/monitoring --durations=15

# Installs the compiled wheel and the tools of the tests into the folder COMPILED. It is outside the checkout, so that only
# the wheel can be imported as `processor`.
prepare-compiled: $(VENV)/.installed-dev
	@if $(BIN)/python -m tests.support.c_compiler 'the compiled engine is not built'; then set -ex; \
	  $(MAKE) --no-print-directory wheel DIST='$(COMPILED)/dist'; \
	  $(BIN)/python -m venv '$(COMPILED)/venv'; \
	  '$(COMPILED)/venv/bin/pip' install --quiet --disable-pip-version-check --constraint constraints.txt \
	    '$(COMPILED)'/dist/*.whl $(COMPILED_TOOLS); \
	  touch '$(COMPILED)/prepared'; fi

# COMPILED is a folder that `prepare-compiled` has filled from the same source. Without it, a new folder is filled. State
# machines, whose test is called runTest, take long and are tested on the Python engine only.
test-compiled: $(VENV)/.installed-dev
	@if $(BIN)/python -m tests.support.c_compiler 'skipped, the compiled engine is not tested'; then set -ex; \
	  bare='$(COMPILED)'; if [ ! -e "$$bare/prepared" ]; then \
	    bare=$$(mktemp -d); trap 'rm -rf "$$bare"' EXIT; \
	    $(MAKE) --no-print-directory prepare-compiled COMPILED="$$bare"; fi; \
	  cp -r tests docs schemas pyproject.toml "$$bare"; \
	  export PROCESSOR_TEST_ENGINE=compiled PROCESSOR_TEST_CACHE="$${PROCESSOR_TEST_CACHE:-$(CURDIR)/.cache}"; \
	  cd "$$bare"; venv/bin/python -m pytest $(COMPILED_QUICK) -k 'not runTest' --numprocesses=2 --durations=5; \
	  venv/bin/python -m pytest $(COMPILED_DELIVERY) --numprocesses=2 --durations=5; fi

test-image: $(VENV)/.installed-dev
	$(BIN)/python -m tests.support.image_base $(BUILD_SECONDS)
	PROCESSOR_TEST_IMAGE=1 $(BIN)/python -m pytest tests/deploy/test_built_image.py --durations=5

test-cluster: $(VENV)/.installed-dev
	$(BIN)/python -m tests.cluster.parts $(BUILD_SECONDS)
	PROCESSOR_TEST_CLUSTER=1 $(BIN)/python -m pytest tests/cluster --durations=5

quick: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -m "not broker and not registry"

lint: $(VENV)/.installed-dev
	@status=0; for tool in "ruff check" "ruff format --check" mypy lint-imports; do \
	  echo "$(BIN)/$$tool"; $(BIN)/$$tool || status=1; done; exit $$status

# pip builds in an isolated environment. The variables pin what it installs there, for older and newer versions of pip.
WHEEL = PIP_CONSTRAINT='$(CURDIR)/constraints.txt' PIP_BUILD_CONSTRAINT='$(CURDIR)/constraints.txt' \
  $(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir '$(DIST)'

# The engine is compiled if a C compiler is installed. This happens in a copy: the compiler writes its files beside the
# sources, and an editable installation would import them.
wheel: $(BIN)/python
	@if [ -z '$(PURE)' ] && $(BIN)/python -m tests.support.c_compiler 'the engine of this wheel is not compiled'; then \
	  copy=$$(mktemp -d) && trap 'rm -rf "$$copy"' EXIT && \
	  cp -r pyproject.toml README.md LICENSE schemas processor "$$copy" && \
	  HATCH_BUILD_HOOK_ENABLE_MYPYC=1 $(WHEEL) "$$copy"; \
	else $(WHEEL) .; fi
	@ls '$(DIST)'/session_processor-*.whl

# The benchmark measures the checkout, or the compiled wheel in a folder where only the wheel can be imported as `processor`.
MEASURED := $(if $(filter compiled,$(ENGINE)),$(COMPILED_BENCH)/prepared,$(VENV)/.installed-bench)
MEASURE := $(if $(filter compiled,$(ENGINE)),cd $(COMPILED_BENCH) && venv/bin/python,$(BIN)/python)

bench: $(MEASURED)
	$(MEASURE) -m tests.bench --rows '$(ROWS)' --arms '$(ARMS)' --rounds $(or $(ROUNDS),3) --out '$(CURDIR)/.bench' $(if $(QUICK),--quick)

bench-sweeps: $(MEASURED)
	$(MEASURE) -m tests.bench.sweeps --sweeps '$(SWEEPS)' --rounds $(or $(ROUNDS),1) --out '$(CURDIR)/.bench' $(if $(QUICK),--quick)

$(COMPILED_BENCH)/prepared: $(shell find processor -name '*.py') pyproject.toml constraints.txt
	rm -rf $(COMPILED_BENCH) && mkdir -p $(COMPILED_BENCH) .cache .venv-bench
	$(MAKE) --no-print-directory prepare-compiled COMPILED='$(COMPILED_BENCH)' COMPILED_TOOLS='jsonschema psutil'
	@test -e $@ || { echo 'ENGINE=compiled needs a C compiler'; exit 1; }
	ln -s $(addprefix $(CURDIR)/,tests docs schemas .cache .venv-bench pyproject.toml constraints.txt) $(COMPILED_BENCH)

bench-page: $(VENV)/.installed-bench
	$(BIN)/python -m tests.bench.page

chaos: $(VENV)/.installed-dev
	$(BIN)/python -m tests.chaos --minutes $(or $(MINUTES),8.5) $(if $(SEED),--seed $(SEED)) $(if $(ONLY),--only '$(ONLY)')

clean:
	rm -rf $(VENV) .venv-bench .bench dist .coverage .hypothesis .pytest_cache .mypy_cache .ruff_cache .import_linter_cache

# Each kind of installation has a stamp file, so that a second call installs nothing. New dependencies make it stale.
$(VENV)/.installed: $(BIN)/python pyproject.toml constraints.txt
	$(INSTALL) --editable .
	@touch $@

$(VENV)/.installed-dev: $(BIN)/python pyproject.toml constraints.txt
	$(INSTALL) --editable '.[dev]'
	@touch $@ $(VENV)/.installed

$(VENV)/.installed-bench: $(BIN)/python pyproject.toml constraints.txt
	$(INSTALL) --editable '.[bench]'
	@touch $@ $(VENV)/.installed

# This rule has no prerequisites: the link has the date of the interpreter, so only its existence is checked.
$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "processor needs Python 3.11 or newer, and '$(PYTHON)' is not: make PYTHON=/path/to/python3" >&2; exit 2; }
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 2; }  # otherwise the next call would take an incomplete one as complete
