//! Makes nine (or ninety) PKCS#11 devices look like one call that is bounded, routed, checked and honest about
//! failure.
//!
//! `Fleet::sign` → `route` picks a device → `Device::submit` puts the work into its bounded queue → the
//! supervisor sends it to the device's worker process → a lane calls C_Sign → the answer is brought into
//! canonical form and verified in software before it leaves.
//!
//! Invariants: vendor code runs in worker processes only; a PKCS#11 session belongs to one thread; every queue
//! is bounded and every call has a deadline; a signature leaves after it verified; a key of one group is never
//! asked of another.

mod budget;
mod ceremony;
mod chatter;
mod device;
mod dialect;
mod errand;
mod error;
mod feed;
mod fleet;
mod frame;
mod group_load;
mod health;
mod key;
mod line;
mod order;
mod plan;
pub mod probe;
mod process;
pub mod provision;
mod queue;
mod route;
mod self_test;
mod status;
mod supervisor;
mod telemetry;
mod weight;
pub mod worker;

pub use ceremony::{SecretSpec, Spread};
pub use device::{KeyState, WorkerCommand};
pub use dialect::{Dialect, Sm2Numbers, Sm3Numbers, Sm4Numbers};
pub use error::{Blame, HsmError, ReturnValue, StartError};
pub use fleet::{Ask, Fleet, Reconfigured, Signed, WrappedKey};
pub use frame::TokenFacts;
pub use health::State;
pub use key::{Algorithm, KeySpec, PublicKey};
pub use order::{Answer, KeyKind, KeyObject, KnownAnswer, Order, SecretKind};
pub use self_test::{Check, CheckOutcome, SelfTest};
pub use status::{DeviceStatus, DeviceTelemetry, DeviceTotals, GroupStatus, KeyStatus, LaneStatus, Spans};
pub use telemetry::{CodeCount, StateChange, StateHistory, StateTime, Summary};
