//! Verdicts and the findings they rest on.

use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};

use crate::words;

/// What verification concludes. The later of two beats the earlier when judgements are merged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Everything that was to be checked was, and holds.
    Valid,
    /// There is no signature to judge.
    Unsigned,
    /// Something needed for a judgement is missing; nothing speaks against validity.
    Indeterminate,
    /// Something was checked and does not hold.
    Invalid,
}

impl Verdict {
    /// Its word, as programs know it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Valid => "valid",
            Self::Unsigned => "unsigned",
            Self::Indeterminate => "indeterminate",
            Self::Invalid => "invalid",
        }
    }
}

/// One thing found, with a code that programs may rely on. Serialized as `{code, detail, message: {zh, en}}`, the
/// message being what the code means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Stable, snake_case.
    pub code: &'static str,
    /// For people: which certificate, which time, which value.
    pub detail: String,
    /// The best verdict that it leaves possible; valid for a note.
    pub effect: Verdict,
}

impl Finding {
    /// One that keeps the matter from being decided.
    pub fn indeterminate(code: &'static str, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into(), effect: Verdict::Indeterminate }
    }

    /// One that leaves the verdict as it is.
    pub fn note(code: &'static str, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into(), effect: Verdict::Valid }
    }
}

impl Serialize for Finding {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut members = serializer.serialize_struct("Finding", 3)?;
        members.serialize_field("code", self.code)?;
        members.serialize_field("detail", &self.detail)?;
        match words::finding(self.code) {
            Some(message) => members.serialize_field("message", &message)?,
            None => members.skip_field("message")?,
        }
        members.end()
    }
}

/// A verdict and the findings in the order they were made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Judgement {
    /// The worst that any finding made of it.
    pub verdict: Verdict,
    /// What was found; notes are among them and do not change the verdict.
    pub findings: Vec<Finding>,
}

impl Judgement {
    /// Valid, until something is found.
    pub fn new() -> Self {
        Self { verdict: Verdict::Valid, findings: Vec::new() }
    }

    /// Records what makes it invalid.
    pub fn invalid(&mut self, code: &'static str, detail: impl Into<String>) {
        self.find(Verdict::Invalid, code, detail.into());
    }

    /// Records what keeps it from being decided.
    pub fn indeterminate(&mut self, code: &'static str, detail: impl Into<String>) {
        self.find(Verdict::Indeterminate, code, detail.into());
    }

    /// Records that there is nothing signed.
    pub fn unsigned(&mut self, code: &'static str, detail: impl Into<String>) {
        self.find(Verdict::Unsigned, code, detail.into());
    }

    /// Records what readers should know and what leaves the verdict as it is.
    pub fn note(&mut self, code: &'static str, detail: impl Into<String>) {
        self.find(Verdict::Valid, code, detail.into());
    }

    /// Takes over the findings of `other`; the worse verdict stays.
    pub fn merge(&mut self, other: Judgement) {
        self.verdict = self.verdict.max(other.verdict);
        self.findings.extend(other.findings);
    }

    /// Is there a finding with this code?
    pub fn has(&self, code: &str) -> bool {
        self.findings.iter().any(|finding| finding.code == code)
    }

    fn find(&mut self, verdict: Verdict, code: &'static str, detail: String) {
        self.verdict = self.verdict.max(verdict);
        self.findings.push(Finding { code, detail, effect: verdict });
    }
}

impl Default for Judgement {
    fn default() -> Self {
        Self::new()
    }
}
