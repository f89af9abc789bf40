//! NIST's Public Key Interoperability Test Suite (PKITS): every path it has, with the answer it expects.

#![allow(clippy::unwrap_used)] // a helper that fails fails its test

use std::collections::{BTreeMap, BTreeSet};

use const_oid::ObjectIdentifier;
use formats::chain::{PolicyRequirements, RevocationMode, RevocationPolicy, TrustStore, Usage, validate};
use formats::{Certificate, Crl, FormatError, Judgement, Verdict};
use serde::Deserialize;
use time::macros::datetime;
use time::{Duration, OffsetDateTime};

const PKI: &str = include_str!("pkits/pki.pem");
const CASES: &str = include_str!("pkits/cases.json");
const DEVIATIONS: &str = include_str!("pkits/DEVIATIONS.md");

#[derive(Deserialize)]
struct Case {
    /// The section of NIST's document.
    test: String,
    name: String,
    valid: bool,
    /// The finding that must be among those of an invalid path.
    #[serde(default)]
    finding: Option<String>,
    certificate: String,
    intermediates: Vec<String>,
    crls: Vec<String>,
    #[serde(default)]
    user_initial_policy_set: Vec<String>,
    #[serde(default)]
    initial_explicit_policy: bool,
    #[serde(default)]
    initial_policy_mapping_inhibit: bool,
    #[serde(default)]
    initial_any_policy_inhibit: bool,
}

/// The file's blocks by the names that stand above them.
fn pki() -> BTreeMap<&'static str, String> {
    let mut blocks = BTreeMap::new();
    let mut name = "";
    let mut block = String::new();
    for line in PKI.lines() {
        match line {
            _ if line.starts_with("-----BEGIN") => block = format!("{line}\n"),
            _ if line.starts_with("-----END") => {
                blocks.insert(name, format!("{block}{line}\n"));
                block.clear();
            }
            _ if block.is_empty() => name = line,
            _ => block.extend([line, "\n"]),
        }
    }
    blocks
}

const AT: OffsetDateTime = datetime!(2022-05-01 0:00 UTC);

/// The leaf of a case, and what it is judged against.
fn material(case: &Case, pki: &BTreeMap<&str, String>) -> Result<(Certificate, TrustStore), FormatError> {
    let certificate = |name: &String| Certificate::from_pem(&pki[name.as_str()]);
    let crl = |name: &String| Crl::from_pem(&pki[name.as_str()]);
    let leaf = certificate(&case.certificate)?;
    let anchor = certificate(&"TrustAnchorRootCertificate.crt".to_owned())?;
    let intermediates = case.intermediates.iter().map(certificate).collect::<Result<Vec<_>, _>>()?;
    // What cannot be read is not there, as for a site that finds such a file.
    let crls = std::iter::once(&"TrustAnchorRootCRL.crl".to_owned())
        .chain(&case.crls)
        .filter_map(|name| crl(name).ok())
        .collect();
    let policy = |dotted: &String| ObjectIdentifier::new(dotted).unwrap();
    let trust = TrustStore::new(vec![anchor], intermediates, crls)
        .with_revocation(RevocationPolicy { mode: RevocationMode::Required, ..RevocationPolicy::default() })
        .with_policies(PolicyRequirements {
            acceptable: case.user_initial_policy_set.iter().map(policy).collect(),
            explicit: case.initial_explicit_policy,
            inhibit_mapping: case.initial_policy_mapping_inhibit,
            inhibit_any: case.initial_any_policy_inhibit,
        });
    Ok((leaf, trust))
}

fn judge(case: &Case, pki: &BTreeMap<&str, String>) -> Result<Judgement, FormatError> {
    let (leaf, trust) = material(case, pki)?;
    Ok(validate(&leaf, &[], &trust, Usage::DocumentSigning, AT))
}

#[test]
fn every_path_has_the_answer_expected_or_an_explained_deviation() {
    let pki = pki();
    let cases: Vec<Case> = serde_json::from_str(CASES).unwrap();
    let mut deviating = BTreeSet::new();
    for case in &cases {
        let judged = judge(case, &pki);
        let valid = judged.as_ref().is_ok_and(|judgement| judgement.verdict == Verdict::Valid);
        let found = match &judged {
            Ok(judgement) => judgement.findings.iter().map(|f| f.code).collect(),
            Err(_) => vec!["malformed"],
        };
        let for_the_reason = case.finding.as_ref().is_none_or(|code| found.contains(&code.as_str()));
        if valid != case.valid || !for_the_reason {
            println!("{} {}: {judged:?}", case.test, case.name);
            deviating.insert((case.test.clone(), case.name.clone()));
        }
    }
    println!("PKITS: {} of {} as expected", cases.len() - deviating.len(), cases.len());
    let explained: BTreeSet<_> = DEVIATIONS
        .lines()
        .filter_map(|line| {
            let mut cells = line.strip_prefix("| 4.")?.split('|').map(str::trim);
            Some((format!("4.{}", cells.next()?), cells.next()?.to_owned()))
        })
        .collect();
    assert_eq!(deviating, explained);
}

/// In the order of the times and against it, so that what is remembered is of an earlier and of a later time.
#[test]
fn every_answer_is_the_same_when_it_is_remembered() {
    let pki = pki();
    let cases: Vec<Case> = serde_json::from_str(CASES).unwrap();
    for case in &cases {
        let Ok((leaf, trust)) = material(case, &pki) else { continue };
        let mut times = vec![AT, AT - Duration::days(5_000), AT + Duration::days(5_000)];
        for turn in [leaf.not_before(), leaf.not_after()] {
            times.extend([-1, 0, 1].map(|second| turn + Duration::seconds(second)));
        }
        let (remembering, forgetting) = (trust.clone().with_memory(1 << 20), trust.with_memory(0));
        for at in times.iter().chain(times.iter().rev()) {
            for usage in [Usage::DocumentSigning, Usage::License, Usage::Any] {
                let judge = |trust| validate(&leaf, &[], trust, usage, *at);
                assert_eq!(judge(&remembering), judge(&forgetting), "{} {} {at}", case.test, case.name);
            }
        }
        let memory = remembering.memory();
        assert!(memory.hits > memory.misses, "{memory:?}");
    }
}

#[test]
fn the_suite_is_complete() {
    let cases: Vec<Case> = serde_json::from_str(CASES).unwrap();
    let sections: BTreeSet<_> = cases.iter().map(|case| case.test.clone()).collect();
    assert_eq!((cases.len(), sections.len()), (246, 217));
    // A finding is named for every path that is refused.
    assert!(cases.iter().all(|case| case.valid == case.finding.is_none()));
}
