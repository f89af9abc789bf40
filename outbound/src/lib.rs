//! Everything that leaves: what apps are to be told goes from one durable queue (`store::deliveries`) to the addresses that
//! were registered for them, as webhooks in the form of [Standard Webhooks](https://www.standardwebhooks.com); and what others
//! are asked while somebody waits goes by [`Inquirer`].
//!
//! Invariants: nothing is sent but to an address that somebody registered, and never to one that is not public, unless the
//! site says so ([`AddressRules`]); redirects are not followed; every attempt has a time limit, and one destination takes
//! only its share of the attempts at a time; what the other side took is on record as taken, and what it did not take is
//! tried again until its time is over ([`Patience`]).

mod address;
mod client;
mod courier;
mod inquiry;
mod patience;
mod webhook;

pub use address::{AddressRefused, AddressRules};
pub use client::Client;
pub use courier::{Courier, Figures};
pub use inquiry::{Inquirer, Inquiry, NoAnswer, NotAsked};
pub use patience::Patience;
pub use webhook::{NotSigned, SECRET_LENGTH, SystemSigner, secret_text};
