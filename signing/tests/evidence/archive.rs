//! Archive packages with the clock moved on, and everything that can be done to one, each told by its name.

use std::io::{Cursor, Write};

use formats::cms::{Content, SignedDataPlan, prepare};
use formats::font::Font;
use signing::{
    ArchiveAnswer, ArchiveParts, MANIFEST, MANIFEST_EVIDENCE, MANIFEST_SIGNATURE, Manifest, ManifestEvidence,
    PreparedArchive, judge_archive,
};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use super::*;

const CONTENT: &[u8] = b"what was stamped as a digest";
const LATER: OffsetDateTime = datetime!(2028-06-01 0:00 UTC);

/// Somebody who signs until the end of 2026.
struct Person {
    key: Key,
    certificate: Certificate,
}

impl Person {
    fn new(site: &Site, name: &str) -> Self {
        let key = Key::p256();
        let plan = Plan { not_after: datetime!(2026-12-31 0:00 UTC), ..Plan::leaf(name) };
        Self { certificate: site.authority.issue(&plan, &key), key }
    }

    fn sign(&self, content: &[u8]) -> Vec<u8> {
        let plan = SignedDataPlan {
            family: Family::Rfc5652,
            algorithm: Algorithm::EcdsaP256Sha256,
            content: Content::Bytes(content.to_vec()),
            detached: true,
            chain: vec![self.certificate.clone()],
            signing_time: Some(NOW),
            signer_id: formats::DEFAULT_SIGNER_ID.to_vec(),
        };
        let pending = prepare(plan).unwrap();
        let signature = self.key.sign(pending.to_be_signed());
        pending.finish(&signature).unwrap()
    }
}

/// Files by name, in order.
type Files = Vec<(String, Vec<u8>)>;

struct Archive {
    site: Site,
    archivist: Person,
    files: Files,
}

impl Archive {
    fn new() -> Self {
        Self::of("20260601-7QX2M0K4T9")
    }

    fn of(stamp_id: &str) -> Self {
        let site = Site::new();
        let (signer, archivist) = (Person::new(&site, "CN=Signer"), Person::new(&site, "CN=Archivist"));
        let stamped = signer.sign(CONTENT);
        let stamp = Stamp {
            id: stamp_id.to_owned(),
            input_digest: HashAlgorithm::Sha256.digest(CONTENT).try_into().unwrap(),
            result_digest: Sm3::digest(&stamped).into(),
            ..site.stamp()
        };
        let evidence = proved(&site, &signer, &stamped, stamp_id);
        let parts = ArchiveParts {
            site: "test site",
            stamp: &stamp,
            stamped,
            content: Some(CONTENT.to_vec()),
            evidence,
            made_at: NOW + time::Duration::MINUTE,
        };
        let trust = known(&site, NOW);
        let PreparedArchive { manifest, verdict, members } =
            parts.prepared(&trust, Font::built_in()).unwrap();
        assert_eq!(verdict, Verdict::Valid);
        let own = signed(&site, &archivist, manifest.into_bytes(), stamp_id);
        Self { site, archivist, files: own.into_iter().chain(members).collect() }
    }

    fn zip(&self) -> Vec<u8> {
        zip(&self.files)
    }

    fn judged(&self, zip: &[u8]) -> ArchiveAnswer {
        judge_archive(&self.site.trust(self.site.timestamping(LATER)), zip, LATER)
    }

    /// Refused by this name, whether or not others come beside it.
    #[track_caller]
    fn refused(&self, zip: &[u8], code: &str) {
        let answer = self.judged(zip);
        assert_eq!(answer.judgement.verdict, Verdict::Invalid, "{code}: {answer:#?}");
        assert!(codes(&answer.judgement).contains(&code), "{code} in {:?}", answer.judgement.findings);
    }

    fn with(&self, change: impl FnOnce(&mut Files)) -> Vec<u8> {
        let mut files = self.files.clone();
        change(&mut files);
        zip(&files)
    }

    /// With a manifest that says something else, and is signed for that.
    fn resigned(&self, change: impl FnOnce(&mut Manifest)) -> Vec<u8> {
        let mut manifest: Manifest = serde_json::from_slice(&self.files[0].1).unwrap();
        change(&mut manifest);
        let text = serde_json::to_vec(&manifest).unwrap();
        let own = signed(&self.site, &self.archivist, text, &manifest.stamp.stamp_id);
        self.with(|files| drop(files.splice(..3, own)))
    }
}

/// What is known while everything is good.
fn known(site: &Site, at: OffsetDateTime) -> TrustStore {
    site.trust([site.timestamping(at), vec![fresh(&site.authority, at, None)]].concat())
}

/// An evidence package about octets that somebody signed.
fn proved(site: &Site, signer: &Person, octets: &[u8], stamp_id: &str) -> EvidencePackage {
    let trust = known(site, NOW);
    let proof = ManifestEvidence::new(&trust, &signer.certificate, octets, stamp_id, NOW);
    let token = site.first.token(&proof.root(), NOW + time::Duration::SECOND);
    proof.finish(&trust, token, NOW + time::Duration::SECOND).unwrap()
}

fn signed(site: &Site, archivist: &Person, manifest: Vec<u8>, stamp_id: &str) -> Files {
    let signature = archivist.sign(&manifest);
    let proof = serde_json::to_vec(&proved(site, archivist, &signature, stamp_id)).unwrap();
    let own = [(MANIFEST, manifest), (MANIFEST_SIGNATURE, signature), (MANIFEST_EVIDENCE, proof)];
    own.map(|(name, octets)| (name.to_owned(), octets)).to_vec()
}

fn zip(files: &Files) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, octets) in files {
        let options = SimpleFileOptions::default().compression_method(CompressionMethod::Deflated);
        zip.start_file(name, options).unwrap();
        zip.write_all(octets).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

/// Every place of a name in a ZIP, given another one of the same length.
fn renamed(mut zip: Vec<u8>, from: &str, to: &str) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let places: Vec<usize> =
        (0..zip.len() - from.len()).filter(|place| zip[*place..].starts_with(from.as_bytes())).collect();
    assert!(places.len() >= 2, "in the local header and the directory");
    places.into_iter().for_each(|place| zip[place..place + to.len()].copy_from_slice(to.as_bytes()));
    zip
}

fn place(files: &Files, name: &str) -> usize {
    files.iter().position(|(known, _)| known == name).unwrap()
}

#[test]
fn a_package_is_genuine_when_every_certificate_of_its_signers_has_expired() {
    let archive = Archive::new();
    let answer = archive.judged(&archive.zip());
    assert_eq!(answer.judgement.verdict, Verdict::Valid, "{answer:#?}");
    assert_eq!(answer.evidence.as_ref().unwrap().proven_at, Some(NOW + time::Duration::SECOND));
    let manifest = answer.manifest_signature.unwrap();
    assert_eq!(manifest.judgement.verdict, Verdict::Valid);
    assert!(manifest.signers[0].subject.as_deref().unwrap().contains("Archivist"), "{manifest:#?}");
    assert_eq!(answer.manifest.unwrap().members.len(), 6);
    assert!(answer.document.unwrap().signers()[0].subject.as_deref().unwrap().contains("CN=Signer"));
    // Both certificates have expired by then: the package is what proves them.
    assert!(archive.archivist.certificate.not_after() < LATER);
    // And after its own timestamps' certificates nothing does.
    let after = datetime!(2030-01-01 0:00 UTC);
    let late = judge_archive(&archive.site.trust(archive.site.timestamping(after)), &archive.zip(), after);
    assert_eq!(late.judgement.verdict, Verdict::Invalid, "{late:#?}");
    assert!(codes(&late.judgement).contains(&"archive_manifest_unsigned"));
    assert!(codes(&late.judgement).contains(&"expired"));
    // Anchors of somebody else vouch for nothing in it.
    let strange = judge_archive(&Site::new().trust(Vec::new()), &archive.zip(), LATER);
    assert_ne!(strange.judgement.verdict, Verdict::Valid, "{strange:#?}");
}

#[test]
fn every_file_counts_and_no_other_may_be_there() {
    let archive = Archive::new();
    for (index, (name, octets)) in archive.files.iter().enumerate() {
        let code = match name.as_str() {
            MANIFEST | MANIFEST_SIGNATURE => "archive_manifest_unsigned",
            // Its base64 or its JSON may be broken by the change.
            MANIFEST_EVIDENCE => "",
            _ => "archive_member_altered",
        };
        for position in [0, octets.len() / 3, octets.len() - 2] {
            let zip = archive.with(|files| files[index].1[position] ^= 1);
            let answer = archive.judged(&zip);
            assert_eq!(answer.judgement.verdict, Verdict::Invalid, "{name} at {position}: {answer:#?}");
            let known = [code, "archive_malformed", "archive_manifest_unsigned"];
            assert!(
                codes(&answer.judgement).iter().any(|found| known.contains(found)),
                "{name}: {answer:#?}"
            );
        }
        let gone = archive.with(|files| drop(files.remove(index)));
        archive.refused(&gone, "archive_member_missing");
    }
    let added = archive.with(|files| files.push(("readme.txt".to_owned(), b"more".to_vec())));
    archive.refused(&added, "archive_member_added");
    let folder = archive.with(|files| files.push(("folder/".to_owned(), Vec::new())));
    archive.refused(&folder, "archive_member_added");
    let other = archive.with(|files| {
        let index = place(files, "report.txt");
        files[index].0 = "Bericht.txt".to_owned();
    });
    archive.refused(&other, "archive_member_renamed");
    let answer = archive.judged(&other);
    assert!(!codes(&answer.judgement).contains(&"archive_member_added"), "it is told once: {answer:#?}");
    // Two that were exchanged have each the other's digest.
    let exchanged = archive.with(|files| {
        let (text, pdf) = (place(files, "report.txt"), place(files, "report.pdf"));
        let name = std::mem::take(&mut files[text].0);
        files[text].0 = std::mem::replace(&mut files[pdf].0, name);
    });
    archive.refused(&exchanged, "archive_member_altered");
}

#[test]
fn a_zip_that_readers_understand_differently_is_refused() {
    let archive = Archive::new();
    let twice = archive.with(|files| files.push(("report.txx".to_owned(), b"another report".to_vec())));
    archive.refused(&renamed(twice, "report.txx", "report.txt"), "archive_member_duplicated");
    let folded = archive.with(|files| files.push(("REPORT.TXT".to_owned(), b"another report".to_vec())));
    archive.refused(&folded, "archive_member_duplicated");
    for path in ["../rep.txt", "/aaaep.txt", "C:\\rep.txt", "a/../r.txt"] {
        let zip = archive.with(|files| files.push(("aaarep.txt".to_owned(), b"out".to_vec())));
        archive.refused(&renamed(zip, "aaarep.txt", path), "archive_unsafe_path");
    }
    let bomb = archive.with(|files| files.push(("bomb".to_owned(), vec![0; 8 << 20])));
    archive.refused(&bomb, "archive_too_large");
    let whole = archive.zip();
    for cut in [0, 10, whole.len() / 2, whole.len() - 1] {
        let answer = archive.judged(&whole[..cut]);
        assert!(!answer.readable && codes(&answer.judgement) == ["archive_malformed"], "{cut}: {answer:#?}");
    }
    archive.refused(&[b"MZ", &*whole].concat(), "archive_malformed");
    archive.refused(&[&*whole, b"PK"].concat(), "archive_malformed");
}

#[test]
fn what_is_of_another_stamp_is_told_also_under_a_good_signature() {
    let (archive, other) = (Archive::new(), Archive::of("20260601-0000000000"));
    let member = |archive: &Archive, name: &str| archive.files[place(&archive.files, name)].1.clone();
    for name in ["evidence.json", "signature.p7s"] {
        let swapped = archive.with(|files| {
            let index = place(files, name);
            files[index].1 = member(&other, name);
        });
        archive.refused(&swapped, "archive_member_altered");
        archive.refused(&swapped, "evidence_of_another_document");
    }
    // The site's own signature does not help: the evidence names the stamp, and the manifest's stamp names the document.
    archive.refused(
        &archive.resigned(|manifest| manifest.stamp.stamp_id = "20260601-1111111111".to_owned()),
        "archive_of_another_stamp",
    );
    archive.refused(
        &archive.resigned(|manifest| manifest.stamp.document_sm3 = "00".repeat(32)),
        "archive_of_another_stamp",
    );
    archive
        .refused(&archive.resigned(|manifest| manifest.stamp.stamped_at -= DAY), "archive_of_another_stamp");
    // A manifest with the signature of another one.
    let other_signature = archive.with(|files| files[1].1 = archive.archivist.sign(b"another manifest"));
    archive.refused(&other_signature, "archive_manifest_unsigned");
}

#[test]
fn a_manifest_says_nothing_twice_and_nothing_else() {
    let archive = Archive::new();
    let altered = [
        archive.resigned(|manifest| manifest.format = "else".to_owned()),
        archive.resigned(|manifest| drop(manifest.members.remove(0))),
        archive.resigned(|manifest| manifest.members.push(manifest.members[3].clone())),
        archive.resigned(|manifest| manifest.members[3].name = "../report.json".to_owned()),
        archive.resigned(|manifest| manifest.members[3].name = MANIFEST.to_owned()),
        archive.resigned(|manifest| {
            let many =
                (0..100).map(|n| signing::Member { name: n.to_string(), ..manifest.members[3].clone() });
            manifest.members.extend(many.collect::<Vec<_>>());
        }),
    ];
    for zip in altered {
        archive.refused(&zip, "archive_malformed");
    }
    archive.refused(&archive.with(|files| files[0].1 = b"{}".to_vec()), "archive_malformed");
    // It was another verdict then; the document is judged anew.
    let differs = archive.resigned(|manifest| manifest.verdict = "indeterminate".to_owned());
    let answer = archive.judged(&differs);
    assert_eq!(answer.judgement.verdict, Verdict::Valid, "{answer:#?}");
    assert!(codes(&answer.judgement).contains(&"archive_verdict_differs"));
}
