# Hashwarden: everything one does with a checkout. Needs Python >= 3.11 and make.
#
#   make serve      set up, import the demo list, start the service on loopback
#   make test       set up, run the tests
#   make lint       style, types, import contracts, protos, Dockerfile
#   make help       all targets

.SHELLFLAGS := -eu -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

PYTHON  ?=
VENV    ?= .venv
DATA    ?= data
JOBS    ?= 2
ADDRESS ?= 127.0.0.1:50051
LISTS   ?= 127.0.0.1:50052

BIN    := $(VENV)/bin
STAMPS := $(VENV)/.stamps
APP    := $(STAMPS)/app
TEST   := $(STAMPS)/test
LINT   := $(STAMPS)/lint
BENCH  := $(STAMPS)/bench

# What tools written in Python, and the generator of gRPC code, are run with.
PY := $(BIN)/python
GENERATE := $(PY) .ci/generate_protos.py

# Modules are compiled once, whatever the environment says: the many processes that tests start
# would each compile all of them again.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: help
help: ## What can be made
	@sed -nE 's/^([a-z-]+):.*## (.*)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 24

# --- the environment -------------------------------------------------------------------------

# An environment that somebody else made is used as it is; a half-made one is made anew.
$(STAMPS)/venv:
	@$(call make_environment)
	@mkdir -p $(STAMPS) && touch $@

define make_environment
if ! $(PY) -c 'import pip, sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
  python=''; \
  for candidate in $(or $(PYTHON),python3.13 python3.12 python3.11 python3.14 python3 python); do \
    if "$$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; \
    then python="$$candidate"; break; fi; \
  done; \
  if [ -z "$$python" ]; then \
    echo 'Hashwarden needs Python 3.11 or newer, and none was found.' >&2; \
    echo 'Debian, Ubuntu: apt-get install python3 python3-venv' >&2; \
    echo 'or name one:    make PYTHON=/path/to/python3' >&2; exit 1; \
  fi; \
  if ! "$$python" -c 'import venv, ensurepip' >/dev/null 2>&1; then \
    version=$$("$$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])'); \
    echo "$$python lacks the modules venv and ensurepip, a package of their own here." >&2; \
    echo "Debian, Ubuntu: apt-get install python$$version-venv (or python3-venv)" >&2; exit 1; \
  fi; \
  echo "Creating $(VENV) with $$("$$python" --version)"; \
  "$$python" -m venv --clear $(VENV); \
fi; \
$(PY) -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'
endef

INSTALL = $(PY) -m pip install --quiet --disable-pip-version-check

$(APP): pyproject.toml README.md LICENSE | $(STAMPS)/venv
	@echo 'Installing Hashwarden'
	@$(INSTALL) --editable .
	@touch $@

$(TEST): pyproject.toml | $(APP)
	@echo 'Installing what the tests need'
	@$(INSTALL) --group test
	@touch $@

$(LINT): pyproject.toml | $(APP) $(TEST)
	@echo 'Installing the linters and the generator of gRPC code'
	@$(INSTALL) --group lint
	@touch $@

$(BENCH): pyproject.toml | $(APP)
	@echo 'Installing what the benchmarks compare with'
	@$(INSTALL) --group bench --group test
	@touch $@

.PHONY: setup
setup: $(APP) $(TEST) $(LINT) ## The environment with all tools of a developer

# --- running ---------------------------------------------------------------------------------

.PHONY: demo
demo: $(APP) ## Harmless images and their list, imported into $(DATA)
	@mkdir -p -m 700 $(DATA)
	@$(PY) -m matcher.demo $(DATA)/demo >/dev/null
	@$(BIN)/hashwarden --data $(DATA) lists import $(DATA)/demo/demo-list.vics.json \
	  --list demo --format vics --harm test --source 'Hashwarden demo'

.PHONY: serve
serve: demo ## Set up, import the demo list, start the service on loopback
	@printf '%s\n' '' \
	  'Once it says that it serves, try in another terminal, in this folder:' '' \
	  "  $(BIN)/hashwarden match $(DATA)/demo/recompressed.jpg --server $(ADDRESS)" '' \
	  'or any generic gRPC client, which finds the methods by reflection, such as' \
	  "($(BIN)/pip install buf-bin):" '' \
	  "  $(BIN)/buf curl --protocol grpc --http2-prior-knowledge --data '{\"page_size\": 10}' \\" \
	  "    http://$(LISTS)/hashwarden.lists.v1.HashListService/ListHashLists" ''
	@HASHWARDEN_LISTS_LISTEN=$(LISTS) exec $(BIN)/hashwarden --data $(DATA) serve --listen $(ADDRESS)

# --- tests -----------------------------------------------------------------------------------

PYTEST := $(PY) -m pytest
# Measuring slows down every test and every process that one starts: `.ci/run` asks for it.
# `python -m coverage report` shows it by file afterwards.
COVERAGE ?=
MEASURED := --cov --cov-report=xml:build/coverage.xml

.PHONY: test
test: $(APP) $(TEST) ## The tests (ARGS='-k name' for some; COVERAGE=1 with branch coverage)
	@mkdir -p build
	HYPOTHESIS_PROFILE=$${HYPOTHESIS_PROFILE:-everyday} $(PYTEST) -n $(JOBS) --dist worksteal \
	  -m 'not slow and not long' $(if $(COVERAGE),$(MEASURED)) --junitxml=build/tests.xml $(ARGS)

.PHONY: test-slow
test-slow: $(APP) $(TEST) ## The slow tests, which `make test` leaves to CI
	@mkdir -p build
	HYPOTHESIS_PROFILE=$${HYPOTHESIS_PROFILE:-ci} $(PYTEST) -n $(JOBS) --dist worksteal \
	  -m slow --junitxml=build/tests-slow.xml $(ARGS)

.PHONY: test-long
test-long: $(APP) $(TEST) ## Every test, the longest included, with many more examples
	HYPOTHESIS_PROFILE=long $(PYTEST) -n $(JOBS) --dist worksteal --timeout 3600 $(ARGS)

INPUTS ?= 100000
FUZZERS := $(sort $(wildcard tests/fuzz/fuzz_*.py))

.PHONY: fuzz
fuzz: $(APP) $(TEST) ## Mutated inputs against the decoder and the list readers (INPUTS=100000 each)
	@printf '%s\n' $(FUZZERS) | xargs -P $(JOBS) -I FUZZER $(PY) FUZZER --inputs $(INPUTS)

BENCHMARKS ?= hashing decode_hash import_formats export_formats index live soak stages peers scan

.PHONY: bench
bench: $(APP) $(BENCH) ## The benchmarks beside their peers (ARGS=--smoke for a quick look)
	@missed=''; for benchmark in $(BENCHMARKS); do \
	  echo "$(PY) -m loadtest.$$benchmark $(ARGS)"; \
	  $(PY) -m loadtest.$$benchmark $(ARGS) || missed="$$missed $$benchmark"; \
	done; \
	if [ -n "$$missed" ]; then echo "failed, or missed what is required:$$missed" >&2; exit 1; fi

SCENARIO ?= two_minutes

.PHONY: loadtest
loadtest: $(APP) $(BENCH) ## A load test with its report (SCENARIO=ci, or another of loadtest/scenarios)
	$(PY) -m loadtest.run loadtest/scenarios/$(SCENARIO).toml $(ARGS)

# --- checks ----------------------------------------------------------------------------------

.PHONY: lint
lint: lint-python check-protos lint-protos lint-docker ## Every check that is not a test

.PHONY: lint-python
lint-python: $(LINT)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

.PHONY: lint-docker
lint-docker: $(LINT)
	$(BIN)/hadolint Dockerfile

.PHONY: lint-protos
lint-protos: $(LINT) protodeps
	$(BIN)/buf lint
	$(BIN)/buf format protos --diff --exit-code
	@$(call check_breaking)

# The wire contract is compared with the last release, or with the main line before the first, or
# with what BREAKING_AGAINST names.
define check_breaking
against=$$($(PY) .ci/earlier_protos.py); \
if [ -z "$$against" ]; then exit 0; fi; \
echo "buf breaking against $$against"; \
rm -rf build/breaking && mkdir -p build/breaking; \
git archive --output build/breaking/protos.tar "$$against" protos; \
tar -xf build/breaking/protos.tar -C build/breaking; \
cp buf.yaml build/breaking/; \
$(GENERATE) third-party build/breaking/build/protodeps; \
$(BIN)/buf build build/breaking -o build/breaking/earlier.binpb; \
$(BIN)/buf build -o build/breaking/present.binpb; \
$(BIN)/buf breaking build/breaking/present.binpb --against build/breaking/earlier.binpb
endef

# --- generated code --------------------------------------------------------------------------

.PHONY: protos
protos: $(LINT) ## Generate matcher/_proto from protos/
	$(GENERATE) generate matcher/_proto

.PHONY: check-protos
check-protos: $(LINT) ## Fail where matcher/_proto is not what protos/ gives
	@rm -rf build/generated
	@$(GENERATE) generate build/generated
	@diff -rq --exclude=__pycache__ build/generated matcher/_proto \
	  || { echo 'matcher/_proto is stale: run make protos and commit it' >&2; exit 1; }
	@echo 'matcher/_proto is fresh'

.PHONY: protodeps
protodeps: $(LINT) ## Lay the third-party protos where buf looks for them
	@$(GENERATE) third-party build/protodeps

# --- packages --------------------------------------------------------------------------------

.PHONY: wheel
wheel: $(TEST) ## The wheel, in dist/
	$(PY) -m build --wheel --no-isolation --outdir dist

.PHONY: clean
clean: ## Remove what was built; keeps $(VENV) and $(DATA)
	rm -rf build dist htmlcov .coverage .coverage.* .mypy_cache .ruff_cache .pytest_cache \
	  .hypothesis .import_linter_cache
	find hashlists matcher loadtest tests .ci -name __pycache__ -prune -exec rm -rf {} +
