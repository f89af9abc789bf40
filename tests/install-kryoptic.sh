#!/bin/sh
# Builds kryoptic, a software token in Rust by other people (Apache-2.0), into target/kryoptic, for the tests of
# hsm-driver/tests/conformance_kryoptic.rs. It takes minutes of two cores, so `make test` does not do it:
#
#   sh tests/install-kryoptic.sh
#   cargo test --profile ci -p hsm-driver --test conformance_kryoptic -- --ignored
#
# Needs a C compiler, libclang and the development files of OpenSSL 3 and SQLite (libclang-dev, libssl-dev,
# libsqlite3-dev).
set -eu

version=1.5.4
root=$(cd "$(dirname "$0")/.." && pwd)
folder=$root/target/kryoptic
module=$folder/libkryoptic_pkcs11.so
[ -e "$module" ] && exit 0

# A package of its own around the published crate: its default features want a newer OpenSSL than Debian 12 has.
mkdir -p "$folder/src"
cat > "$folder/Cargo.toml" <<TOML
[package]
name = "kryoptic-module"
version = "0.0.0"
edition = "2024"
publish = false

[lib]
name = "kryoptic_pkcs11"
crate-type = ["cdylib"]

[dependencies]
kryoptic-lib = { version = "=$version", default-features = false, features = [
    "dynamic", "sqlitedb", "ecc_min", "rsa", "hash_all", "aes", "hkdf", "pbkdf2",
] }

[workspace]
TOML
cat > "$folder/src/lib.rs" <<'RUST'
//! The three entry points of kryoptic's own shared object.
use kryoptic_lib::fns::general;
use kryoptic_lib::pkcs11::*;

#[unsafe(no_mangle)]
pub extern "C" fn C_GetFunctionList(list: CK_FUNCTION_LIST_PTR_PTR) -> CK_RV {
    general::fn_get_function_list(list)
}

#[unsafe(no_mangle)]
pub extern "C" fn C_GetInterfaceList(list: CK_INTERFACE_PTR, count: CK_ULONG_PTR) -> CK_RV {
    general::fn_get_interface_list(list, count)
}

#[unsafe(no_mangle)]
pub extern "C" fn C_GetInterface(
    name: CK_UTF8CHAR_PTR,
    version: CK_VERSION_PTR,
    interface: CK_INTERFACE_PTR_PTR,
    flags: CK_FLAGS,
) -> CK_RV {
    general::fn_get_interface(name, version, interface, flags)
}
RUST
cargo build --manifest-path "$folder/Cargo.toml" --target-dir "$folder/build" --release
cp "$folder/build/release/libkryoptic_pkcs11.so" "$module"
echo "$module"
