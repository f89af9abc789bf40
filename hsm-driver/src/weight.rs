//! How much of its usual work a device gets.
use std::time::Duration;

/// From 0.05 on its return to 1 when the ramp is over.
pub(crate) fn ramp(since_ready: Duration, ramp: Duration) -> f64 {
    if ramp.is_zero() { 1.0 } else { (0.05 + 0.95 * since_ready.as_secs_f64() / ramp.as_secs_f64()).min(1.0) }
}
