//! What the license gateway promises, checked from outside; one file per behaviour.
#![allow(clippy::unwrap_used, reason = "everything here is a test")]

mod admin;
mod audit;
mod bad_input;
mod batches;
mod ceremonies;
mod cms;
mod config;
mod crash;
mod deadlines;
mod documents;
mod draining;
mod fleet;
mod idempotency;
mod key_commands;
mod layering;
mod licenses;
mod openapi;
mod operations;
mod overload;
mod postgres;
mod probe;
mod protection;
mod reload;
mod replace;
mod replicas;
mod reports;
mod requirements;
mod restart;
mod revocation;
mod signing;
mod soak;
mod tls;
mod trust_folder;
mod verification;
