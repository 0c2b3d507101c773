# pywsgi: build, run, test, install. `make help` lists the targets and the variables.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
# cargo and pip run their own jobs in parallel; our targets do not.
.NOTPARALLEL:

## BUILD: release, debug, or sanitize (AddressSanitizer; needs rustup's nightly toolchain and NGINX=1.28)
BUILD ?= release
## PYTHON: the Python to embed; its headers and libpython must be installed
PYTHON ?= /usr/bin/python3
## NGINX: the nginx for `make run`, `make test` and `make install`; or a version to build from source (1.28)
NGINX ?= $(or $(wildcard /usr/sbin/nginx),$(shell command -v nginx),nginx)
## NGINX_SOURCE_DIR: nginx's sources or headers (default: those of Debian's nginx-dev)
## NGINX_BUILD_DIR: where they are configured (default: target/nginx-objs)
ifneq ($(NGINX_BUILD_DIR),)
  NGINX_SOURCE_DIR ?= $(if $(wildcard $(NGINX_BUILD_DIR)/../src/core/nginx.h),$(abspath $(NGINX_BUILD_DIR)/..),/usr/share/nginx/src)
endif
NGINX_SOURCE_DIR ?= /usr/share/nginx/src
TARGET_DIR := $(abspath $(or $(CARGO_TARGET_DIR),target))
# A version instead of a path: build that nginx from source, and the module for it.
NGINX_VERSION := $(shell echo '$(NGINX)' | grep -xE '[0-9]+\.[0-9]+(\.[0-9]+)?')
ifneq ($(NGINX_VERSION),)
  OWN_NGINX := $(TARGET_DIR)/nginx-$(NGINX_VERSION)$(if $(filter sanitize,$(BUILD)),-sanitize)
  # With AddressSanitizer, NGX_DEBUG_PALLOC makes nginx's pools allocate separately, to find overflows.
  NGINX_FLAGS := $(if $(filter sanitize,$(BUILD)), \
    --with-cc-opt='-O1 -fsanitize=address -fno-omit-frame-pointer -DNGX_DEBUG_PALLOC=1' --with-ld-opt=-fsanitize=address)
  override NGINX := $(OWN_NGINX)/nginx
  NGINX_SOURCE_DIR := $(OWN_NGINX)/source
  NGINX_BUILD_DIR := $(OWN_NGINX)/source/objs
  export CARGO_TARGET_DIR := $(OWN_NGINX)/cargo
endif
CARGO_DIR := $(abspath $(or $(CARGO_TARGET_DIR),target))
NGINX_BUILD_DIR ?= $(if $(wildcard $(NGINX_SOURCE_DIR)/objs/ngx_auto_config.h),$(NGINX_SOURCE_DIR)/objs,$(TARGET_DIR)/nginx-objs)
## APP, PORT, VENV: for `make run`: the file of a WSGI or ASGI application, port (8080), virtual environment
APP ?= examples/guestbook/wsgi.py
PORT ?= 8080
# For an example, one with its packages.
VENV ?= $(if $(wildcard examples/$(EXAMPLE)/requirements.txt),$(RUN_DIR)/venv-$(EXAMPLE))
EXAMPLE = $(patsubst $(abspath examples)/%/,%,$(filter $(abspath examples)/%,$(dir $(abspath $(APP)))))
## PYTEST_ARGS: for `make test`: arguments of the pytest that drives nginx
PYTEST_ARGS ?=
## TEST_JOBS: for `make test`: how many of these tests run in parallel (default: three per processor)
TEST_JOBS ?= $(shell echo $$((3 * $$(nproc))))
## FUZZ_SECONDS, FUZZ_SEED, FUZZ_CASE: for `make fuzz`: duration (60), run or case to repeat
FUZZ_SECONDS ?= 60
FUZZ_SEED ?=
FUZZ_CASE ?=
## STRESS_SECONDS, STRESS_SEED: for `make stress`: duration (600), the run to repeat
STRESS_SECONDS ?= 600
STRESS_SEED ?=
## BENCH_ARGS: for `make bench`, `make bench-asgi`, their `-quick`, `make bench-reload`, `make bench-start` and `make profile`: arguments of their program
BENCH_ARGS ?=
## SUITE: for `make deb`, `make deb-source` and `make test-deb`: bookworm, trixie or forky (default: this machine's)
SUITE ?= $(shell . /etc/os-release 2>/dev/null && echo $$VERSION_CODENAME)
## ROOTS: for `make deb`, `make test-deb`, `make release`, `make test-trixie` and `make test-forky`: the directory of the roots (default: target/roots)
ROOTS ?= $(TARGET_DIR)/roots
## SUITES: for `make images`, `make test-image` and `make release`: the Debians of the images and packages (bookworm trixie)
SUITES ?= bookworm trixie
## PYTHONS: for `make release`: the Pythons that get a wheel (default: PYTHON)
PYTHONS ?= $(PYTHON)
## ADVISORIES: for `make audit`: the directory of a git clone of RustSec's database (default: it is fetched)
ADVISORIES ?=
## DESTDIR: for `make install` and `make uninstall`: a prefix for all installed paths

# rustup puts cargo on the PATH of login shells only.
CARGO ?= $(or $(shell command -v cargo),$(HOME)/.cargo/bin/cargo)
AUDIT_VERSION := 0.22.2
CYCLONEDX_VERSION := 0.5.9
DENY_VERSION := 0.20.2
# Installs a program of cargo's, unless there is one.
cargo_program = $(CARGO) $(1) --version >/dev/null 2>&1 || $(CARGO) install --locked --version $(2) cargo-$(1)
# The module, and the bench's client.
CRATES := --package ngx-http-pywsgi-module --package bench-client
RUN_DIR := $(TARGET_DIR)/run
TEST_VENV := $(TARGET_DIR)/venv
LINT_VENV := $(TARGET_DIR)/lint-venv
SITE_VENV := $(TARGET_DIR)/site-venv
SITE := $(TARGET_DIR)/site
MSRV = $(shell sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
HOST = $(shell rustc -vV | sed -n 's/^host: //p')

override NGINX_SOURCE_DIR := $(abspath $(NGINX_SOURCE_DIR))
override NGINX_BUILD_DIR := $(abspath $(NGINX_BUILD_DIR))
export NGINX_SOURCE_DIR NGINX_BUILD_DIR
export PYO3_PYTHON := $(PYTHON)
# nginx reads inherited sockets from an environment variable of this name (ngx_add_inherited_sockets).
unexport NGINX

ifeq ($(BUILD),release)
  CARGO_BUILD = $(CARGO) build --locked --release
  MODULE_DIR = $(CARGO_DIR)/release
else ifeq ($(BUILD),debug)
  CARGO_BUILD = $(CARGO) build --locked
  MODULE_DIR = $(CARGO_DIR)/debug
else ifeq ($(BUILD),sanitize)
  CARGO_BUILD = RUSTFLAGS="$(RUSTFLAGS) -Zsanitizer=address" $(CARGO) +nightly build --locked \
    --target $(HOST) --target-dir $(CARGO_DIR)/sanitize
  MODULE_DIR = $(CARGO_DIR)/sanitize/$(HOST)/debug
else
  $(error BUILD is "$(BUILD)": it must be release, debug or sanitize)
endif
MODULE = $(MODULE_DIR)/ngx_http_pywsgi_module.so
ifeq ($(BUILD),sanitize)
  ifeq ($(NGINX_VERSION),)
    $(error BUILD=sanitize needs an nginx built with AddressSanitizer: NGINX=1.28)
  endif
  START_NGINX = $(CARGO_DIR)/sanitize/nginx
else
  START_NGINX = $(NGINX)
endif


.PHONY: help
help: ## List the targets and the variables
	@echo 'Targets:'
	@sed -nE 's/^([a-z-]+):[^#]*## (.*)/  \1|\2/p' $(MAKEFILE_LIST) | awk -F'|' '{ printf "%-16s %s\n", $$1, $$2 }'
	@echo 'Variables:'
	@sed -nE 's/^## ([A-Z_, ]+): (.*)/  \1|\2/p' $(MAKEFILE_LIST) | awk -F'|' '{ printf "%-20s %s\n", $$1, $$2 }'

.PHONY: deps
deps: ## Install missing system packages (with sudo unless root)
	@.ci/deps

# What the tests need: a browser, a load generator, git, Redis, a WebDAV client and its test suite; and an nginx
# module that uses libraries.
.PHONY: test-deps
test-deps:
	@.ci/deps cadaver chromium git libnginx-mod-http-image-filter litmus redis-server wrk


.PHONY: headers
headers: ## Configure nginx's headers for the bindings, unless done
ifneq ($(NGINX_VERSION),)
	@PYTHON="$(PYTHON)" .ci/nginx-from-source "$(NGINX_VERSION)" "$(OWN_NGINX)" $(NGINX_FLAGS)
endif
	@.ci/nginx-headers "$(NGINX_SOURCE_DIR)" "$(NGINX_BUILD_DIR)"

.PHONY: module
module: headers ## Build ngx_http_pywsgi_module.so
ifeq ($(BUILD),sanitize)
	@$(CARGO) +nightly --version >/dev/null 2>&1 || { \
	  echo 'make: BUILD=sanitize needs the nightly toolchain: rustup toolchain install nightly' >&2; exit 1; }
endif
	$(CARGO_BUILD)
	@cp -f $(MODULE_DIR)/libngx_http_pywsgi_module.so $(MODULE).new
	@mv -f $(MODULE).new $(MODULE)
ifeq ($(BUILD),sanitize)
	@printf '#!/bin/sh\nexec env -u NGINX ASAN_OPTIONS=detect_leaks=0:use_sigaltstack=0 %s "$$@"\n' \
	  "$(NGINX)" >$(START_NGINX)
	@chmod 755 $(START_NGINX)
	@echo 'The nginx that can load it: $(START_NGINX)'
endif

.PHONY: module-path
module-path: ## Print the absolute path of the module (only that with make -s)
	@echo $(MODULE)

# Does not build, because root often has no cargo.
.PHONY: install
install: ## Install what `make module` has built, and its modules-available file (DESTDIR=…)
	@.ci/install install "$(MODULE)" "$(NGINX)" "$(DESTDIR)"

.PHONY: uninstall
uninstall: ## Remove what `make install` has installed
	@.ci/install uninstall "$(MODULE)" "$(NGINX)" "$(DESTDIR)"

# `make test` runs the units, so the packages need not run them again.
export DEB_BUILD_OPTIONS ?= nocheck
DEB_DIR = $(TARGET_DIR)/deb/$(SUITE)

.PHONY: deb-source
deb-source: ## Make the Debian source package, with the crates, in target/deb/SUITE
	@CARGO="$(CARGO)" .ci/deb source "$(SUITE)" "$(DEB_DIR)"

.PHONY: deb
deb: ## Build the Debian package in target/deb/SUITE, in a debootstrap root without network (as root; SUITE=…)
	@CARGO="$(CARGO)" .ci/deb build "$(SUITE)" "$(ROOTS)/deb" "$(DEB_DIR)"


# nginx is kept there for the next run, and for the module of another Python.
WHEEL_DIR := $(TARGET_DIR)/wheel
.PHONY: wheel
wheel: deps ## Build the wheels `pywsgi` and, with nginx and the module for PYTHON, `pywsgi-nginx` in target/wheel/dist
	@.ci/deps binutils libcrypt-dev libpcre2-dev libssl-dev libzstd-dev zlib1g-dev
	@.ci/wheel "$(PYTHON)" "$(WHEEL_DIR)"


.PHONY: images
images: ## Build the images pywsgi:SUITE with buildah (SUITES=…; as root; elsewhere see docs/docker.md)
	@TARGET_DIR="$(TARGET_DIR)" .ci/images $(SUITES)


.PHONY: run
run: deps module ## Serve examples/guestbook, or APP, at http://127.0.0.1:8080/ until Ctrl-C
	@if [ -n "$(VENV)" ] && [ "$(VENV)" = "$(RUN_DIR)/venv-$(EXAMPLE)" ]; then \
	  $(MAKE) --no-print-directory $(VENV)/.installed; fi
	@.ci/serve "$(START_NGINX)" "$(MODULE)" "$(RUN_DIR)" "$(abspath $(APP))" "$(PORT)" "$(abspath $(VENV))" \
	  "$(PYTHON)"

$(RUN_DIR)/venv-%/.installed: examples/%/requirements.txt
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/pip install --quiet --disable-pip-version-check -r $<
	@touch $@


.PHONY: test
test: test-deps test-rust test-shim test-nginx test-inline test-process test-uvloop fuzz stress-quick ## Run all tests: Rust units, the shim's, through a real nginx, and a minute each of the fuzzer and of trouble

.PHONY: test-trixie test-forky
test-trixie: ## Run all tests on Debian 13, in a debootstrap root (as root)
test-forky: ## Run all tests on Debian testing, in such a root: newer nginx, newer Python
test-trixie test-forky: test-%:
	@.ci/root $* "$(ROOTS)/$*" make test PYTEST_ARGS="$(PYTEST_ARGS)" TEST_JOBS="$(TEST_JOBS)"

.PHONY: test-kubernetes
test-kubernetes: module $(TARGET_DIR)/kubernetes-venv/.installed ## Check deploy/kubernetes: the schemas of the API, Helm, and a pod that is deleted under load (needs kubectl)
	$(IN_TESTS) $(TARGET_DIR)/kubernetes-venv/bin/python -m pytest -n 2 \
	  $(or $(patsubst tests/%,%,$(PYTEST_ARGS)),packaging/test_kubernetes.py)

$(TARGET_DIR)/kubernetes-venv/.installed: tests/packaging/requirements-kubernetes.txt
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/pip install --quiet --disable-pip-version-check -r $<
	@touch $@

.PHONY: test-sanitize
test-sanitize: ## Run the tests of WSGI, ASGI, directives and nginx with AddressSanitizer, in a debug nginx
	@$(MAKE) --no-print-directory test-nginx BUILD=sanitize NGINX=1.28 \
	  PYTEST_ARGS="$(or $(PYTEST_ARGS),tests/wsgi tests/asgi tests/directives tests/nginx)" TEST_JOBS="$(TEST_JOBS)"

# cargo-nextest runs each test in a process with a time limit. It is used if installed: compiling it would take
# longer than all these tests.
CARGO_TEST = $(if $(shell $(CARGO) nextest --version 2>/dev/null),$(CARGO) nextest run,$(CARGO) test)

.PHONY: test-rust
test-rust: headers ## Run the Rust unit tests, and those of the bridge under loom
	$(CARGO_TEST) --locked $(CRATES)
	$(CARGO_TEST) --locked --features loom -- bridge metrics

.PHONY: test-shim
test-shim: $(TEST_VENV)/.installed ## Run the unit tests of python-shim
	cd python-shim && $(TEST_VENV)/bin/python -m pytest -q tests

# Several processes run the tests; each takes the next one when it is idle.
IN_TESTS = cd tests && $(if $(filter-out /usr/sbin/nginx,$(START_NGINX)),NGINX="$(START_NGINX)") \
  PYWSGI_MODULE="$(MODULE)" $(if $(filter sanitize,$(BUILD)),PYWSGI_SANITIZED=1)
PYTEST = $(TEST_VENV)/bin/python -m pytest -n $(TEST_JOBS) --dist worksteal

.PHONY: test-nginx
test-nginx: module $(TEST_VENV)/.installed ## Run the tests that drive a real nginx (PYTEST_ARGS=…)
	$(IN_TESTS) $(PYTEST) $(patsubst tests/%,%,$(PYTEST_ARGS))

.PHONY: test-deb
test-deb: deps $(TEST_VENV)/.installed ## Install, use, upgrade and remove what `make deb` has built, in a root of its own (SUITE=…)
	@.ci/deb try "$(SUITE)" "$(ROOTS)/deb" "$(DEB_DIR)" \
	  "$(TEST_VENV)/bin/python" -B -m pytest -q -c tests/pyproject.toml $(or $(PYTEST_ARGS),tests/packaging/test_deb.py)

.PHONY: test-long
test-long: module $(TEST_VENV)/.installed ## Send 100,000 requests, 20,000 of each kind of failure, and a million through fifty reloads
	$(IN_TESTS) PYWSGI_LONG=1 $(PYTEST) $(or $(patsubst tests/%,%,$(PYTEST_ARGS)),stress/test_asgi_leaks.py stress/test_master.py)

.PHONY: test-wheel
test-wheel: wheel $(TEST_VENV)/.installed ## Try the wheels in virtual environments of an ordinary user
	cd tests && PYWSGI_WHEELS="$(WHEEL_DIR)/dist" PYWSGI_WHEEL_PYTHON="$(PYTHON)" \
	  $(TEST_VENV)/bin/python -m pytest $(or $(patsubst tests/%,%,$(PYTEST_ARGS)),packaging/test_wheel.py)

# The images' containers listen on port 8080 of the host's network: the tests get one of their own.
.PHONY: test-image
test-image: images $(TEST_VENV)/.installed ## Run the images' containers as an ordinary user with a read-only root (as root)
	@.ci/deps aardvark-dns docker-compose netavark
	cd tests && PYWSGI_SUITES="$(SUITES)" PYWSGI_NETWORK=/proc/$$PPID/ns/net unshare --net sh -ec 'ip link set lo up; exec "$$@"' sh \
	  $(TEST_VENV)/bin/python -m pytest $(or $(patsubst tests/%,%,$(PYTEST_ARGS)),packaging/test_image.py)

.PHONY: test-inline
test-inline: module $(TEST_VENV)/.installed ## Run the tests of WSGI again with wsgi_thread_pool inline
	$(IN_TESTS) PYWSGI_EXECUTOR=inline $(PYTEST) $(or $(patsubst tests/%,%,$(PYTEST_ARGS)),$(INLINE_TESTS))

.PHONY: test-process
test-process: module $(TEST_VENV)/.installed ## Run the tests of WSGI and ASGI again with their applications in a process of its own
	$(IN_TESTS) PYWSGI_EXECUTOR=process $(PYTEST) $(or $(patsubst tests/%,%,$(PYTEST_ARGS)),$(PROCESS_TESTS))

.PHONY: test-uvloop
test-uvloop: module $(TEST_VENV)/.installed ## Run the tests of ASGI again on uvloop
	$(IN_TESTS) PYWSGI_EVENT_LOOP=uvloop $(PYTEST) $(or $(patsubst tests/%,%,$(PYTEST_ARGS)),asgi)

.PHONY: fuzz
fuzz: module $(TEST_VENV)/.installed ## Send valid and broken random requests, and frames of WebSockets (FUZZ_SECONDS=60, FUZZ_SEED=…)
	$(IN_TESTS) PYTHONPATH=. FUZZ_SECONDS="$(FUZZ_SECONDS)" FUZZ_SEED="$(FUZZ_SEED)" FUZZ_CASE="$(FUZZ_CASE)" \
	  $(TEST_VENV)/bin/python -B fuzz/run.py
	$(IN_TESTS) PYTHONPATH=. FUZZ_SECONDS="$(FUZZ_SECONDS)" FUZZ_SEED="$(FUZZ_SEED)" FUZZ_CASE="$(FUZZ_CASE)" \
	  $(TEST_VENV)/bin/python -B fuzz/frames.py

.PHONY: stress
stress: module $(TEST_VENV)/.installed ## Kill, reload, recycle and starve nginx under load, for ten minutes (STRESS_SECONDS=600, STRESS_SEED=…)
	$(IN_TESTS) PYTHONPATH=. STRESS_SECONDS="$(STRESS_SECONDS)" STRESS_SEED="$(STRESS_SEED)" \
	  $(TEST_VENV)/bin/python -B trouble/run.py

.PHONY: stress-quick
stress-quick: ## The same for a minute
	@$(MAKE) --no-print-directory stress STRESS_SECONDS=60

# The WSGI tests; those of frameworks, peers and nginx also pass (PYTEST_ARGS=…).
INLINE_TESTS := wsgi
PROCESS_TESTS := wsgi asgi

$(TEST_VENV)/.installed: $(wildcard tests/requirements.txt tests/*/requirements*.txt)
	$(PYTHON) -m venv $(TEST_VENV)
	$(TEST_VENV)/bin/pip install --quiet --disable-pip-version-check -r tests/requirements.txt
	@touch $@


.PHONY: lint
lint: deps headers check-layers lint-rust lint-python ## Run rustfmt, clippy, the layer check, ruff and mypy

.PHONY: check-layers
check-layers: ## Check that the files of src/ name only what they may, in their order
	$(PYTHON) -B .ci/test_check_layers.py -q
	$(PYTHON) -B .ci/check_layers.py

.PHONY: lint-rust
lint-rust: headers
	@$(CARGO) fmt --version >/dev/null 2>&1 && $(CARGO) clippy --version >/dev/null 2>&1 || \
	  rustup component add rustfmt clippy
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked $(CRATES) --all-targets -- -D warnings
	$(CARGO) clippy --locked --all-targets --features loom -- -D warnings

# Debian 13 builds its package with that Rust.
.PHONY: check-msrv
check-msrv: deps headers ## Check that the oldest Rust for the module, which rustup installs, compiles it
	CARGO_TARGET_DIR="$(TARGET_DIR)/msrv" rustup run --install $(MSRV) cargo check --locked --all-targets

.PHONY: lint-python
lint-python: $(LINT_VENV)/.installed
	$(LINT_VENV)/bin/ruff check .ci bench python-shim tests examples
	$(LINT_VENV)/bin/ruff format --check .ci bench python-shim tests examples
	$(LINT_VENV)/bin/ruff check python-nginx && $(LINT_VENV)/bin/ruff format --check python-nginx
	cd python-shim && $(LINT_VENV)/bin/mypy --strict
	cd python-nginx && $(LINT_VENV)/bin/mypy --strict pywsgi_nginx
	cd python-shim && $(LINT_VENV)/bin/mypy --strict ../examples/long_query/wsgi.py

$(LINT_VENV)/.installed: .ci/requirements.txt
	$(PYTHON) -m venv $(LINT_VENV)
	$(LINT_VENV)/bin/pip install --quiet --disable-pip-version-check -r $<
	@touch $@

BENCH_VENV := $(TARGET_DIR)/bench-venv
IN_BENCH = cd bench && $(BENCH_VENV)/bin/python
BENCH_OPTIONS = --module "$(MODULE)" --nginx "$(NGINX)"
BENCH_CLIENT = $(CARGO_DIR)/release/bench-client
COMPARE = $(IN_BENCH) bench.py $(BENCH_OPTIONS) --client "$(BENCH_CLIENT)"

.PHONY: bench
bench: module bench-deps ## Compare the module with other servers of WSGI, in 40 minutes (BENCH_ARGS=…)
	$(COMPARE) $(BENCH_ARGS)

.PHONY: bench-quick
bench-quick: module bench-deps ## The same in under three minutes, with hello only
	$(COMPARE) --quick $(BENCH_ARGS)

.PHONY: bench-asgi
bench-asgi: module bench-deps ## Compare it with other servers of ASGI, in 40 minutes (BENCH_ARGS=…)
	$(COMPARE) --interface asgi $(BENCH_ARGS)

.PHONY: bench-asgi-quick
bench-asgi-quick: module bench-deps ## The same in under three minutes, with hello and a WebSocket's echo
	$(COMPARE) --interface asgi --quick $(BENCH_ARGS)

.PHONY: bench-reload
bench-reload: module bench-deps ## Measure the worst latency of a reload, beside gunicorn's and uvicorn's (BENCH_ARGS=…)
	$(IN_BENCH) reloads.py $(BENCH_OPTIONS) $(BENCH_ARGS)

.PHONY: bench-start
bench-start: module bench-deps ## Measure the time until pywsgi serve answers, beside gunicorn's and uvicorn's (BENCH_ARGS=…)
	$(IN_BENCH) first_answers.py $(BENCH_OPTIONS) $(BENCH_ARGS)

.PHONY: profile
profile: module bench-deps ## Print where a request's instructions and time go (callgrind, perf; BENCH_ARGS=…)
	@.ci/deps valgrind
	$(IN_BENCH) profile.py $(BENCH_OPTIONS) $(BENCH_ARGS)

# Debian's servers are optional. wrk and libev (for building bjoern) are required.
.PHONY: bench-deps
bench-deps: ## Install the servers that the bench compares, and build its client
	@.ci/deps libev-dev wrk
	@.ci/deps apache2-bin libapache2-mod-wsgi-py3 uwsgi uwsgi-plugin-python3 || echo 'The bench omits these servers.' >&2
	@$(MAKE) --no-print-directory $(BENCH_VENV)/bin/libpython
	$(CARGO) build --locked --release --package bench-client

$(BENCH_VENV)/.installed: bench/requirements.txt
	$(PYTHON) -m venv $(BENCH_VENV)
	$(BENCH_VENV)/bin/pip install --quiet --disable-pip-version-check -r $<
	@touch $@

$(BENCH_VENV)/bin/libpython: bench/libpython.c $(BENCH_VENV)/.installed
	$(CC) -O2 $$($(PYTHON)-config --includes) -o $@ $< $$($(PYTHON)-config --ldflags --embed)


# zensical's wheel has all that a site needs; pip is the only one to use the network.
.PHONY: site
site: $(SITE_VENV)/.installed ## Make the site of the documentation: target/site/html/index.html
	$(SITE_VENV)/bin/python -B .ci/site/build.py "$(SITE)"

.PHONY: test-site
test-site: test-deps site $(TEST_VENV)/.installed ## Check the site: links, and every page in a browser
	$(IN_TESTS) PYWSGI_SITE="$(SITE)" $(TEST_VENV)/bin/python -m pytest packaging/test_site.py

$(SITE_VENV)/.installed: .ci/site/requirements.txt
	$(PYTHON) -m venv $(SITE_VENV)
	$(SITE_VENV)/bin/pip install --quiet --disable-pip-version-check -r $<
	@touch $@


.PHONY: deny
deny: ## Check the licences, bans and sources of the crates (cargo-deny)
	@$(call cargo_program,deny,$(DENY_VERSION))
	$(CARGO) deny --locked check licenses bans sources

.PHONY: audit
audit: ## Check the crates for known vulnerabilities (cargo-audit, which needs a network or ADVISORIES=…)
	@CARGO="$(CARGO)" .ci/audit "$(AUDIT_VERSION)" "$(TARGET_DIR)/advisory-db" "$(ADVISORIES)"

.PHONY: sbom
sbom: ## Write what the module, and the wheel if it has been built, contain, in target/sbom (CycloneDX)
	@$(call cargo_program,cyclonedx,$(CYCLONEDX_VERSION))
	@CARGO="$(CARGO)" $(PYTHON) -B .ci/sbom.py "$(TARGET_DIR)/sbom" "$(WHEEL_DIR)"


.PHONY: archive
archive: ## Make the source archive, and that of docker/, of the last commit in target/archive
	@.ci/archive "$(TARGET_DIR)/archive"

.PHONY: release
release: ## Make all files of a release twice, compare them, and put them in target/release-VERSION (as root; SUITES=…)
	@CARGO="$(CARGO)" .ci/release "$(TARGET_DIR)" "$(abspath $(ROOTS))" "$(PYTHONS)" "$(SUITES)"


.PHONY: clean
clean: ## Remove everything that was built
	rm -rf $(TARGET_DIR)
