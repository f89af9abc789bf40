//! How findings make a verdict.

use formats::{Judgement, Verdict};

#[test]
fn invalid_beats_indeterminate_beats_unsigned_beats_valid() {
    let mut judgement = Judgement::new();
    assert_eq!(judgement.verdict, Verdict::Valid);
    judgement.note("revocation_not_checked", "");
    assert_eq!(judgement.verdict, Verdict::Valid);
    judgement.unsigned("no_signers", "");
    assert_eq!(judgement.verdict, Verdict::Unsigned);
    judgement.indeterminate("no_path", "");
    assert_eq!(judgement.verdict, Verdict::Indeterminate);
    judgement.invalid("expired", "");
    judgement.indeterminate("crl_stale", "");
    assert_eq!(judgement.verdict, Verdict::Invalid);
}

#[test]
fn merging_keeps_every_finding_and_the_worse_verdict() {
    let mut bad = Judgement::new();
    bad.invalid("expired", "yesterday");
    let mut merged = Judgement::new();
    merged.note("revocation_not_checked", "no CRL");
    merged.merge(bad);
    merged.merge(Judgement::new());
    assert_eq!(
        serde_json::to_value(&merged).unwrap(),
        serde_json::json!({
            "verdict": "invalid",
            "findings": [
                {
                    "code": "revocation_not_checked",
                    "detail": "no CRL",
                    "message": {"zh": "未核查吊销状态", "en": "revocation was not checked"},
                },
                {"code": "expired", "detail": "yesterday", "message": {"zh": "已过期", "en": "expired"}},
            ],
        })
    );
}
