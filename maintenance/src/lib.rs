//! Incidents (故障事件): how they go from being reported to being closed, how grave they are, and whether what was promised about them was
//! kept. Nothing here reads a clock, a file or a database: an [`Incident`] is what its steps come to, so that every figure can be
//! told again from what is on record.

mod clock;
mod grade;
mod incident;
mod step;

pub use clock::{Clock, Standing, TimelyRate};
pub use grade::{Data, Effect, Extent, Level};
pub use incident::{Incident, IncidentError, State};
pub use step::{Does, Profile, Report, Source, Step, System, Way};
