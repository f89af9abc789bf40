//! What tells one content of a trust store from another.

use std::fmt;

use aws_lc_rs::digest::{Context, SHA256};

use super::{RevocationMode, TrustStore};

/// Names the content of a [`TrustStore`]: SHA-256 over its anchors, intermediates, CRLs and OCSP responses in their
/// order, its policies, its revocation policy and the makers of seals.
///
/// Two stores of one generation judge alike: the same certificate, extra intermediates, usage and time give the same
/// judgement. So it is what a memory of judgements has to be keyed by, together with those four; whatever changes
/// trust, a CRL that was fetched for instance, gives another generation, and what was remembered under the old one
/// no longer counts. It says nothing of the order in which generations were in force, and going back to an earlier
/// content gives the earlier generation.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Generation([u8; 32]);

impl Generation {
    pub(super) fn of(store: &TrustStore) -> Self {
        let TrustStore { anchors, intermediates, crls, ocsp, policies, revocation, seal_makers, .. } = store;
        let mut content = Content(Context::new(&SHA256));
        content.list(b'a', anchors.iter().map(|anchor| anchor.der()));
        content.list(b'i', intermediates.iter().map(|certificate| certificate.der()));
        content.list(b'c', crls.iter().map(|crl| &crl.digest()[..]));
        content.list(b'o', ocsp.iter().map(|response| response.der()));
        content.list(b'p', policies.acceptable.iter().map(|policy| policy.as_bytes()));
        let flags = [policies.explicit, policies.inhibit_mapping, policies.inhibit_any].map(u8::from);
        let mode = match revocation.mode {
            RevocationMode::Required => 0,
            RevocationMode::WhenKnown => 1,
            RevocationMode::Off => 2,
        };
        let max_age = revocation.max_age.map(|age| age.whole_seconds().to_le_bytes());
        let grace = revocation.grace.whole_seconds().to_le_bytes();
        let max_age = max_age.as_ref().map_or(&[][..], |age| &age[..]);
        content.list(b'r', [&flags[..], &[mode], max_age, &grace].into_iter());
        if let Some(makers) = seal_makers {
            content.list(b'm', makers.iter().map(|maker| maker.der()));
        }
        let mut digest = [0; 32];
        digest.copy_from_slice(content.0.finish().as_ref());
        Self(digest)
    }
}

/// Everything with its kind and lengths before it, so that no two contents are one row of octets.
struct Content(Context);

impl Content {
    fn list<'a>(&mut self, kind: u8, items: impl ExactSizeIterator<Item = &'a [u8]>) {
        self.0.update(&[kind]);
        self.number(items.len());
        for item in items {
            self.number(item.len());
            self.0.update(item);
        }
    }

    fn number(&mut self, number: usize) {
        self.0.update(&(number as u64).to_le_bytes());
    }
}

impl fmt::Display for Generation {
    /// 16 hexadecimal digits, enough for people to tell two apart.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(&self.0[..8]))
    }
}

impl fmt::Debug for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Generation({self})")
    }
}
