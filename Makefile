# The two commands a newcomer needs: `make run` and `make test`.

DATA ?= data
PORT ?= 8080
TLS_PORT ?= 8443
CONFIG ?=
TARGET ?= target

export LICENSE_GATEWAY_BIN := $(abspath $(TARGET))/ci/license-gateway
export HSM_SIM_MODULE := $(abspath $(TARGET))/ci/libhsm_sim.so
CARGO_BUILD_CI = cargo build --locked --profile ci --workspace --all-targets

.PHONY: help run try test lint test-tools snapshots demo-data bench load soak crash fuzz clean

help:
	@echo 'make run    build and start a sandbox gateway (DATA=, PORT=, TLS_PORT=, or CONFIG= for a real site)'
	@echo 'make try    walk the main job of a running sandbox with curl and openssl'
	@echo 'make test   install what the tests need, then everything CI runs'
	@echo 'make lint   formatting, clippy, and cargo-deny where it is installed'
	@echo 'make bench  figures with references beside them; writes target/bench.json'
	@echo 'make soak   break devices at random under load and see that nothing is wrong or lost (SECONDS=600 SEED= RATE=)'
	@echo 'make crash  kill the gateway and its database under load: is anything lost or done twice? (KILLS=50 SEED=)'
	@echo 'make fuzz   look for inputs that break a parser or a judgement (SECONDS=60 for each target)'
	@echo 'make demo-data  fill a sandbox with a made-up province (LICENSES=6000000, DATA=)'
	@echo 'make load   load a running sandbox (PROFILE=sign-sm2 CONNECTIONS=8 SECONDS=10 RATE=)'

# Needs Rust, make and a C compiler only. The gateway takes this shell's place, so that signals reach it.
run:
ifeq ($(CONFIG),)
	cargo build --locked --release -p license-gateway -p hsm-sim
	$(TARGET)/release/license-gateway init --sandbox --data '$(DATA)' --module $(TARGET)/release/libhsm_sim.so \
	    --http 127.0.0.1:$(PORT) --https 127.0.0.1:$(TLS_PORT)
	exec $(TARGET)/release/license-gateway serve --config '$(DATA)/gateway.toml' \
	    --http 127.0.0.1:$(PORT) --https 127.0.0.1:$(TLS_PORT)
else
	cargo build --locked --release -p license-gateway
	exec $(TARGET)/release/license-gateway serve --config '$(CONFIG)'
endif

try:
	@DATA='$(DATA)' sh tests/try.sh

test: test-tools lint
	$(CARGO_BUILD_CI)
	cargo test --locked --profile ci --workspace --no-fail-fast

# Clippy shares the test profile, so that C code and build scripts are built once.
lint:
	cargo fmt --all --check
	cargo clippy --locked --profile ci --workspace --all-targets -- -D warnings
	@if command -v cargo-deny >/dev/null; then cargo deny check bans licenses sources; \
	    else echo 'cargo-deny is not installed: bans, licenses and sources were not checked'; fi

# Figures are of release builds, and as ratios: the machine's own speed drifts.
bench: test-tools
	cargo build --locked --release -p license-gateway -p hsm-sim -p tests --bins --lib
	cargo build --locked --release -p sm2-verify --example rate
	LICENSE_GATEWAY_BIN=$(abspath $(TARGET))/release/license-gateway \
	HSM_SIM_MODULE=$(abspath $(TARGET))/release/libhsm_sim.so \
	    $(TARGET)/release/load bench --out $(TARGET)/bench.json

PROFILE ?= sign-sm2
CONNECTIONS ?= 8
SECONDS ?= 10
RATE ?=
load:
	cargo build --locked --release -p tests --bins
	$(TARGET)/release/load --sandbox '$(DATA)/sandbox.json' --profile $(PROFILE) --connections $(CONNECTIONS) \
	    --seconds $(SECONDS) $(if $(RATE),--rate $(RATE))

# The sandbox in DATA is made if it is not there. What is there of the province stays.
LICENSES ?= 100000
demo-data:
	cargo build --locked --release -p license-gateway -p hsm-sim
	$(TARGET)/release/license-gateway init --sandbox --data '$(DATA)' --module $(TARGET)/release/libhsm_sim.so \
	    --http 127.0.0.1:$(PORT) --https 127.0.0.1:$(TLS_PORT)
	$(TARGET)/release/license-gateway library demo --licenses $(LICENSES) --config '$(DATA)/gateway.toml'

# A site of its own; exit code 1 if anything that must hold did not. A run is repeated with the SEED it prints.
soak: SECONDS = 600
soak:
	cargo build --locked --release -p license-gateway -p hsm-sim -p tests --bins --lib
	LICENSE_GATEWAY_BIN=$(abspath $(TARGET))/release/license-gateway \
	HSM_SIM_MODULE=$(abspath $(TARGET))/release/libhsm_sim.so \
	    $(TARGET)/release/load soak --seconds $(SECONDS) $(if $(SEED),--seed $(SEED)) $(if $(RATE),--rate $(RATE)) \
	    --out $(TARGET)/soak.json

# Kills the gateway under load, on SQLite and on PostgreSQL, whose server is killed too; exit code 1 if anything
# acknowledged is lost or anything is done twice.
crash: KILLS = 50
crash:
	cargo build --locked --release -p license-gateway -p hsm-sim -p tests --bins --lib
	LICENSE_GATEWAY_BIN=$(abspath $(TARGET))/release/license-gateway \
	HSM_SIM_MODULE=$(abspath $(TARGET))/release/libhsm_sim.so \
	    $(TARGET)/release/load crash --kills $(KILLS) $(if $(SEED),--seed $(SEED)) --out $(TARGET)/crash.json
	LICENSE_GATEWAY_BIN=$(abspath $(TARGET))/release/license-gateway \
	HSM_SIM_MODULE=$(abspath $(TARGET))/release/libhsm_sim.so \
	    $(TARGET)/release/load crash --postgres --kills $(KILLS) $(if $(SEED),--seed $(SEED)) \
	    --out $(TARGET)/crash-postgres.json

# Looks for inputs that break a parser or a judgement, target by target: make fuzz SECONDS=60
fuzz:
	@for target in $(basename $(notdir $(wildcard fuzz/fuzz_targets/*.rs))); do \
	    sh fuzz/run.sh $$target $(SECONDS) || exit 1; done

test-tools:
	@sh tests/install-tools.sh

# Rewrites docs/openapi.json from what the server says.
snapshots:
	$(CARGO_BUILD_CI)
	UPDATE_SNAPSHOTS=1 cargo test --locked --profile ci -p tests openapi

clean:
	cargo clean
