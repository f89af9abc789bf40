#!/bin/sh
# Runs one fuzz target for some seconds: sh fuzz/run.sh TARGET SECONDS [libFuzzer options]
#
# The stable toolchain will do: coverage comes from a compiler pass, no sanitizer is linked (`cargo fuzz run
# --sanitizer none TARGET` does the same where it is installed). What is found goes to target/fuzz/TARGET; inputs
# worth keeping are copied by hand to fuzz/corpus/TARGET, which the ordinary tests run too.
set -eu

target=$1
seconds=$2
shift 2
cd "$(dirname "$0")/.."
host=$(rustc -vV | sed -n 's/^host: //p')
found=target/fuzz/$target
mkdir -p "$found/corpus"

# With --target the flags are not applied to build scripts, and nothing else in the target folder is rebuilt.
RUSTFLAGS="--cfg fuzzing -Ccodegen-units=1 -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
-Cllvm-args=-sanitizer-coverage-trace-compares" \
    cargo build --release --manifest-path fuzz/Cargo.toml --target-dir target --target "$host" --bin "$target"
exec "target/$host/release/$target" "$found/corpus" "fuzz/corpus/$target" -max_total_time="$seconds" \
    -artifact_prefix="$found/" -max_len=4096 -timeout=10 "$@"
