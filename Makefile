# What a newcomer types: make demo, make test. Everything is installed where it is missing:
# Debian packages by apt (with sudo unless root), Python packages into .venv.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)
EMBEDDED ?=
CALLS ?= 500
SECONDS ?= 600
MINUTES ?= 30
BASE ?= main
TIMES ?= 10
SUITE ?=
FILES ?= tests
LONG ?=
SEED ?=
ONLY ?=
FRESH ?=
BASE_IMAGE ?=
RELEASE := $(VENV)/release/bin
LOCKED := $(VENV)/locked

# What is imported is compiled once, not anew by every process that a test starts, whatever the environment says.
export PYTHONDONTWRITEBYTECODE :=

# Tests that put load on, or in which everything is killed: one at a time. The others run side by side;
# most of their time is waiting, so more of them than there are cores.
ALONE := $(addprefix tests/system/,test_calls.py test_chaos.py test_scaling.py)
BESIDE ?= 3
PYTEST_BESIDE := $(BIN)/pytest -n $(BESIDE) --dist loadfile --no-loadscope-reorder

SIP := kamailio kamailio-extra-modules kamailio-python3-modules sip-tester
SERVERS := rabbitmq-server redis-server openssl
IMAGE := buildah podman runc catatonit containernetworking-plugins mmdebstrap
# Debian's npm brings some 400 packages: only where nobody has put another there.
NODE := $(shell command -v node >/dev/null && command -v npm >/dev/null || echo nodejs npm)
DEBIAN := python3-venv $(SIP) $(if $(EMBEDDED),,$(SERVERS))

.PHONY: help
help: ## show this
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

.PHONY: install
install: debian $(VENV)/.installed ## install what is missing: Debian packages and .venv

.PHONY: debian
debian:
	@missing=; for package in $(DEBIAN); do \
	  dpkg-query -W -f '$${Status}' $$package 2>/dev/null | grep -q '^install ok installed' || missing="$$missing $$package"; \
	done; \
	if [ -n "$$missing" ]; then \
	  echo "installing Debian packages:$$missing"; \
	  $(SUDO) apt-get update -qq && \
	  $(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing >/dev/null; \
	fi

$(VENV)/.installed: pyproject.toml | debian
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or later is needed: make PYTHON=python3.11 ..."; exit 1; }
	@echo "installing Python packages into $(VENV)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install -q --disable-pip-version-check -e '.[dev]'
	@touch $@

.PHONY: demo
demo: install ## 500 real SIP calls decided by consumers (EMBEDDED=1: without RabbitMQ and Redis)
	@$(BIN)/python -m tests.demo --calls $(CALLS) $(if $(EMBEDDED),--embedded)

.PHONY: lint
lint: install ## ruff, mypy --strict, import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --verbose | tail -12

.PHONY: test
test coverage: DEBIAN += prometheus systemd kamailio-utils-modules baresip-core $(IMAGE) $(NODE)
test: install node ## lint and every test, with the real servers
	@$(MAKE) --no-print-directory -j 2 lint test-beside
	$(BIN)/pytest $(ALONE)

# Beside the linters: these tests wait more than they work. One process compiles the tests for all that run them.
.PHONY: test-beside
test-beside: install
	@$(BIN)/pytest --collect-only -q tests >/dev/null || true
	$(PYTEST_BESIDE) tests $(ALONE:%=--ignore=%)

# Counting lines and branches makes what runs in the tests' own process twice as slow.
.PHONY: coverage
coverage: install node ## every test with lines and branches counted; fails below 95 % (about 15 minutes)
	$(PYTEST_BESIDE) --cov --cov-report= --cov-fail-under=0 tests $(ALONE:%=--ignore=%)
	$(BIN)/pytest --cov --cov-append --cov-report=term:skip-covered $(ALONE)

.PHONY: unit
unit: DEBIAN :=
unit: $(VENV)/.installed ## the tests that need no server and no Debian package (2,900 tests in a minute or two)
	$(BIN)/pytest -n $(BESIDE) --unit tests

.PHONY: bare
bare: DEBIAN += mmdebstrap
bare: install ## README as typed, from its top, on a Debian that has only git and make (SUITE=trixie; about 20 minutes each, as root)
	@$(BIN)/python -m tests.matrix.bare $(SUITE)

.PHONY: again
again: install ## the same tests TIMES times, which must pass each time (FILES='tests/relay tests/system/test_names.py')
	@for round in $$(seq $(TIMES)); do echo "round $$round of $(TIMES)"; \
	  $(PYTEST_BESIDE) $(FILES) || exit 1; done

.PHONY: conformance
conformance: DEBIAN += $(NODE)
conformance: install ## the conformance kit at consumers that are right, TIMES times each: no false alarm
	@$(BIN)/python -m tests.conformance.again --times $(TIMES)

.PHONY: matrix
matrix: DEBIAN += prometheus kamailio-utils-modules baresip-core mmdebstrap $(NODE)
matrix: install node ## tests and demo against each version of servers and Python, into COMPATIBILITY.md (about 45 minutes; ONLY='*-sid', FRESH=1)
	@$(SUDO) $(if $(SUDO),--preserve-env) $(BIN)/python -m tests.matrix $(if $(ONLY),--only '$(ONLY)') $(if $(FRESH),--fresh)

# Here, as much of the matrix runs without a network.
.PHONY: node
node: DEBIAN += $(NODE)
node: install
	@$(BIN)/python -m tests.harness.node

.PHONY: test-long
test-long: install ## properties with ten times as many examples (about 15 minutes)
	EXAMPLES=10 $(BIN)/pytest -n 2 --dist loadfile -m hypothesis --timeout 600 tests

.PHONY: compare
compare: DEBIAN += kamailio-utils-modules kamailio-rabbitmq-modules
compare: install ## this against Kamailio's blocking modules, side by side (about 6 minutes)
	@$(BIN)/python -m tests.bench.compare

.PHONY: bench
bench: DEBIAN += kamailio-utils-modules kamailio-rabbitmq-modules
bench: install ## every figure beside a plain bridge, into BENCHMARKS.md (about 15 minutes)
	@$(BIN)/python -m tests.bench.figures --markdown BENCHMARKS.md

.PHONY: versus
versus: install ## CPU per call of this tree over that of another revision, in turn: BASE=main (about 5 minutes)
	@$(BIN)/python -m tests.bench.versus --base $(BASE)

.PHONY: fanout
fanout: install ## CPU per call that three services decide over one that one decides (about 2 minutes)
	@$(BIN)/python -m tests.bench.fanout

.PHONY: notices
notices: install ## CPU per call that is told of by three notices over one that is not, at 500 calls/s (about 2 minutes)
	@$(BIN)/python -m tests.bench.notices

.PHONY: bench-commands
bench-commands: install ## CPU per call at 500 calls/s beside commands, over without (about 2 minutes)
	@$(BIN)/python -m tests.bench.commands

.PHONY: hangups
hangups: install ## hang up 200 running calls at 50/s, also with the active replica killed half-way (about 2 minutes)
	@$(BIN)/python -m tests.commands.hangups

.PHONY: scale
scale: install ## throughput by consumers, and 20 Kamailios on 4 adapters that come and go, into BENCHMARKS.md (about 4 minutes)
	@$(BIN)/python -m tests.bench.scale --markdown BENCHMARKS.md

.PHONY: soak
soak: install ## memory over MINUTES=30 at 1,000 calls/s, into BENCHMARKS.md
	@$(BIN)/python -m tests.bench.figures --only soak --soak $(MINUTES) --markdown BENCHMARKS.md

.PHONY: stale
stale: install ## what 200,000 replies that nobody needs cost an adapter that starts (about 3 minutes)
	@$(BIN)/python -m tests.bench.stale

.PHONY: fuzz
fuzz: install ## fuzz what reads from a socket (SECONDS=600 for all of it)
	@$(BIN)/python -c 'import atheris' 2>/dev/null || $(BIN)/pip install -q --disable-pip-version-check -e '.[fuzz]'
	@$(BIN)/python -m tests.fuzz --seconds $(SECONDS)

.PHONY: pictures
pictures: install ## draw the pictures of README.md anew
	@$(BIN)/python -m tests.pictures

# The schema of AsyncAPI comes with its parser, which is an npm package: make test needs none.
ASYNCAPI := $(VENV)/asyncapi
ASYNCAPI_PARSER := 3.6.6

$(ASYNCAPI)/.$(ASYNCAPI_PARSER): | debian
	@npm install --silent --no-audit --no-fund --no-package-lock --prefix $(ASYNCAPI) @asyncapi/parser@$(ASYNCAPI_PARSER)
	@touch $@

CLIENTS := $(VENV)/clients
$(CLIENTS)/.installed: tests/clients/requirements.txt | install
	@echo "installing clients into $(CLIENTS)"
	@$(PYTHON) -m venv --clear $(CLIENTS)
	@$(CLIENTS)/bin/pip install -q --disable-pip-version-check -r tests/clients/requirements.txt
	@touch $@

.PHONY: clients
clients: DEBIAN += $(NODE) golang-go golang-github-rabbitmq-amqp091-go-dev ruby-bunny php-cli php-msgpack php-amqplib \
	librabbitmq-client-java $(if $(shell command -v javac),,default-jdk-headless) \
	gcc pkg-config libssl-dev python3-dev
clients: install $(CLIENTS)/.installed ## the smallest consumer of each client library, and what comes of it, into consumers/README.md (about 2 minutes)
	@$(BIN)/python -m tests.clients --python $(CLIENTS)/bin/python

.PHONY: phones
phones: DEBIAN += baresip-core mmdebstrap
phones: install ## a real phone (baresip) and a real Asterisk, which a Debian sid in a folder has (2 minutes, the first time 5; as root)
	@$(BIN)/python -m tests.harness.asterisk
	$(BIN)/pytest tests/phones/test_phone.py tests/phones/asterisk_calls.py

.PHONY: contract
contract: DEBIAN += $(NODE)
contract: install $(ASYNCAPI)/.$(ASYNCAPI_PARSER) ## write consumers/contract from the code; fails where it has changed, or is no valid AsyncAPI
	@$(BIN)/python -m tests.contract_files; changed=$$?; \
	  node tests/contract_files/validate.mjs $(ASYNCAPI) consumers/contract/asyncapi.json && exit $$changed

.PHONY: contract-diff
contract-diff: install ## whether the contract, as the code has it, breaks consumers that hold to that of BASE=main
	@$(BIN)/python -m tests.contract_files --base $(BASE)

.PHONY: chaos
chaos: DEBIAN += faketime
chaos: install ## what becomes of calls when anything dies or is cut off (about 30 minutes; LONG=30: pairs for so long)
	@$(BIN)/python -m tests.chaos $(if $(LONG),--long $(LONG),--pairs 12 --random 600) $(if $(SEED),--seed $(SEED))

.PHONY: hooks
hooks: install $(RELEASE)/.installed ## lint before each git commit
	@$(RELEASE)/pre-commit install

# Tools of releases have dependencies of their own, so they have an environment of their own.
$(RELEASE)/.installed: helm/locks/tools.txt helm/locks/build.txt | install
	@echo "installing Python packages into $(VENV)/release"
	@$(PYTHON) -m venv $(VENV)/release
	@$(RELEASE)/pip install -q --disable-pip-version-check --require-hashes -r helm/locks/tools.txt -r helm/locks/build.txt
	@touch $@

# What the image has, as this machine's Python takes it.
$(LOCKED)/.installed: helm/locks/requirements.txt $(RELEASE)/.installed
	@$(RELEASE)/uv venv -q --clear --python $(PYTHON) $(LOCKED)
	@$(RELEASE)/uv pip install -q --python $(LOCKED) --require-hashes --only-binary :all: -r helm/locks/requirements.txt
	@touch $@

COMPILE = $(RELEASE)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --custom-compile-command "make lock"

.PHONY: lock
lock: $(RELEASE)/.installed ## lock what the image and the releases are made of (UPGRADE=1: the newest of all)
	@$(COMPILE) $(if $(UPGRADE),--upgrade) --extra otel pyproject.toml -o helm/locks/requirements.txt
	@$(COMPILE) $(if $(UPGRADE),--upgrade) helm/locks/build.in -o helm/locks/build.txt
	@$(COMPILE) $(if $(UPGRADE),--upgrade) helm/locks/tools.in -o helm/locks/tools.txt

.PHONY: wheel
wheel: $(RELEASE)/.installed ## wheel and source archive, into dist
	@rm -f dist/*.whl dist/*.tar.gz
	@$(RELEASE)/python -m hatchling build -d dist

.PHONY: binaries
binaries: wheel ## the wheel installs on Python 3.11 to 3.15 with nothing built from source
	@$(BIN)/python -m tests.release.binaries $$(ls dist/*.whl)

# Each licence of a dependency, word for word; another one is to be looked at before it is added here.
LICENCES := MIT;MIT License;Apache-2.0;Apache Software License;Apache-2.0 AND MIT;Apache-2.0 AND BSD-2-Clause;MIT OR Apache-2.0;$\
	BSD-2-Clause;BSD-3-Clause;3-Clause BSD License;ISC;ISC License (ISCL);PSF-2.0;Python Software Foundation License;$\
	Mozilla Public License 2.0 (MPL 2.0)

.PHONY: audit
audit: $(LOCKED)/.installed ## known vulnerabilities (needs the internet) and licences of all that the image has
	@$(RELEASE)/pip-licenses --python $(LOCKED)/bin/python --with-system --summary --allow-only "$(LICENCES)"
	@$(RELEASE)/pip-audit --strict --require-hashes --disable-pip -r helm/locks/requirements.txt || { \
	  echo "make audit: FAILED. Where it says 'could not be audited' or names no connection, the list of vulnerabilities (PyPI's JSON interface) could not be asked, and NOTHING IS KNOWN: run it where that can be reached."; exit 1; }

.PHONY: image
image: DEBIAN += $(IMAGE)
image: install ## the image, by buildah (BASE_IMAGE=...; BASE_IMAGE=debian: made here by mmdebstrap)
	@$(BIN)/python -m tests.release.image build --base "$(BASE_IMAGE)"

.PHONY: reproducible
reproducible: DEBIAN += $(IMAGE)
reproducible: install ## wheel, source archive and image built twice, and the same (BASE_IMAGE as above)
	@$(BIN)/python -m tests.release.image twice --base "$(BASE_IMAGE)"

.PHONY: sbom
sbom: image wheel ## what wheel and image are made of, as CycloneDX, into dist (BASE_IMAGE as above)
	@$(RELEASE)/python -m tests.release.sbom $$(ls dist/*.whl) $$($(BIN)/python -m tests.release.image name)

.PHONY: clean
clean: ## remove what was built; Debian packages stay
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache .fuzz .coverage dist $(addprefix consumers/node/,node_modules types .installing) $(addprefix tests/clients/node/,node_modules .installing)
