//! The trust store in force, which others replace while requests run.

use std::sync::Arc;

use arc_swap::ArcSwap;
use formats::chain::TrustStore;

/// A place for the trust store in force. It is replaced whole; whoever judges takes [`current`](Self::current) once and
/// keeps it to the end, so that nothing is judged by halves of two.
#[derive(Debug)]
pub struct TrustInForce(ArcSwap<TrustStore>);

impl TrustInForce {
    /// With the first one.
    #[must_use]
    pub fn new(trust: TrustStore) -> Self {
        Self(ArcSwap::from_pointee(trust))
    }

    /// What is in force now; waits for nobody.
    #[must_use]
    pub fn current(&self) -> Arc<TrustStore> {
        self.0.load_full()
    }

    /// Puts another in its place, for those who ask from now on.
    pub fn replace(&self, trust: TrustStore) {
        self.0.store(Arc::new(trust));
    }
}
