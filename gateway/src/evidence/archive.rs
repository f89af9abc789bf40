//! `POST /v1/stamps/{id}/archive`: a stamped document with all that it is verified with later, in one ZIP.
//!
//! The gateway keeps digests of what it stamped, not documents: whoever wants a package hands the document in, and it is held to
//! the register. Of a document of a job what the job keeps is taken. The manifest is signed by the key that the site names for that,
//! and the signature timestamped, so that a package is good for as long as the timestamp is.

use std::io::{self, Write};

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderName, header};
use axum::response::{IntoResponse, Response};
use formats::cms::Family;
use formats::ocsp::OcspResponse;
use formats::scheme::HashAlgorithm;
use formats::{Algorithm, Certificate, Crl, TrustStore, Verdict};
use http_body_util::channel::{Channel, Sender};
use serde::Deserialize;
use signing::{
    ArchiveParts, Asker, Caller, EVIDENCE_HASH, EvidencePackage, Input, MANIFEST, MANIFEST_EVIDENCE,
    MANIFEST_SIGNATURE, MOST_ARCHIVED_EVIDENCE, ManifestEvidence, PreparedArchive, SignOrder,
    SignatureFormat, TimestampSource, evidence_imprint, judge_manifest,
};
use sm3::{Digest, Sm3};
use store::{Blob, Blobs, JobKind, Stamp};
use time::OffsetDateTime;
use tracing::Instrument;
use utoipa::ToSchema;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, DateTime};

use super::show;
use crate::auth::Authenticated;
use crate::body::{Faults, Segment};
use crate::error::with_causes;
use crate::problem::{Fault, Problem, ProblemDocument};
use crate::stamp_jobs::{asking, package::MOST_PACKING};
use crate::stamps;
use crate::stamps::document::{self, DocumentBody};
use crate::state::Gateway;
use crate::timestamps;
use crate::zipped::{AHEAD, Written, written_at};

/// Octets that are written at a time.
const PART: usize = 256 << 10;

/// What is to be archived.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ArchiveRequest {
    /// The stamped document, base64, up to 16 MiB of it; of a stamped digest the CMS over it (`signature` of the stamp's
    /// answer). If absent, what a job keeps of the stamp, for the app that ordered it.
    document: Option<String>,
    /// Of a stamped digest: what it is of, base64, up to 16 MiB of it; a body has room for 16 MiB in all. It becomes part of the
    /// package.
    content: Option<String>,
}

/// An order that was read.
struct Asked {
    document: Option<Vec<u8>>,
    content: Option<Vec<u8>>,
}

impl ArchiveRequest {
    /// Turns words into octets, reporting every fault at once.
    fn read(self) -> Result<Asked, Problem> {
        let mut faults = Faults::default();
        let document = self.document.map(|text| document::octets_of(&mut faults, "document", &text));
        let content = self.content.map(|text| document::octets_of(&mut faults, "content", &text));
        faults.into_result(Some(Asked { document: document.flatten(), content: content.flatten() }))
    }

    /// Whether it can be read.
    pub(crate) fn check(self) -> Result<(), Problem> {
        self.read().map(drop)
    }
}

/// The archive package (归档包) of a stamp: the stamped document, its evidence, a report, and a signed manifest over all of it.
#[utoipa::path(
    post, path = "/v1/stamps/{id}/archive", tag = "stamps", request_body = ArchiveRequest,
    params(("id" = String, Path, description = "the stamp's number, `stamp_id` in answers")),
    responses(
        (status = 200, description = "the package; the verdict on the document in the header `x-verdict`", content((String = "application/zip"))),
        (status = 404, description = "`unknown_stamp`; `no_evidence`: it is not taken yet, or not kept; `archive_packages_not_offered`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 409, description = "`evidence_too_large`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = "4XX", description = "refused; see `code`: `document_differs` of another document than the stamped one", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 503, description = "no device could sign now or in time, or too many packages are written at a time; see Retry-After", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn post_archive(
    caller: Authenticated,
    State(gateway): State<Gateway>,
    Segment(id): Segment,
    DocumentBody { request, place }: DocumentBody<ArchiveRequest>,
) -> Result<Response, Problem> {
    let stamp = stamps::show::stamp_for(&caller, &gateway, &id).await?.stamp;
    let signer = Archivist::of(&gateway)?;
    let packing = gateway.stamp_jobs.packing.arrive(MOST_PACKING, None).ok_or_else(Problem::overloaded)?;
    if !packing.claim(caller.app_id()) {
        return Err(Problem::share_exceeded());
    }
    // As with jobs themselves: auditors and people see what is on record, not what was stamped.
    let is_own = asking(&caller, JobKind::Stamps).is_ok_and(|app| app.id == stamp.app);
    let who = (caller.caller(), caller.asker());
    let work = async move {
        let made = made(&gateway, request, (&stamp, is_own), &signer, who).await;
        drop(place);
        made.map(|made| answer(&gateway, &stamp, made, packing))
    };
    // In a task of its own: what the key did is on record, however long somebody waits for it.
    tokio::spawn(work.in_current_span()).await.map_err(|_| Problem::panicked())?
}

/// What a file of a package holds.
enum Content {
    Octets(Vec<u8>),
    /// What a job keeps: read part by part while it goes out, however slowly.
    Kept(Blob),
}

/// A package, file by file.
struct Made {
    verdict: &'static str,
    at: OffsetDateTime,
    files: Vec<(String, Content)>,
}

async fn made(
    gateway: &Gateway,
    request: ArchiveRequest,
    (stamp, is_own): (&Stamp, bool),
    signer: &Archivist,
    (caller, asker): (Caller, Asker),
) -> Result<Made, Problem> {
    let asked =
        gateway.judging.run(move || request.read()).await?.await.map_err(|_| Problem::panicked())??;
    let (stamped, kept) = match asked.document {
        Some(document) => (document, None),
        None => kept_by_a_job(gateway, stamp, is_own).await?,
    };
    let evidence = show::package(gateway, &stamp.id).await?;
    let (site, made_at) = (gateway.config.site.name.clone(), caller.at);
    let (trust, font, of) = (gateway.documents.current(), gateway.font.clone(), stamp.clone());
    let prepare = move || {
        held_to_the_register(&of, &stamped, asked.content.as_deref())?;
        let (site, stamp, content) = (site.as_str(), &of, asked.content);
        let parts = ArchiveParts { site, stamp, stamped, content, evidence, made_at };
        parts.prepared(&trust, &font).map_err(|error| Problem::no_report(&error))
    };
    let prepared = gateway.judging.run(prepare).await?.await.map_err(|_| Problem::panicked())??;
    let verdict = prepared.verdict_name();
    let PreparedArchive { manifest, members, .. } = prepared;
    let members = members.into_iter().map(|(name, octets)| (name, Content::Octets(octets)));
    let mut members: Vec<_> = members.collect();
    if let (Some(kept), Some((_, stamped))) = (kept, members.first_mut()) {
        *stamped = Content::Kept(kept);
    }
    let manifest = manifest.into_bytes();
    // Before the key: a site without one signs nothing in vain.
    let source = timestamps::source(gateway, asker)?;
    let (signature, certificate) = signer.sign(gateway, &caller, &manifest).await?;
    let proof = proof(gateway, &*source, &stamp.id, &signature, certificate, made_at).await?;
    let proof = readable(gateway, manifest.clone(), signature.clone(), proof).await?;
    let own = [(MANIFEST, manifest), (MANIFEST_SIGNATURE, signature), (MANIFEST_EVIDENCE, proof)];
    let own = own.into_iter().map(|(name, octets)| (name.to_owned(), Content::Octets(octets)));
    Ok(Made { verdict, at: made_at, files: own.chain(members).collect() })
}

/// What a job keeps of a stamp, for the app that ordered the job; and where it is.
async fn kept_by_a_job(
    gateway: &Gateway,
    stamp: &Stamp,
    is_own: bool,
) -> Result<(Vec<u8>, Option<Blob>), Problem> {
    let failed = |error| Problem::from_stamp_jobs(&error);
    let kept = match is_own {
        true => gateway.store.stamped_blob(JobKind::Stamps, &stamp.id).await.map_err(failed)?,
        false => None,
    };
    let Some(blob) = kept.filter(|blob| blob.app == stamp.app) else {
        let detail = "is required: no job of the caller's keeps what was stamped";
        return Err(Problem::faults(vec![Fault::new("document", "missing_field", detail)]));
    };
    let octets = gateway.stamp_jobs.blobs.read(&blob).await.map_err(failed)?;
    Ok((octets, Some(blob)))
}

/// Whether these are the stamp's: the register has their digests.
fn held_to_the_register(stamp: &Stamp, stamped: &[u8], content: Option<&[u8]>) -> Result<(), Problem> {
    let mut faults = Vec::new();
    if Sm3::digest(stamped)[..] != stamp.result_digest[..] {
        let detail = format!("is not what was stamped, whose SM3 is {}", hex::encode(stamp.result_digest));
        faults.push(Fault::new("document", "document_differs", detail));
    }
    if let Some(content) = content {
        let of_content = [HashAlgorithm::Sm3, HashAlgorithm::Sha256].map(|hash| hash.digest(content));
        if stamp.format != "digest" {
            faults.push(Fault::new("content", "not_applicable", "goes with the stamp of a digest only"));
        } else if of_content.iter().all(|digest| digest[..] != stamp.input_digest[..]) {
            let detail = format!("does not have the stamped digest, {}", hex::encode(stamp.input_digest));
            faults.push(Fault::new("content", "document_differs", detail));
        }
    }
    if faults.is_empty() { Ok(()) } else { Err(Problem::faults(faults)) }
}

/// Who signs manifests.
struct Archivist {
    key: config::KeyId,
    algorithm: Algorithm,
}

impl Archivist {
    fn of(gateway: &Gateway) -> Result<Self, Problem> {
        let rules = gateway.config.archive_packages.as_ref();
        let key = rules.ok_or_else(Problem::archive_packages_not_offered)?.key.clone();
        let keys = gateway.desk.keys();
        let found =
            keys.service_key(&key).map_err(|error| Problem::archivist_not_ready(with_causes(&error)))?;
        let algorithm = Algorithm::ALL.into_iter().find(|known| found.shown().public_key.supports(*known));
        let algorithm = algorithm
            .ok_or_else(|| Problem::archivist_not_ready(format!("{key} signs by no known algorithm")))?;
        Ok(Self { key, algorithm })
    }

    /// A detached CMS over a manifest, on record, and whose it is.
    async fn sign(
        &self,
        gateway: &Gateway,
        caller: &Caller,
        manifest: &[u8],
    ) -> Result<(Vec<u8>, Certificate), Problem> {
        let order = SignOrder {
            key: self.key.clone(),
            group: None,
            algorithm: self.algorithm,
            input: Input::Data(manifest.to_vec()),
            format: SignatureFormat::Cms { family: Family::Rfc5652, detached: true },
            signer_id: formats::DEFAULT_SIGNER_ID.to_vec(),
        };
        let receipt = gateway.desk.sign(caller, order).await?;
        gateway.metrics.signed(receipt.device.as_str(), self.algorithm.name());
        let certificate = receipt
            .certificate
            .ok_or_else(|| Problem::archivist_not_ready(format!("{} has no certificate", self.key)))?;
        Ok((receipt.signature, certificate))
    }
}

/// The evidence package about the signature over a manifest.
async fn proof(
    gateway: &Gateway,
    source: &dyn TimestampSource,
    stamp: &str,
    signature: &[u8],
    certificate: Certificate,
    at: OffsetDateTime,
) -> Result<EvidencePackage, Problem> {
    let trust = gateway.documents.current();
    let proof = ManifestEvidence::new(&trust, &certificate, signature, stamp, at);
    let token = source.token(EVIDENCE_HASH, &evidence_imprint(&proof.root())).await;
    let token = token.map_err(|error| Problem::archivist_not_ready(with_causes(&error)))?;
    let proof = proof.finish(&trust, token, OffsetDateTime::now_utc());
    proof.ok_or_else(|| Problem::archivist_not_ready("its timestamp has no certificate"))
}

/// The evidence about a manifest's signature as it goes into the package, if whoever has the anchors alone finds the signature
/// valid by it: no package leaves that its own reader refuses.
async fn readable(
    gateway: &Gateway,
    manifest: Vec<u8>,
    signature: Vec<u8>,
    proof: EvidencePackage,
) -> Result<Vec<u8>, Problem> {
    let trust = gateway.documents.current();
    let judge = move || {
        let written = serde_json::to_vec(&proof)
            .map_err(|error| Problem::archivist_not_ready(format!("its evidence: {error}")))?;
        if written.len() as u64 > MOST_ARCHIVED_EVIDENCE {
            return Err(Problem::evidence_too_large(MOST_ARCHIVED_EVIDENCE));
        }
        let reader = TrustStore::clone(&trust).with_crls(Vec::<Crl>::new());
        let reader = reader.with_ocsp(Vec::<OcspResponse>::new());
        let judged = judge_manifest(&reader, manifest, &signature, &proof, OffsetDateTime::now_utc());
        if judged.judgement.verdict == Verdict::Valid {
            return Ok(written);
        }
        let findings = judged.judgement.findings.iter();
        let findings: Vec<_> =
            findings.map(|finding| format!("{}: {}", finding.code, finding.detail)).collect();
        let detail =
            format!("readers would not find the manifest's signature valid: {}", findings.join("; "));
        Err(Problem::archivist_not_ready(detail))
    };
    gateway.judging.run(judge).await?.await.map_err(|_| Problem::panicked())?
}

/// The package goes out while it is written; it holds its place until it has gone.
fn answer(gateway: &Gateway, stamp: &Stamp, made: Made, packing: crate::admission::Place) -> Response {
    let fields = [
        (header::CONTENT_TYPE, "application/zip".to_owned()),
        (header::CONTENT_DISPOSITION, format!("attachment; filename=\"archive-{}.zip\"", stamp.id)),
        (header::CACHE_CONTROL, "private, no-store".to_owned()),
        (HeaderName::from_static("x-verdict"), made.verdict.to_owned()),
    ];
    let (mut sender, body) = Channel::<Bytes, io::Error>::new(AHEAD);
    let (at, stamp) = (written_at(made.at, gateway.config.site.utc_offset), stamp.id.clone());
    let blobs = gateway.stamp_jobs.blobs.clone();
    let writing = async move {
        let _packing = packing;
        if let Err(error) = write(&blobs, made.files, at, &mut sender).await {
            tracing::error!(
                stamp,
                error = with_causes(&error),
                "an archive package could not be written to its end"
            );
            sender.abort(io::Error::other("the package could not be written to its end"));
        }
    };
    tokio::spawn(writing.in_current_span());
    (fields, Body::new(body)).into_response()
}

/// Lets go of each file when it has been sent.
async fn write(
    blobs: &Blobs,
    files: Vec<(String, Content)>,
    at: Option<DateTime>,
    sender: &mut Sender<Bytes, io::Error>,
) -> io::Result<()> {
    let written = Written::default();
    let mut zip = written.zip();
    for (name, content) in files {
        // PDF and OFD are compressed already.
        let method = match name.rsplit('.').next() {
            Some("json" | "txt") => CompressionMethod::Deflated,
            _ => CompressionMethod::Stored,
        };
        let options = SimpleFileOptions::default().compression_method(method);
        zip.start_file(&name, at.map_or(options, |at| options.last_modified_time(at)))?;
        let parts = match &content {
            Content::Octets(octets) => octets.len().div_ceil(PART),
            Content::Kept(blob) => usize::try_from(Blobs::parts(blob)).map_err(io::Error::other)?,
        };
        for part in 0..parts {
            match &content {
                Content::Octets(octets) => {
                    let from = part * PART;
                    zip.write_all(&octets[from..octets.len().min(from + PART)])?;
                }
                Content::Kept(blob) => {
                    zip.write_all(&blobs.part(blob, part as u64).await.map_err(io::Error::other)?)?;
                }
            }
            if written.send(sender).await.is_err() {
                return Ok(()); // nobody takes it any more
            }
        }
    }
    zip.finish()?;
    let _ = written.send(sender).await;
    Ok(())
}
