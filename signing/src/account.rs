//! What a report for people says of a signature.

use formats::chain::{TrustStore, Usage};
use formats::report::{Item, Row, Section, rows};
use formats::words::Words;
use formats::{Certificate, Judgement, cms, tsp};
use time::OffsetDateTime;

use crate::archive::{ArchiveAnswer, ArchivedAnswer};
use crate::{
    EvidenceAnswer, Input, Judged, SignerSummary, StampAnswer, StampSignature, StampedAnswer, TimestampAnswer,
};

/// The paths that the signers' certificates were judged by, in the signers' order; empty where there is none.
#[must_use]
pub fn signer_paths(
    trust: &TrustStore,
    kind: SignatureKind,
    signature: &[u8],
    signers: &[SignerSummary],
    at: OffsetDateTime,
) -> Vec<Vec<Certificate>> {
    let carried = match kind {
        SignatureKind::Raw => Vec::new(),
        SignatureKind::Cms => cms::certificates(signature),
        SignatureKind::Timestamp => tsp::certificates(signature),
    };
    let path = |signer: &SignerSummary| {
        let Some(certificate) = certificate(signer) else { return Vec::new() };
        formats::chain::path(&certificate, &carried, trust, kind.usage(), at)
    };
    signers.iter().map(path).collect()
}

/// What kind of signature was judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignatureKind {
    /// A bare signature.
    Raw,
    /// A SignedData.
    Cms,
    /// A timestamp response or token.
    Timestamp,
}

impl SignatureKind {
    fn words(self) -> Words {
        match self {
            Self::Raw => Words::new("签名值", "raw signature"),
            Self::Cms => formats::opened::Kind::Cms.words(),
            Self::Timestamp => formats::opened::Kind::Timestamp.words(),
        }
    }

    fn usage(self) -> Usage {
        match self {
            Self::Raw | Self::Cms => Usage::DocumentSigning,
            Self::Timestamp => Usage::TimeStamping,
        }
    }
}

/// The account of a signature.
#[must_use]
pub fn signature_item(
    trust: &TrustStore,
    kind: SignatureKind,
    judged: &Judged<'_>,
    timestamp: Option<&TimestampAnswer>,
) -> Item {
    let mut known: Vec<Row> = Vec::new();
    if let Some(name) = judged.name {
        known.push(Row::new(Words::new("文件", "File"), name));
    }
    known.push(Row::new(Words::new("签名长度", "Signature, octets"), judged.signature.len().to_string()));
    known.extend(rows::digests(judged.signature));
    known.extend(document_rows(judged.input));
    known.extend(rows::policy(kind.usage(), trust, judged.at));
    if let Some(info) = timestamp {
        known.extend(timestamp_rows(info));
    }
    let mut sections = Vec::new();
    for (index, signer) in judged.signers.iter().enumerate() {
        let path = judged.paths.get(index).map_or(&[][..], Vec::as_slice);
        let heading = Words::new("签名", "Signature");
        let number = (judged.signers.len() > 1).then_some(index + 1);
        sections.push(signer_section(heading, number, 0, signer, path));
        for (index, counter) in signer.counter_signatures.iter().enumerate() {
            let heading = Words::new("副署签名", "Counter-signature");
            sections.push(signer_section(heading, Some(index + 1), 1, counter, &[]));
        }
        for (index, stamp) in signer.timestamps.iter().enumerate() {
            sections.push(timestamp_section(index, stamp));
        }
    }
    Item { kind: kind.words(), judgement: judged.judgement.clone(), rows: known, sections }
}

/// The account of a stamped document, which whoever asks calls `name`.
#[must_use]
pub fn stamped_item(
    trust: &TrustStore,
    name: Option<&str>,
    document: &[u8],
    answer: &StampAnswer,
    at: OffsetDateTime,
) -> Item {
    let mut known: Vec<Row> = Vec::new();
    known.extend(name.map(|name| Row::new(Words::new("文件", "File"), name)));
    known.push(Row::new(Words::new("文件长度", "Octets"), document.len().to_string()));
    known.extend(rows::digests(document));
    known.push(Row::new(Words::new("版本数", "Revisions"), answer.revisions.to_string()));
    known.extend(rows::policy(Usage::DocumentSigning, trust, at));
    let mut sections = Vec::new();
    for (index, signature) in answer.signatures.iter().enumerate() {
        sections.push(Section {
            heading: Words::new("文件签名", "Signature of the document"),
            number: Some(index + 1),
            depth: 0,
            judgement: Some(signature.judgement.clone()),
            rows: stamp_rows(signature),
        });
        for signer in &signature.signers {
            sections.push(signer_section(Words::new("签名人", "Signer"), None, 1, signer, &[]));
            for (index, stamp) in signer.timestamps.iter().enumerate() {
                sections.push(timestamp_section(index, stamp));
            }
        }
    }
    Item {
        kind: formats::opened::Kind::Pdf.words(),
        judgement: answer.judgement.clone(),
        rows: known,
        sections,
    }
}

/// The account of an archive package: of what it holds, with the verdict on all of it; none of one whose document was not judged.
#[must_use]
pub fn archive_item(
    trust: &TrustStore,
    name: &str,
    archive: &[u8],
    answer: &ArchiveAnswer,
    judgement: &Judgement,
    at: OffsetDateTime,
) -> Option<Item> {
    let (document, evidence) = answer.document.as_ref().zip(answer.evidence.as_ref())?;
    let (grounds, at) = evidence.grounds().unwrap_or((trust, at));
    let mut item = archived_item(grounds, name, archive, document, evidence, at);
    item.kind = formats::opened::Kind::Archive.words();
    item.judgement = judgement.clone();
    if let Some(manifest) = &answer.manifest_signature {
        let heading = Words::new("归档包清单的签名人", "Signer of the manifest");
        let signers = manifest.signers.iter();
        item.sections.extend(signers.map(|signer| signer_section(heading, None, 0, signer, &[])));
    }
    Some(item)
}

/// The account of what an archive package holds, called `name` in it, judged as of `at`.
pub(crate) fn archived_item(
    trust: &TrustStore,
    name: &str,
    stamped: &[u8],
    answer: &ArchivedAnswer,
    evidence: &EvidenceAnswer,
    at: OffsetDateTime,
) -> Item {
    let mut item = if let ArchivedAnswer::Document(StampedAnswer::Pdf(answer)) = answer {
        stamped_item(trust, Some(name), stamped, answer, at)
    } else {
        let mut known = vec![
            Row::new(Words::new("文件", "File"), name),
            Row::new(Words::new("文件长度", "Octets"), stamped.len().to_string()),
        ];
        known.extend(rows::digests(stamped));
        known.extend(rows::policy(Usage::DocumentSigning, trust, at));
        let signers = answer.signers();
        let each = signers.iter().enumerate();
        let section =
            |(index, signer)| signer_section(Words::new("签名人", "Signer"), Some(index + 1), 0, signer, &[]);
        let kind = match answer {
            ArchivedAnswer::Document(_) => formats::opened::Kind::Ofd,
            ArchivedAnswer::Digest(_) => formats::opened::Kind::Cms,
        };
        let (kind, judgement) = (kind.words(), answer.judgement().clone());
        Item { kind, judgement, rows: known, sections: each.map(section).collect() }
    };
    let mut known = Vec::new();
    if let Some(number) = &evidence.stamp_id {
        known.push(Row::new(Words::new("签章编号", "Number of the stamp"), number.as_str()));
    }
    for record in &evidence.records {
        known.extend(record.time.map(|time| Row::at(Words::new("时间戳时间", "Stamped at"), time)));
    }
    item.sections.push(Section {
        heading: Words::new("长期验证证据", "Evidence for long-term verification"),
        number: None,
        depth: 0,
        judgement: Some(evidence.judgement.clone()),
        rows: known,
    });
    item
}

fn stamp_rows(signature: &StampSignature) -> Vec<Row> {
    let mut known = vec![
        Row::new(Words::new("签名域", "Field"), signature.field.as_str()),
        Row::new(Words::new("签名形式", "Form"), signature.sub_filter.as_str()),
    ];
    if let Some(coverage) = signature.coverage {
        let covered = format!("{} ({} octets)", coverage.revision, coverage.octets);
        known.push(Row::new(Words::new("覆盖至版本", "Covers revisions up to"), covered));
    }
    if let Some(level) = signature.certification {
        known.push(Row::new(Words::new("认证级别", "Certification level"), level.to_string()));
    }
    let claims = &signature.claims;
    for (label, claim) in [
        (Words::new("自称姓名", "Name, as claimed"), &claims.name),
        (Words::new("自称事由", "Reason, as claimed"), &claims.reason),
        (Words::new("自称地点", "Location, as claimed"), &claims.location),
        (Words::new("自称时间", "Time, as claimed"), &claims.time),
    ] {
        known.extend(claim.as_ref().map(|claim| Row::new(label, claim.as_str())));
    }
    known.extend(
        signature.proven_at.map(|time| Row::at(Words::new("证明存在于", "Proved to have existed at"), time)),
    );
    if let Some(info) = &signature.timestamp {
        known.push(Row::at(Words::new("时间戳时间", "Stamped at"), info.time));
    }
    if let Some(seal) = &signature.seal {
        known.push(Row::new(Words::new("印章", "Seal"), format!("{} ({})", seal.name, seal.id)));
        known.extend(seal.maker.as_deref().map(|maker| Row::new(Words::new("制章者", "Seal maker"), maker)));
    }
    for change in &signature.changes {
        let label = match change.permitted {
            true => Words::new("此后的改动（允许）", "Later change, permitted"),
            false => Words::new("此后的改动（不允许）", "Later change, not permitted"),
        };
        known.push(Row::new(label, format!("{}: {} ({})", change.revision, change.detail, change.code)));
    }
    known
}

fn timestamp_section(index: usize, stamp: &TimestampAnswer) -> Section {
    Section {
        heading: Words::new("签名时间戳", "Signature timestamp"),
        number: Some(index + 1),
        depth: 1,
        judgement: Some(stamp.judgement.clone()),
        rows: timestamp_rows(stamp),
    }
}

fn certificate(signer: &SignerSummary) -> Option<Certificate> {
    Certificate::from_pem(signer.certificate.as_deref()?).ok()
}

fn document_rows(input: Option<&Input>) -> Vec<Row> {
    const LENGTH: Words = Words::new("原文长度", "Document, octets");
    match input {
        None => Vec::new(),
        Some(Input::Digest(digest)) => {
            vec![Row::new(Words::new("所给原文摘要", "Digest given"), hex::encode(digest))]
        }
        Some(Input::Data(data)) => {
            let [sm3, sha256] = rows::digests(data);
            vec![
                Row::new(LENGTH, data.len().to_string()),
                Row { label: Words::new("原文 SM3 摘要", "Document's SM3 digest"), ..sm3 },
                Row { label: Words::new("原文 SHA-256 摘要", "Document's SHA-256 digest"), ..sha256 },
            ]
        }
    }
}

fn signer_section(
    heading: Words,
    number: Option<usize>,
    depth: usize,
    signer: &SignerSummary,
    path: &[Certificate],
) -> Section {
    let certificate = certificate(signer);
    let text = |label, value: &Option<String>| value.as_ref().map(|value| Row::new(label, value.as_str()));
    let mut known: Vec<Row> = match &certificate {
        Some(certificate) => rows::certificate(certificate).into(),
        None => [
            text(Words::new("证书主体", "Subject"), &signer.subject),
            text(Words::new("签发者", "Issuer"), &signer.issuer),
            text(Words::new("证书序列号", "Serial number"), &signer.serial),
        ]
        .into_iter()
        .flatten()
        .collect(),
    };
    if let Some(algorithm) = signer.algorithm {
        known.push(Row::new(Words::new("签名算法", "Algorithm"), algorithm.name()));
    }
    if let Some(time) = signer.signing_time {
        known.push(Row::at(Words::new("自称签名时间", "Signing time, as claimed"), time));
    }
    if let Some(facts) = &signer.facts {
        let usage = facts.key_usage.iter().copied();
        let usage: Vec<&str> = usage.chain(facts.extended_key_usage.iter().map(String::as_str)).collect();
        known.push(Row::new(Words::new("密钥", "Key"), format!("{} {}", facts.key, usage.join(", "))));
    }
    known.extend(rows::path(path));
    for (label, signed) in [
        (Words::new("签名属性", "Signed attributes"), true),
        (Words::new("未签名属性", "Unsigned attributes"), false),
    ] {
        let named = signer.attributes.iter().filter(|attribute| attribute.signed == signed);
        let named: Vec<&str> = named.map(|attribute| attribute.name.unwrap_or(&attribute.oid)).collect();
        if !named.is_empty() {
            known.push(Row::new(label, named.join(", ")));
        }
    }
    Section { heading, number, depth, judgement: Some(signer.judgement.clone()), rows: known }
}

fn timestamp_rows(stamp: &TimestampAnswer) -> Vec<Row> {
    let Some(info) = &stamp.timestamp else { return Vec::new() };
    let mut rows = vec![Row::at(Words::new("时间戳时间", "Stamped at"), info.time)];
    if let Some(accuracy) = info.accuracy_us {
        rows.push(Row::new(Words::new("精度", "Accuracy"), format!("{accuracy} µs")));
    }
    if let Some(authority) = stamp.signers.first().and_then(|signer| signer.subject.as_deref()) {
        rows.push(Row::new(Words::new("时间戳服务", "Authority"), authority));
    }
    rows.push(Row::new(Words::new("时间戳序列号", "Timestamp's serial"), info.serial.as_str()));
    rows.push(Row::new(Words::new("时间戳策略", "Timestamp's policy"), info.policy.as_str()));
    rows.push(Row::new(
        Words::new("所戳摘要", "Imprint"),
        format!("{} {}", info.hash_algorithm, info.imprint),
    ));
    rows
}
