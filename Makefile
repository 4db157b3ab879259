# make test    everything that must pass, after installing what is missing on a fresh Debian with Rust
# make test-matrix   the end-to-end tests against other servers too, which .ci/servers fetches from Debian's archive
# make deb     a Debian package, in target/debian
# make suites  the tests of client libraries themselves, beside a server (some minutes; needs the network once)
# make demo    a replication group with Redan in front of it, to look at
# make bench   Redan beside Redis, HAProxy and twemproxy; writes docs/benchmarks.md (BENCH=quick: a first look)
# make drill   lose the master in every way, under clients of Redan and of HAProxy; writes docs/failover.md (DRILL=help)
# make soak    half an hour of failures under clients that check every reply; writes docs/soak.md (SOAK=5m: a shorter one)
# make bench-link  links beside stunnel, spiped and Redis's own TLS; writes docs/benchmarks-link.md
# make bench-pubsub  the part about subscriptions alone
# make lint    formatting and clippy, warnings are errors        make fmt   format the code
# make fuzz    throw what a fuzzer thinks of at every parser, a minute each (FUZZ="600 request": how long, and which)
# make deny    licences, sources, duplicates and advisories of all dependencies, by deny.toml
# make clean   remove everything that was built

CARGO_TARGET_DIR ?= $(CURDIR)/target
export CARGO_TARGET_DIR

# Most tests wait for something most of the time: two for each core take half as long as one.
RUST_TEST_THREADS ?= $(shell echo $$((2 * $$(nproc))))
export RUST_TEST_THREADS

# Where the client libraries of other languages live; tests/it/clients.rs looks for them here.
CLIENTS := $(CARGO_TARGET_DIR)/clients
SCRIPTS := tests/it/clients

# Where the suites of client libraries live, and redis-py's among them: its source package carries its tests.
SUITES := $(CARGO_TARGET_DIR)/suites
REDIS_PY := 8.1.0

# What `make bench` measures: empty is everything; words narrow it down, as in BENCH="quick plain 50".
BENCH ?=

# What `make test-matrix` tests against, beside the redis-server of this machine.
SERVERS := redis-8.0 valkey-8.1 valkey-9.1

# Where what makes and checks packages lives; tests/it/packages.rs and kubernetes.rs look for it here.
TOOLS := $(CARGO_TARGET_DIR)/tools
CARGO_DEB := 3.8.0
CARGO_DENY := 0.20.2
KUBERNETES_VALIDATE := 1.37.0

# Which drills `make drill` runs: empty is all of them; DRILL=help lists the words.
DRILL ?=

# How long `make soak` takes, and which events it has: SOAK="5m kill-master"; SOAK=help lists them.
SOAK ?= 30m

# How many seconds `make fuzz` spends on each target; names behind it are the only targets.
FUZZ ?= 60

.PHONY: deb deny fuzz packager kubernetes-schemas test test-matrix suites demo bench bench-link bench-pubsub drill soak lint fmt clean clients needs-build needs-redis needs-clients needs-tunnels needs-browser needs-packages needs-bench needs-fuzz

# Both always run. For the second one Redan is built once more, with the feature that nothing else needs.
# Containers are tested where the machine can run them (root, Debian); elsewhere their tests say NOT TESTED and why.
test: needs-build needs-redis needs-tunnels needs-browser needs-packages clients packager kubernetes-schemas
	@[ "$$(id -u)" -ne 0 ] || .ci/install containers || echo "containers will not be tested" >&2
	@failed=0; \
	cargo test --no-fail-fast || failed=1; \
	cargo test --no-fail-fast --features otel --test otel || failed=1; \
	exit $$failed

# One after the other, and all of them also when one fails: a report of one server says nothing of the next.
test-matrix: needs-build needs-redis needs-tunnels needs-browser clients
	cargo build --tests
	.ci/servers $(SERVERS)
	@failed=; for name in redis-server $(SERVERS); do \
	  program=redis-server; path=$$PATH; \
	  if [ "$$name" != redis-server ]; then \
	    program=$(CARGO_TARGET_DIR)/servers/$$name/bin/redis-server; path=$${program%/*}:$$PATH; \
	  fi; \
	  echo "== $$($$program --version)"; \
	  REDAN_TEST_SERVER=$$program PATH=$$path cargo test --test it --no-fail-fast -- $(FILTER) || failed="$$failed $$name"; \
	done; \
	if [ -n "$$failed" ]; then echo "tests failed against:$$failed" >&2; exit 1; fi

suites: needs-build needs-redis $(SUITES)/.ready-$(REDIS_PY)
	cargo build
	python3 tests/suites/redis_py.py $(CARGO_TARGET_DIR)/debug/redan $(SUITES)/venv $(SUITES)/redis-$(REDIS_PY)

demo: needs-build needs-redis
	cargo run --release -- demo

bench: needs-build needs-redis needs-bench
	cargo bench --bench peers -- $(BENCH)

bench-link: needs-build needs-redis needs-bench
	cargo bench --bench link -- $(BENCH)

deb: needs-build packager
	cargo build --release --locked
	packaging/prepare $(CARGO_TARGET_DIR)/release/redan
	$(TOOLS)/bin/cargo-deb deb --no-build --strip --output $(CURDIR)/target/debian/

lint: needs-build
	cargo fmt --check
	cargo clippy --all-targets -- -D warnings
	cargo clippy --all-targets --features otel -- -D warnings

deny: needs-build $(TOOLS)/.ready-deny-$(CARGO_DENY)
	.ci/deny $(TOOLS)/bin/cargo-deny

fuzz: needs-build needs-fuzz
	fuzz/run $(FUZZ)

bench-pubsub: needs-build needs-redis
	cargo bench --bench peers -- pubsub

drill: needs-build needs-redis needs-bench
	cargo bench --bench drill -- $(DRILL)

soak: needs-build needs-redis
	cargo bench --bench soak -- $(SOAK)

fmt:
	cargo fmt

clean:
	cargo clean

# Stamps, so that a second `make test` needs neither root nor a registry.
clients: $(CLIENTS)/venv/.ready $(CLIENTS)/node/.ready $(CLIENTS)/hiredis $(CLIENTS)/promtool

$(CLIENTS)/promtool:
	@.ci/promtool $@

$(CLIENTS)/venv/.ready: $(SCRIPTS)/requirements.txt | needs-clients
	rm -rf $(@D)
	mkdir -p $(CLIENTS)
	python3 -m venv $(@D)
	$(@D)/bin/python -m pip install --quiet --disable-pip-version-check -r $<
	touch $@

$(CLIENTS)/node/.ready: $(SCRIPTS)/package.json $(SCRIPTS)/package-lock.json | needs-clients
	rm -rf $(@D)
	mkdir -p $(@D)
	cp $^ $(@D)/
	cd $(@D) && npm ci --no-audit --no-fund --loglevel=error
	touch $@

# Debian 12 has hiredis 0.14, which came before hiredis_ssl.
$(CLIENTS)/hiredis: $(SCRIPTS)/hiredis.c | needs-clients
	mkdir -p $(CLIENTS)
	gcc -std=c11 -D_GNU_SOURCE -Wall -Wextra -O1 -o $@ $< \
	  $$(pkg-config --cflags --libs $$(pkg-config --exists hiredis_ssl && echo hiredis_ssl) hiredis openssl)

packager: $(TOOLS)/.ready-$(CARGO_DEB)

# It runs for a second: building it well would take longer than all of its runs.
$(TOOLS)/.ready-$(CARGO_DEB): | needs-build
	CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_OPT_LEVEL=1 CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 \
	  cargo install --quiet --locked --root $(TOOLS) --target-dir $(TOOLS)/build cargo-deb@$(CARGO_DEB)
	rm -rf $(TOOLS)/build
	touch $@

# Not optimized at all: some 100 seconds of a processor, once; then a check takes one.
$(TOOLS)/.ready-deny-$(CARGO_DENY): | needs-build
	CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_OPT_LEVEL=0 CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 \
	  cargo install --quiet --locked --root $(TOOLS) --target-dir $(TOOLS)/build-deny cargo-deny@$(CARGO_DENY)
	rm -rf $(TOOLS)/build-deny
	touch $@

kubernetes-schemas: $(TOOLS)/kubernetes/.ready-$(KUBERNETES_VALIDATE)

$(TOOLS)/kubernetes/.ready-$(KUBERNETES_VALIDATE): | needs-clients
	rm -rf $(@D)
	mkdir -p $(TOOLS)
	python3 -m venv $(@D)
	$(@D)/bin/python -m pip install --quiet --disable-pip-version-check kubernetes-validate==$(KUBERNETES_VALIDATE)
	touch $@

$(SUITES)/.ready-$(REDIS_PY): tests/suites/requirements.txt | needs-clients
	rm -rf $(@D)/venv $(@D)/redis-$(REDIS_PY)
	mkdir -p $(@D)
	python3 -m venv $(@D)/venv
	$(@D)/venv/bin/python -m pip install --quiet --disable-pip-version-check -r $<
	$(@D)/venv/bin/python -m pip download --quiet --disable-pip-version-check --no-deps --no-binary :all: -d $(@D) redis==$(REDIS_PY)
	tar -xzf $(@D)/redis-$(REDIS_PY).tar.gz -C $(@D)
	touch $@

needs-build:
	@.ci/install build

needs-redis:
	@.ci/install redis

needs-clients:
	@.ci/install clients

needs-packages:
	@.ci/install packages

needs-tunnels:
	@.ci/install tunnels

needs-browser:
	@.ci/install browser

needs-fuzz:
	@.ci/install fuzz

needs-bench:
	@.ci/install bench tunnels
