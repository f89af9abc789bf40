//! Where the things under test are. The only place that reads the environment.

use std::path::{Path, PathBuf};

/// The program: `LICENSE_GATEWAY_BIN`, or `license-gateway` of the profile this test was built with.
pub fn gateway() -> PathBuf {
    built("LICENSE_GATEWAY_BIN", "license-gateway")
}

/// The simulated device: `HSM_SIM_MODULE`, or `libhsm_sim.so` of the profile this test was built with.
pub fn hsm_sim() -> PathBuf {
    built("HSM_SIM_MODULE", "libhsm_sim.so")
}

/// The root of the source tree.
pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests crate lies in the tree")
}

/// Whether snapshots are to be written instead of compared (`UPDATE_SNAPSHOTS=1`).
pub fn update_snapshots() -> bool {
    variable("UPDATE_SNAPSHOTS").is_some_and(|value| value == "1")
}

fn built(name: &str, file: &str) -> PathBuf {
    let path = variable(name).map(PathBuf::from).unwrap_or_else(|| profile().join(file));
    assert!(path.is_file(), "{} is not there: build it with this profile, or set {name}", path.display());
    path.canonicalize().expect("an existing file has a canonical path")
}

/// `target/PROFILE`: test executables lie one folder below it.
fn profile() -> PathBuf {
    let executable = std::env::current_exe().expect("the test knows its own path");
    executable.ancestors().nth(2).expect("target/PROFILE/deps/suite-…").to_owned()
}

#[expect(clippy::disallowed_methods, reason = "the harness is told by `make test` what to test")]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}
