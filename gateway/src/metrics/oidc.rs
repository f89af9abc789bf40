//! Logins by OpenID Connect.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::Metrics;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StepLabel {
    step: &'static str,
}

/// What becomes of a login at this gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LoginStep {
    /// An app pushed what it asks for.
    Pushed,
    /// A browser was shown a code to scan.
    Begun,
    /// It was sent back to its app with an authorization code.
    Granted,
    /// It was sent back without one.
    Denied,
    /// The app exchanged its code.
    Redeemed,
    /// The app exchanged a refresh token.
    Refreshed,
    /// A code or a refresh token came a second time, and ended the login.
    Replayed,
    /// Its app or its holder ended it.
    Ended,
}

impl LoginStep {
    fn name(self) -> &'static str {
        match self {
            Self::Pushed => "pushed",
            Self::Begun => "begun",
            Self::Granted => "granted",
            Self::Denied => "denied",
            Self::Redeemed => "redeemed",
            Self::Refreshed => "refreshed",
            Self::Replayed => "replayed",
            Self::Ended => "ended",
        }
    }
}

/// How often each step was made, and who waits.
#[derive(Default)]
pub(super) struct LoginFigures {
    steps: Family<StepLabel, Counter>,
    waiting: Gauge,
}

impl LoginFigures {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "oidc_logins",
            "Steps of logins by OpenID Connect at this gateway",
            self.steps.clone(),
        );
        registry.register(
            "oidc_pages_waiting",
            "Browsers' requests that wait for somebody to scan at this gateway",
            self.waiting.clone(),
        );
    }

    pub(super) fn take(&self, waiting: usize) {
        self.waiting.set(i64::try_from(waiting).unwrap_or(i64::MAX));
    }
}

impl Metrics {
    /// A login came to a step.
    pub(crate) fn login(&self, step: LoginStep) {
        self.logins.steps.get_or_create(&StepLabel { step: step.name() }).inc();
    }
}
