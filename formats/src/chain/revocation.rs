//! Revocation along a path, by CRLs (RFC 5280, 6.3) and OCSP responses (RFC 6960).

use time::{Duration, OffsetDateTime};
use x509_cert::ext::pkix::CrlReason;

use super::search::Search;
use super::{JudgedTime, RevocationMode, RevocationPolicy, crl, ocsp, stamp, subject_of};
use crate::verdict::Judgement;
use crate::x509::Certificate;

/// What a source without nextUpdate is good for after thisUpdate, when the policy sets no limit: an OCSP
/// response without one says that newer ones can be had all the time.
pub(super) const AGE_OF_OPEN_RESPONSE: Duration = Duration::days(1);

/// What the sources say about one certificate.
#[derive(Default)]
pub(super) struct Word {
    /// The earliest revocation told of, holds apart.
    revoked: Option<(OffsetDateTime, CrlReason)>,
    /// The newest word of a hold: when it was given, and since when it holds.
    hold: Option<(OffsetDateTime, OffsetDateTime)>,
    /// The newest word of there being no hold.
    not_held: Option<OffsetDateTime>,
    /// Did fresh sources that cover all reasons not tell of a revocation?
    pub(super) good: bool,
    /// What is noted when sources that count only by the policy's grace did not tell of one.
    pub(super) in_grace: Judgement,
    /// Why sources could not be used.
    pub(super) obstacles: Judgement,
}

impl Word {
    pub(super) fn revoke(&mut self, at: OffsetDateTime, reason: CrlReason) {
        if self.revoked.is_none_or(|(earlier, _)| at < earlier) {
            self.revoked = Some((at, reason));
        }
    }

    pub(super) fn hold(&mut self, told: OffsetDateTime, since: OffsetDateTime) {
        self.hold = self.hold.max(Some((told, since)));
    }

    pub(super) fn not_held(&mut self, told: OffsetDateTime) {
        self.not_held = self.not_held.max(Some(told));
    }

    /// Since when and why it is revoked.
    pub(super) fn revocation(&self) -> Option<(OffsetDateTime, CrlReason)> {
        let hold = self.hold.filter(|(told, _)| self.not_held.is_none_or(|other| *told >= other));
        let hold = hold.map(|(_, since)| (since, CrlReason::CertificateHold));
        self.revoked.into_iter().chain(hold).min_by_key(|(when, _)| *when)
    }

    /// A source was passed over that might have told of a revocation: that others did not is no word of there being none.
    fn leave_open(&mut self, certificate: &Certificate) {
        (self.good, self.in_grace) = (false, Judgement::new());
        let subject = subject_of(certificate);
        let detail =
            format!("there are more certificates than are tried as signers of what tells about {subject}");
        self.obstacles.indeterminate("revocation_unknown", detail);
    }

    /// Did no source speak about the certificate at all?
    fn is_silent(&self) -> bool {
        let nothing_noted = self.in_grace.findings.is_empty() && self.obstacles.findings.is_empty();
        self.revocation().is_none() && !self.good && nothing_noted
    }
}

/// Judges every certificate of `path` below the anchor.
pub(super) fn judge<'a>(search: &mut Search<'a>, path: &[&'a Certificate]) -> Judgement {
    let mut judgement = Judgement::new();
    if search.trust.revocation.mode == RevocationMode::Off {
        if path.len() > 1 {
            judgement.note("revocation_not_checked", "the policy is not to ask about revocation");
        }
        return judgement;
    }
    let mut unchecked = Vec::new();
    for position in 0..path.len() - 1 {
        let certificate = path[position];
        let mut word = Word::default();
        let before = std::mem::take(&mut search.exhausted);
        ocsp::ask(search, &path[position..], &mut word);
        crl::ask(search, &path[position..], &mut word);
        if search.exhausted {
            word.leave_open(certificate);
        }
        search.exhausted |= before;
        if word.is_silent() {
            unchecked.push(subject_of(certificate).to_string());
        } else {
            conclude(&mut judgement, certificate, word, search.at);
        }
    }
    if !unchecked.is_empty() {
        let of_whom = unchecked.join(", ");
        if search.trust.revocation.mode == RevocationMode::Required {
            judgement.indeterminate("revocation_unknown", format!("no CRL or OCSP response for {of_whom}"));
        } else {
            judgement.note("revocation_not_checked", format!("no CRL for {of_whom}"));
        }
    }
    judgement
}

fn conclude(judgement: &mut Judgement, certificate: &Certificate, word: Word, at: &JudgedTime) {
    let revoked = word.revocation().map(|(when, reason)| {
        let (subject, reason) = (subject_of(certificate), reason_name(reason));
        (when, format!("{subject} was revoked at {}, reason {reason}", stamp(when)))
    });
    match revoked {
        Some((when, detail)) if !at.is_before(when) => judgement.invalid("revoked", detail),
        // That it was revoked afterwards is a source's word that it was not before.
        Some((_, detail)) => judgement.note("revoked_later", detail),
        None if word.good => {}
        None if !word.in_grace.findings.is_empty() => judgement.merge(word.in_grace),
        None => judgement.merge(word.obstacles),
    }
}

/// How far a source may be relied on for what it does not say.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Freshness {
    Fresh,
    /// Past its nextUpdate, within the policy's grace.
    InGrace,
    Stale,
}

/// How far a source may be relied on at `at`.
pub(super) fn freshness(
    policy: RevocationPolicy,
    this_update: OffsetDateTime,
    next_update: Option<OffsetDateTime>,
    age_without_next_update: Option<Duration>,
    at: &JudgedTime,
) -> Freshness {
    let limit = policy.max_age.or(age_without_next_update.filter(|_| next_update.is_none()));
    if limit.is_some_and(|limit| at.is_after(this_update.saturating_add(limit))) {
        return Freshness::Stale;
    }
    match next_update {
        Some(next) if !at.is_after(next) => Freshness::Fresh,
        Some(next) if at.is_after(next.saturating_add(policy.grace)) => Freshness::Stale,
        Some(_) => Freshness::InGrace,
        None => Freshness::Fresh,
    }
}

/// The names of RFC 5280, 5.3.1.
fn reason_name(reason: CrlReason) -> &'static str {
    match reason {
        CrlReason::Unspecified => "unspecified",
        CrlReason::KeyCompromise => "keyCompromise",
        CrlReason::CaCompromise => "cACompromise",
        CrlReason::AffiliationChanged => "affiliationChanged",
        CrlReason::Superseded => "superseded",
        CrlReason::CessationOfOperation => "cessationOfOperation",
        CrlReason::CertificateHold => "certificateHold",
        CrlReason::RemoveFromCRL => "removeFromCRL",
        CrlReason::PrivilegeWithdrawn => "privilegeWithdrawn",
        CrlReason::AaCompromise => "aACompromise",
    }
}
