//! The two internal processes as a program, so that the driver's tests need no gateway:
//! `hsm-worker DEVICE` is a worker, `hsm-worker provision` sets up a token.

use std::process::ExitCode;

fn main() -> ExitCode {
    if std::env::args().nth(1).as_deref() == Some("provision") {
        hsm_driver::provision::run()
    } else {
        hsm_driver::worker::run()
    }
}
