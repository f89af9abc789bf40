//! The program `license-gateway`; all of it is in the library beside it, where tests can reach it.

use std::process::ExitCode;

fn main() -> ExitCode {
    license_gateway::run()
}
