//! The site under test: a folder, nine simulated devices and the real `license-gateway`, seen from outside.
//!
//! Nothing here links a crate of the gateway. [`Site`] runs the program, [`Caller`] speaks HTTP to it, [`Scratch`]
//! runs the foreign tools (OpenSSL, BouncyCastle, curl) whose opinion counts in the suites.
//!
//! Invariants: whatever is missing fails the test, nothing is skipped; every wait has a bound; whatever was started
//! is stopped, also when the test process is killed.

mod authority;
mod bouncycastle;
mod browser;
mod built;
mod foreign;
mod http;
mod people;
mod postgres;
mod processes;
mod scratch;
mod signer;
mod site;
mod source;
mod time_server;
mod tree;
mod wait;

pub use authority::{Authority, HttpsFiles};
pub use bouncycastle::BouncyCastle;
pub use browser::Browser;
pub use built::{gateway, hsm_sim, repository, update_snapshots};
pub use foreign::Foreign;
pub use http::{Answer, Caller, base64, unbase64};
pub use people::{Person, SignedIn, code};
pub use postgres::{Postgres, free_port};
pub use processes::{Worker, alive, signal};
pub use scratch::{Ran, Scratch};
pub use signer::{SignedRequest, Signer, canonical, nonce, now, raw};
pub use site::{Folder, Shared, Site, audit_on, shared};
pub use source::{Fields, Reply, Source};
pub use time_server::TimeServer;
pub use tree::items_root;
pub use wait::eventually;
