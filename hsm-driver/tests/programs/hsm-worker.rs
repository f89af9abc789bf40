//! The internal processes as a program, so that the driver's tests need no gateway: `hsm-worker DEVICE` is a
//! worker, `hsm-worker provision` sets up a token, `hsm-worker probe` examines one.

use std::process::ExitCode;

fn main() -> ExitCode {
    match std::env::args().nth(1).as_deref() {
        Some("provision") => hsm_driver::provision::run(),
        Some("probe") => hsm_driver::probe::run(),
        _ => hsm_driver::worker::run(),
    }
}
