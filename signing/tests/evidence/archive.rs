//! Archive packages with the clock moved on, and everything that can be done to one, each told by its name.

use std::io::{Cursor, Write};
use std::path::{Path, PathBuf};

use formats::cms::{Content, SignedDataPlan, prepare};
use formats::font::Font;
use signing::{
    ArchiveAnswer, ArchiveParts, MANIFEST, MANIFEST_EVIDENCE, MANIFEST_SIGNATURE, Manifest, ManifestEvidence,
    PreparedArchive, judge_archive,
};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use super::*;

#[path = "../support/fuzzed.rs"]
mod fuzzed;

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
    /// What was found of the document when it was made.
    found: Verdict,
    files: Files,
}

impl Archive {
    fn new() -> Self {
        Self::of("20260601-7QX2M0K4T9")
    }

    fn of(stamp_id: &str) -> Self {
        let site = Site::new();
        let trust = known(&site, NOW);
        let archive = Self::by(site, &trust, stamp_id);
        assert_eq!(archive.found, Verdict::Valid);
        archive
    }

    /// With evidence of what this trust store knows.
    fn by(site: Site, trust: &TrustStore, stamp_id: &str) -> Self {
        let (signer, archivist) = (Person::new(&site, "CN=Signer"), Person::new(&site, "CN=Archivist"));
        let stamped = signer.sign(CONTENT);
        let stamp = Stamp {
            id: stamp_id.to_owned(),
            input_digest: HashAlgorithm::Sha256.digest(CONTENT).try_into().unwrap(),
            result_digest: Sm3::digest(&stamped).into(),
            ..site.stamp()
        };
        let evidence = proved(&site, trust, &signer, &stamped, stamp_id);
        let parts = ArchiveParts {
            site: "test site",
            stamp: &stamp,
            stamped,
            content: Some(CONTENT.to_vec()),
            evidence,
            made_at: NOW + time::Duration::MINUTE,
        };
        let prepared = parts.prepared(trust, Font::built_in()).unwrap();
        let PreparedArchive { manifest, verdict: found, members } = prepared;
        let own = signed(&site, trust, &archivist, manifest.into_bytes(), stamp_id);
        Self { site, archivist, found, files: own.into_iter().chain(members).collect() }
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
        self.made_anew(&self.archivist, &known(&self.site, NOW), |_| (), change)
    }

    /// With other files and another manifest, signed by somebody with evidence of what a trust store knows.
    fn made_anew(
        &self,
        archivist: &Person,
        trust: &TrustStore,
        exchange: impl FnOnce(&mut Files),
        change: impl FnOnce(&mut Manifest),
    ) -> Vec<u8> {
        let mut manifest: Manifest = serde_json::from_slice(&self.files[0].1).unwrap();
        let mut files = self.files.clone();
        exchange(&mut files);
        for member in &mut manifest.members {
            let octets = &files[place(&files, &member.name)].1;
            member.octets = octets.len() as u64;
            member.sm3 = hex::encode(Sm3::digest(octets));
            member.sha256 = hex::encode(HashAlgorithm::Sha256.digest(octets));
        }
        change(&mut manifest);
        let text = serde_json::to_vec(&manifest).unwrap();
        let own = signed(&self.site, trust, archivist, text, &manifest.stamp.stamp_id);
        drop(files.splice(..3, own));
        zip(&files)
    }
}

/// What is known while everything is good.
fn known(site: &Site, at: OffsetDateTime) -> TrustStore {
    site.trust([site.timestamping(at), vec![fresh(&site.authority, at, None)]].concat())
}

/// An evidence package about octets that somebody signed.
fn proved(
    site: &Site,
    trust: &TrustStore,
    signer: &Person,
    octets: &[u8],
    stamp_id: &str,
) -> EvidencePackage {
    let proof = ManifestEvidence::new(trust, &signer.certificate, octets, stamp_id, NOW);
    let token = site.first.token(&proof.root(), NOW + time::Duration::SECOND);
    proof.finish(trust, token, NOW + time::Duration::SECOND).unwrap()
}

fn signed(site: &Site, trust: &TrustStore, archivist: &Person, manifest: Vec<u8>, stamp_id: &str) -> Files {
    let signature = archivist.sign(&manifest);
    let proof = serde_json::to_vec(&proved(site, trust, archivist, &signature, stamp_id)).unwrap();
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
        archive.resigned(|manifest| manifest.stamp.format = "list".to_owned()),
        archive.resigned(|manifest| manifest.stamp.digest = None),
        archive.resigned(|manifest| manifest.stamp.digest = Some("00".to_owned())),
        archive.resigned(|manifest| manifest.stamp.digest = Some("zz".repeat(32))),
        archive.resigned(|manifest| manifest.stamp.format = "pdf".to_owned()),
        // A content beside a document, with no digest that it could be of.
        archive.resigned(|manifest| {
            manifest.stamp.format = "ofd".to_owned();
            manifest.stamp.digest = None;
        }),
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

#[test]
fn who_makes_evidence_and_leaves_a_list_out_proves_nothing() {
    let site = Site::new();
    // As the command has it: what it is not told of revocation it notes, where nobody brings evidence of his own choice.
    let lenient = |crls: Vec<Crl>| site.trust(crls).with_revocation(RevocationPolicy::default());
    let silent = lenient(site.timestamping(NOW));
    let reader = lenient(site.timestamping(LATER));
    let known = known(&site, NOW);
    let signer = Person::new(&site, "CN=Stolen");
    let octets = signer.sign(DOCUMENT);
    for (trust, verdict) in [(&known, Verdict::Valid), (&silent, Verdict::Indeterminate)] {
        let package = proved(&site, trust, &signer, &octets, "20260601-2222222222");
        let answer = judge_evidence(&reader, &package, &octets, LATER);
        let (grounds, at) = answer.grounds().expect("the timestamp is good");
        let judged = validate(&signer.certificate, &[], grounds, Usage::DocumentSigning, at);
        assert_eq!(judged.verdict, verdict, "{judged:#?}");
    }
    // A timestamp of whose authority nobody says that it was not revoked proves no time.
    let package = proved(&site, &lenient(vec![fresh(&site.authority, NOW, None)]), &signer, &octets, "x");
    let answer = judge_evidence(&lenient(Vec::new()), &package, &octets, LATER);
    assert_eq!(answer.judgement.verdict, Verdict::Indeterminate, "{answer:#?}");
    assert!(codes(&answer.judgement).contains(&"revocation_unknown"), "{answer:#?}");

    // A whole package of such a key, and one of a good document whose manifest such a key signed.
    let forged = Archive::by(site, &silent, "20260601-3333333333");
    assert_eq!(forged.found, Verdict::Indeterminate, "its maker says so too");
    let answer = judge_archive(&reader, &forged.zip(), LATER);
    assert_eq!(answer.judgement.verdict, Verdict::Indeterminate, "{answer:#?}");
    assert!(answer.document.unwrap().judgement().has("revocation_unknown"));
    assert!(answer.manifest_signature.unwrap().judgement.has("revocation_unknown"));
    let archive = Archive::new();
    let lenient = |crls: Vec<Crl>| archive.site.trust(crls).with_revocation(RevocationPolicy::default());
    let reader = lenient(archive.site.timestamping(LATER));
    assert_eq!(judge_archive(&reader, &archive.zip(), LATER).judgement.verdict, Verdict::Valid);
    let silent = lenient(archive.site.timestamping(NOW));
    let by_another = archive.made_anew(&archive.archivist, &silent, |_| (), |_| ());
    let answer = judge_archive(&reader, &by_another, LATER);
    assert_eq!(answer.judgement.verdict, Verdict::Indeterminate, "{answer:#?}");
    assert!(codes(&answer.judgement).contains(&"archive_manifest_unsigned"));
}

#[test]
fn content_digest_and_signature_are_of_one_thing() {
    let archive = Archive::new();
    let trust = known(&archive.site, NOW);
    let other = |files: &mut Files| {
        let index = place(files, "content");
        files[index].1 = b"something else".to_vec();
    };
    let exchanged = archive.made_anew(&archive.archivist, &trust, other, |_| ());
    archive.refused(&exchanged, "digest_mismatch");
    // Also where the manifest says that the digest is that of the new content.
    let digest = hex::encode(HashAlgorithm::Sha256.digest(b"something else"));
    let said = |manifest: &mut Manifest| manifest.stamp.digest = Some(digest.clone());
    archive.refused(&archive.made_anew(&archive.archivist, &trust, other, said), "digest_mismatch");
    archive.refused(&archive.resigned(said), "digest_mismatch");
}

#[test]
fn a_package_made_anew_says_who_signed_it_and_when() {
    let archive = Archive::new();
    let trust = known(&archive.site, NOW);
    let (signer, another) =
        (Person::new(&archive.site, "CN=Other signer"), Person::new(&archive.site, "CN=Somebody"));
    let stamped = signer.sign(CONTENT);
    let evidence = proved(&archive.site, &trust, &signer, &stamped, "20260601-4444444444");
    let document_sm3 = hex::encode(Sm3::digest(&stamped));
    let exchange = |files: &mut Files| {
        let index = place(files, "signature.p7s");
        files[index].1 = stamped.clone();
        let index = place(files, "evidence.json");
        files[index].1 = serde_json::to_vec(&evidence).unwrap();
    };
    // Document and evidence of another stamp that go together, under the number of this one.
    let swapped = archive.made_anew(&another, &trust, exchange, |_| ());
    archive.refused(&swapped, "archive_of_another_stamp");
    let half = |manifest: &mut Manifest| manifest.stamp.document_sm3.clone_from(&document_sm3);
    archive.refused(&archive.made_anew(&another, &trust, exchange, half), "archive_of_another_stamp");
    // Under its own number it is a package of that stamp, and its signer is told.
    let whole = archive.made_anew(&another, &trust, exchange, |manifest| {
        manifest.stamp.document_sm3.clone_from(&document_sm3);
        manifest.stamp.stamp_id = "20260601-4444444444".to_owned();
    });
    let answer = archive.judged(&whole);
    assert_eq!(answer.judgement.verdict, Verdict::Valid, "{answer:#?}");
    let by = answer.manifest_signature.unwrap().signers;
    assert_eq!(by[0].subject.as_deref(), Some("CN=Somebody"));
    // It cannot be older or younger than its timestamp.
    for apart in [-3 * DAY, 3 * DAY] {
        archive.refused(&archive.resigned(|manifest| manifest.made_at += apart), "archive_time_contradicted");
    }
}

#[test]
fn evidence_of_a_manifest_may_be_as_large_as_that_of_a_stamp() {
    let archive = Archive::new();
    let large = archive.with(|files| {
        let mut proof: EvidencePackage = serde_json::from_slice(&files[2].1).unwrap();
        // What does not compress: digests, one after the other.
        let list: Vec<u8> = (0..160_000_u32).flat_map(|n| Sm3::digest(n.to_be_bytes())).collect();
        proof.items.insert(hex::encode(Sm3::digest(&list)), STANDARD.encode(&list));
        files[2].1 = serde_json::to_vec(&proof).unwrap();
        assert!(files[2].1.len() > 4 << 20);
    });
    let answer = archive.judged(&large);
    assert_eq!(answer.judgement.verdict, Verdict::Valid, "{:#?}", answer.judgement);
}

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus/archive")
}

#[test]
fn the_fuzz_targets_corpus_holds_also_when_it_is_damaged() {
    let mut files = 0;
    for entry in std::fs::read_dir(corpus()).unwrap() {
        let input = std::fs::read(entry.unwrap().path()).unwrap();
        files += 1;
        fuzzed::archive(&input);
        fuzzed::archive_parts(&input);
        for position in (0..input.len()).step_by(input.len() / 60 + 1) {
            let mut damaged = input.clone();
            damaged[position] ^= 0x41;
            for input in [&damaged[..], &input[..position]] {
                fuzzed::archive(input);
                fuzzed::archive_parts(input);
            }
        }
    }
    assert!(files >= 2, "there is a corpus");
}

/// Writes the corpus anew: `cargo test -p signing --test evidence -- --ignored`.
#[test]
#[ignore = "writes the corpus anew, with other keys"]
fn write_corpus() {
    let archive = Archive::new();
    std::fs::write(corpus().join("whole.zip"), archive.zip()).unwrap();
    let mut parts = Vec::new();
    for (which, name) in [(0_u8, MANIFEST), (2, MANIFEST_EVIDENCE), (3, "evidence.json")] {
        // Any number counts modulo the files that there are, and 0 would end an item.
        parts.extend([which + 6]);
        parts.extend_from_slice(&archive.files[place(&archive.files, name)].1);
        parts.push(0);
    }
    std::fs::write(corpus().join("parts"), parts).unwrap();
}
