//! Structured logs on standard error, and counts of what is logged about the database.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use config::Config;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, fmt};

use crate::error::StartupError;
use crate::traces::{self, Exporting};

/// How a log line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// What was slow in the database since the start: the driver says so in the log, whether anybody reads it or not.
#[derive(Debug, Default)]
pub(crate) struct Slow {
    statements: AtomicU64,
    acquires: AtomicU64,
}

impl Slow {
    /// Statements that took longer than the site's threshold.
    pub(crate) fn statements(&self) -> u64 {
        self.statements.load(Ordering::Relaxed)
    }

    /// Waits for a connection that took longer.
    pub(crate) fn acquires(&self) -> u64 {
        self.acquires.load(Ordering::Relaxed)
    }
}

const STATEMENTS: &str = "sqlx::query";
const ACQUIRES: &str = "sqlx::pool::acquire";

struct Counting(Arc<Slow>);

impl<S: Subscriber> Layer<S> for Counting {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let counter = match event.metadata().target() {
            STATEMENTS => &self.0.statements,
            ACQUIRES => &self.0.acquires,
            _ => return,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

/// Starts logging, and tracing if the site has a collector; a filter that cannot be read means `info`.
pub(crate) fn start(
    format: LogFormat,
    filter: &str,
    config: &Config,
) -> Result<(Arc<Slow>, Option<Exporting>), StartupError> {
    let (subscriber, slow) = subscriber(format, filter);
    let (traces, exporting) = traces::layer(&config.traces, &config.site.name)?.unzip();
    subscriber.with(traces).init();
    Ok((slow, exporting))
}

/// What is counted is counted whatever the filter says.
fn subscriber(
    format: LogFormat,
    filter: &str,
) -> (impl Subscriber + for<'s> LookupSpan<'s> + Send + Sync, Arc<Slow>) {
    let filter = EnvFilter::try_new(filter).unwrap_or_else(|_| EnvFilter::new("info"));
    let lines = fmt::layer().with_writer(std::io::stderr);
    let lines = match format {
        LogFormat::Text => lines.with_ansi(false).with_filter(filter).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).with_filter(filter).boxed(),
    };
    let slow = Arc::<Slow>::default();
    // The driver's warnings are about what is slow; ordinary statements it tells on lower levels.
    let warnings = Targets::new().with_target(STATEMENTS, Level::WARN).with_target(ACQUIRES, Level::WARN);
    let counting = Counting(Arc::clone(&slow)).with_filter(warnings);
    (tracing_subscriber::registry().with(lines).with(counting), slow)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_slow_is_counted_though_nobody_wants_to_read_of_it() {
        let (subscriber, slow) = subscriber(LogFormat::Text, "off");
        tracing::subscriber::with_default(subscriber, || {
            for _ in 0..2 {
                tracing::warn!(target: STATEMENTS, "slow statement");
            }
            tracing::warn!(target: ACQUIRES, "slow acquire");
            tracing::debug!(target: STATEMENTS, "an ordinary one");
            tracing::warn!("something else");
        });
        assert_eq!((slow.statements(), slow.acquires()), (2, 1));
    }
}
