//! What must hold of seals and OFD packages for any input: used by the fuzz targets and, over their corpora, by the tests.
#![allow(dead_code)] // each target uses its part
#![allow(clippy::unwrap_used)] // a helper that fails fails its test

use formats::cms::Content;
use formats::license_file::{self, FileForm, LicenseFileInput};
use formats::ofd::{OfdInput, Package, verify};
use formats::pdf::sign::{FieldPlan, Look, PageRect, Pages, Place, SignaturePlan, SubFilter, prepare};
use formats::scheme::HashAlgorithm;
use formats::seal::{
    Picture, PictureError, Seal, SealInput, SealSignature, SealSignatureInput, Vector, verify_seal,
    verify_signature,
};
use formats::{TrustStore, Verdict};
use time::OffsetDateTime;

const PAGE: &[u8] = include_bytes!("../pdfs/pikepdf-blank.pdf");
const SIGNER_ID: &[u8] = b"1234567812345678";

/// Nobody is trusted, so nothing can be valid; what can be read keeps its octets.
pub(crate) fn seal(input: &[u8]) {
    let (trust, at) = (TrustStore::default(), OffsetDateTime::UNIX_EPOCH);
    let report = verify_seal(&SealInput { seal: input, signer_id: SIGNER_ID, trust: &trust, at });
    assert_ne!(report.judgement.verdict, Verdict::Valid, "{report:?}");
    if let Ok(seal) = Seal::from_der(input) {
        assert_eq!(seal.der(), input);
        assert!(report.facts().is_some());
    }
    let protected = Some(Content::Bytes(input.to_vec()));
    let asked = SealSignatureInput { signature: input, protected, signer_id: SIGNER_ID, trust: &trust, at };
    let report = verify_signature(&asked);
    assert_ne!(report.judgement.verdict, Verdict::Valid, "{report:?}");
    assert_eq!(report.version.is_some(), SealSignature::from_der(input).is_ok());
}

/// A drawing that is read is drawn within bounds, into PDF too, or is refused for what it shows.
pub(crate) fn drawing(input: &[u8]) {
    let Ok(text) = String::from_utf8(input.to_vec()) else { return };
    for (width, height) in [(3, 3), (2, 5)] {
        let Ok(drawing) = Vector::read(text.clone(), width, height) else { continue };
        match drawing.picture() {
            Ok(picture) => assert!(Picture::png(picture.octets, width, height).is_ok()),
            Err(error) => assert!(matches!(error, PictureError::Blank | PictureError::TooLarge), "{error:?}"),
        }
        let look = Look::of_picture(formats::pdf::sign::Picture::vector(drawing));
        let rect = PageRect { left: 10.0, top: 10.0, width: 30.0, height: 20.0 };
        let places = vec![Place::Rect { pages: Pages::These(vec![1]), rect }];
        let plan = SignaturePlan::new(SubFilter::Cades, HashAlgorithm::Sha256);
        let field = FieldPlan::New { name: None, places };
        let prepared = prepare(PAGE, &SignaturePlan { field, look: Some(look), ..plan });
        assert!(prepared.is_ok(), "{:?}", prepared.err());
    }
}

/// The same of packages; what is opened has names that stay within it.
pub(crate) fn ofd(input: &[u8]) {
    if let Ok(package) = Package::open(input) {
        for name in package.names() {
            assert!(!name.is_empty() && !name.starts_with('/') && !name.split('/').any(|part| part == ".."));
            let _ = package.read(name).map(|octets| octets.len());
        }
    }
    let (trust, at) = (TrustStore::default(), OffsetDateTime::UNIX_EPOCH);
    let report = verify(&OfdInput { ofd: input, signer_id: SIGNER_ID, trust: &trust, at });
    assert_ne!(report.judgement.verdict, Verdict::Valid, "{report:?}");
    let (octets, form) = (input, FileForm::Ofd);
    let file = LicenseFileInput { octets, form, documents: &trust, licenses: &trust, at, sandbox: false };
    assert_ne!(license_file::judge(&file).judgement.verdict, Verdict::Valid);
}

/// The parts that are XML, put into a package by the target: reaches behind the archive.
pub(crate) fn ofd_parts(input: &[u8]) {
    use std::io::Write;
    // Items of the input: which part, then its content up to a NUL.
    const NAMES: [&str; 9] = [
        "OFD.xml",
        "Doc_0/Document.xml",
        "Doc_0/Signs/Signatures.xml",
        "Doc_0/Signs/Sign_0/Signature.xml",
        "Doc_0/Signs/Sign_0/SignedValue.dat",
        "Doc_0/Pages/Page_0/Content.xml",
        "Doc_0/Attachs/Attachments.xml",
        "Doc_0/Attachs/face.json",
        "Doc_0/Attachs/license.cer",
    ];
    let mut parts: [&[u8]; 9] = [b""; 9];
    for item in input.split(|octet| *octet == 0) {
        if let [which, content @ ..] = item {
            parts[usize::from(*which) % NAMES.len()] = content;
        }
    }
    let mut writer = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, content) in NAMES.iter().zip(parts) {
        writer.start_file(*name, zip::write::SimpleFileOptions::default()).unwrap();
        writer.write_all(content).unwrap();
    }
    ofd(&writer.finish().unwrap().into_inner());
}
