//! The driver's two internal processes as a program, so that this crate's tests need no gateway: with an argument
//! `provision` it sets up a token, else it is a worker.

use std::process::ExitCode;

fn main() -> ExitCode {
    if std::env::args().nth(1).as_deref() == Some("provision") {
        hsm_driver::provision::run()
    } else {
        hsm_driver::worker::run()
    }
}
