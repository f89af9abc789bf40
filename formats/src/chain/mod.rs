//! Certificate paths (RFC 5280, 6.1) for SM2, P-256, P-384 and RSA, mixed as they come.
//!
//! Paths are searched from the leaf upward over all certificates whose subject is the issuer's name and
//! whose subjectKeyIdentifier does not contradict the authorityKeyIdentifier. Names compare by RFC 5280,
//! 7.1. The search is bounded: [`MAX_PATH_LENGTH`] certificates, [`MAX_SIGNATURE_CHECKS`] steps, each with
//! one signature check at most. The best path found is the one reported.
//!
//! Every certificate of the path must be within its validity, the anchor too, and the anchor's own
//! basicConstraints and nameConstraints hold. Certificate policies are judged by
//! [`PolicyRequirements`]; the anchor's are not asked. Findings' codes:
//!
//! | verdict | codes |
//! |---|---|
//! | invalid | `not_yet_valid` `expired` `revoked` `issuer_signature_invalid` `key_usage_not_permitted` `not_a_ca` `path_length_exceeded` `name_not_permitted` `policy_not_permitted` `algorithm_mismatch` `unknown_critical_extension` `malformed` |
//! | indeterminate | `no_path` `unsupported_algorithm` `revocation_unknown` `crl_signature_invalid` `crl_not_supported` `crl_stale` `ocsp_signature_invalid` `ocsp_not_supported` `ocsp_stale` `ocsp_status_unknown` |
//! | note | `revocation_not_checked` `revoked_later` `crl_overdue` `ocsp_overdue` |
//!
//! # Revocation
//!
//! CRLs and OCSP responses are of one rank: whichever says "revoked" is believed, and one that is fresh and
//! does not say so is enough. A certificate is revoked from the time of revocation on, or from an earlier
//! invalidityDate. A hold counts only while the newest CRL or response tells of it. What is past its nextUpdate is
//! stale; within the grace of [`RevocationPolicy`] it still counts, with a note (`crl_overdue`, `ocsp_overdue`).
//!
//! A CRL must be direct; it counts for the certificates and reasons that its issuingDistributionPoint names.
//! Indirect ones are refused by name (`crl_not_supported`). Deltas count for what they list, which they can
//! only add to other CRLs: none makes an old one fresh. A CRL is signed by the issuer's
//! key, or by another key for which a path to the same anchor gives the same name and cRLSign. An OCSP
//! response is signed by the issuer's key, or under a certificate from that key for OCSPSigning, which no
//! CRL may list.
//!
//! # Relaxations under [`Usage::License`]
//!
//! Real license certificates do not keep to RFC 5280 and GB/T 20518. What is let pass, and only
//! under that usage:
//!
//! | relaxation | why | what still holds |
//! |---|---|---|
//! | `private_face_extensions` | the face is in extensions `0.6.3.1040.N`, which may be critical | other unknown critical extensions are refused |
//! | `anchor_without_basic_constraints` | the operator configured it as the authority | an anchor that has basicConstraints must be a CA; intermediates must have it |
//!
//! Stricter than elsewhere: issuers' names compare in DER, octet for octet and untrimmed, as some end in a
//! blank.
//!
//! What needs no relaxation, because it is so under every usage: a leaf without keyUsage,
//! basicConstraints, authorityKeyIdentifier or revocation pointers; `notBefore` equal to `notAfter`, which
//! is one second of validity.

mod crl;
mod evidence;
mod generation;
mod makers;
mod memory;
mod names;
mod ocsp;
mod policies;
mod revocation;
mod rules;
mod search;
mod source;
mod span;
mod usage;

use std::fmt;
use std::sync::{Arc, OnceLock};

use sm2_verify::Verifier;
use time::format_description::well_known::Rfc3339;
use time::{Duration, OffsetDateTime};

use self::memory::{Memory, Question};
use self::span::JudgedTime;
use crate::ocsp::OcspResponse;
use crate::verdict::Judgement;
use crate::x509::{Certificate, Crl};

pub use evidence::Evidence;
pub use generation::Generation;
pub use memory::MemoryUse;
use ocsp::Answers;
pub use policies::PolicyRequirements;
pub use source::{OcspAnswer, OcspStatus};
pub use usage::Usage;
pub(crate) use usage::{may_sign_documents, may_timestamp};

/// The most certificates in a path, leaf and anchor included.
pub const MAX_PATH_LENGTH: usize = 10;

/// The most steps from a certificate to one that may be its issuer's, for one leaf; each costs one signature
/// check at most.
pub const MAX_SIGNATURE_CHECKS: usize = 64;

/// What certificates are judged against.
#[derive(Clone, Debug, Default)]
pub struct TrustStore {
    anchors: Vec<Certificate>,
    intermediates: Vec<Certificate>,
    crls: Vec<Arc<Crl>>,
    ocsp: Answers,
    policies: PolicyRequirements,
    revocation: RevocationPolicy,
    /// Whose electronic seals count; none: that is not asked.
    seal_makers: Option<Vec<Certificate>>,
    /// Shared by all that is judged: authorities' keys soon have their tables of multiples.
    verifier: Arc<Verifier>,
    /// Of what was judged against this store: one with anything else in it has another.
    memory: Arc<Memory>,
    /// Made when it is first asked for.
    generation: OnceLock<Generation>,
}

/// Whether revocation is asked about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RevocationMode {
    /// A certificate whose revocation cannot be looked up is left undecided (`revocation_unknown`).
    Required,
    /// Where nothing is known of a certificate's revocation, that is noted (`revocation_not_checked`).
    #[default]
    WhenKnown,
    /// It is not, and that is noted (`revocation_not_checked`).
    Off,
}

/// What is asked of revocation information.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RevocationPolicy {
    /// Whether it is asked.
    pub mode: RevocationMode,
    /// How old a CRL or OCSP response may be at the time judged for, whatever its nextUpdate promises.
    pub max_age: Option<Duration>,
    /// How long past its nextUpdate a CRL or OCSP response still counts, which is noted.
    pub grace: Duration,
}

impl TrustStore {
    /// Anchors are trusted because the caller says so; intermediates only help to build paths; CRLs
    /// count for the authorities that signed them.
    pub fn new(anchors: Vec<Certificate>, intermediates: Vec<Certificate>, crls: Vec<Crl>) -> Self {
        Self { anchors, intermediates, ..Self::default() }.with_crls(crls)
    }

    /// With these CRLs in place of those before; they may be shared with other stores.
    #[must_use]
    pub fn with_crls(self, crls: impl IntoIterator<Item: Into<Arc<Crl>>>) -> Self {
        let crls = crls.into_iter().map(Into::into).collect();
        Self { crls, ..self.changed() }
    }

    /// With OCSP responses, which count for those who may give them.
    #[must_use]
    pub fn with_ocsp(self, ocsp: impl IntoIterator<Item: Into<Arc<OcspResponse>>>) -> Self {
        let ocsp = Answers::new(ocsp.into_iter().map(Into::into).collect());
        Self { ocsp, ..self.changed() }
    }

    /// With what somebody brought along, beside what there is: none of it is trusted, all of it is signed.
    #[must_use]
    pub fn with_more(self, intermediates: Vec<Certificate>, crls: Vec<Crl>, ocsp: Vec<OcspResponse>) -> Self {
        let mut more = self.changed();
        more.intermediates.extend(intermediates);
        more.crls.extend(crls.into_iter().map(Arc::new));
        let known: Vec<_> = more.ocsp.iter().cloned().collect();
        more.ocsp = Answers::new(known.into_iter().chain(ocsp.into_iter().map(Arc::new)).collect());
        more
    }

    /// With certificate policies that paths must be valid for.
    #[must_use]
    pub fn with_policies(self, policies: PolicyRequirements) -> Self {
        Self { policies, ..self.changed() }
    }

    /// With what is asked of revocation information.
    #[must_use]
    pub fn with_revocation(self, revocation: RevocationPolicy) -> Self {
        Self { revocation, ..self.changed() }
    }

    /// About to hold something else: nothing is known of that yet.
    fn changed(self) -> Self {
        Self { generation: OnceLock::new(), memory: self.memory.emptied(), ..self }
    }

    /// What is asked of revocation information.
    pub fn revocation(&self) -> RevocationPolicy {
        self.revocation
    }

    /// With the tables of `verifier` in place of its own.
    #[must_use]
    pub fn with_verifier(self, verifier: Arc<Verifier>) -> Self {
        Self { verifier, ..self }
    }

    /// With room for `bytes` octets of what was judged; with 0 everything is judged anew each time.
    #[must_use]
    pub fn with_memory(self, bytes: usize) -> Self {
        Self { memory: Arc::new(Memory::new(bytes)), ..self }
    }

    /// What it remembers of what was judged against it.
    pub fn memory(&self) -> MemoryUse {
        self.memory.usage()
    }

    /// What verifies SM2 signatures, for use with the keys that this store certifies.
    pub fn verifier(&self) -> &Arc<Verifier> {
        &self.verifier
    }

    /// What tells this store's content from another's.
    pub fn generation(&self) -> Generation {
        *self.generation.get_or_init(|| Generation::of(self))
    }

    /// Anchors, then intermediates.
    pub fn certificates(&self) -> impl Iterator<Item = &Certificate> {
        self.anchors.iter().chain(&self.intermediates)
    }
}

/// Judges whether `leaf` is good for `usage` at `at`, by a path to an anchor of `trust` over its
/// intermediates and `extra_intermediates`.
///
/// What is found is remembered with the span of time in which every comparison with the time, of validity, freshness
/// and revocation, comes out the same; a question that comes again within it is not judged anew.
pub fn validate(
    leaf: &Certificate,
    extra_intermediates: &[Certificate],
    trust: &TrustStore,
    usage: Usage,
    at: OffsetDateTime,
) -> Judgement {
    trust.memory.judgement(Question::new(leaf, extra_intermediates, usage), at, || {
        let at = JudgedTime::new(at);
        let mut judgement = rules::leaf(leaf, usage, &at);
        let mut search = search::Search::new(trust, extra_intermediates, usage == Usage::License, &at);
        judgement.merge(search.judge(leaf));
        (judgement, at.span())
    })
}

/// The path that [`validate`] judges `leaf` by, from the leaf to the anchor; empty when there is none. For reports: it is
/// searched anew.
pub fn path(
    leaf: &Certificate,
    extra_intermediates: &[Certificate],
    trust: &TrustStore,
    usage: Usage,
    at: OffsetDateTime,
) -> Vec<Certificate> {
    let at = JudgedTime::new(at);
    let mut search = search::Search::new(trust, extra_intermediates, usage == Usage::License, &at);
    search.path(leaf).into_iter().cloned().collect()
}

/// The subject for findings, written out only when there is one.
#[derive(Clone, Copy)]
struct Subject<'a>(&'a Certificate);

fn subject_of(certificate: &Certificate) -> Subject<'_> {
    Subject(certificate)
}

impl fmt::Display for Subject<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.0.subject();
        // An empty name would vanish from the sentence.
        f.write_str(if name.is_empty() { "(empty name)" } else { &name })
    }
}

/// A time for findings.
fn stamp(time: OffsetDateTime) -> String {
    time.format(&Rfc3339).unwrap_or_else(|_| time.to_string())
}
