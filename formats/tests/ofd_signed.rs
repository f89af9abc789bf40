//! OFD packages signed here: judged valid, signed again, and found out when anything in them is not what was signed.
#![allow(clippy::unwrap_used)] // a test that cannot go on has failed

use crate::pki;

use formats::ofd::{
    Edge, MAX_ENTRIES, OfdError, OfdSigner, Placement, SignatureKind, across, on_every_page, pages,
};
use formats::opened::{Kind, open};
use formats::seal::{Seal, SealPlan};
use formats::{Algorithm, Judgement, Verdict};
use time::macros::datetime;

use crate::packaging::{BOX, Parts, judge, judge_at, plan, sealed, sealed_by, sign};
use crate::pki::{Key, NOW, Plan, codes};
use crate::sealing::{SIGNED_AT, Site};

fn telling(judgement: &Judgement) -> Vec<&'static str> {
    codes(judgement).into_iter().filter(|code| *code != "revocation_not_checked").collect()
}

#[test]
fn a_sealed_package_is_valid_and_says_what_it_is() {
    for algorithm in [Algorithm::Sm2Sm3, Algorithm::EcdsaP256Sha256, Algorithm::RsaPkcs1Sha256] {
        let site = Site::with(algorithm);
        let ofd = sealed(&site, 2);
        assert_eq!(open(&ofd).kind, Some(Kind::Ofd));
        let report = judge(&site, &ofd);
        assert_eq!((report.judgement.verdict, telling(&report.judgement)), (Verdict::Valid, vec![]));
        assert_eq!((report.documents, report.pages, report.signatures.len()), (1, 2, 1));
        let signature = &report.signatures[0];
        assert_eq!((signature.kind, &*signature.id), (SignatureKind::Seal, "1"));
        assert_eq!(signature.part, "Doc_0/Signs/Sign_0/Signature.xml");
        assert_eq!(signature.provider.as_deref(), Some("license-gateway, 1, 测试 & <Co>"));
        assert_eq!(signature.described_time, Some(SIGNED_AT));
        // OFD.xml, Document.xml, DocumentRes.xml, the picture and two pages.
        assert_eq!((signature.protected_parts, signature.uncovered.len()), (6, 0));
        assert_eq!((signature.stamps[0].page.as_str(), signature.stamps[0].boundary), ("10", BOX));
        assert_eq!(signature.seal.as_ref().unwrap().name, "测试市场监督管理局");
        assert_eq!(signature.signers[0].algorithm, Some(algorithm));
        assert_eq!(signature.signers[0].signing_time, Some(SIGNED_AT));
    }
}

#[test]
fn other_entries_keep_their_packed_octets() {
    let site = Site::sm2();
    let before = Parts::plain(3).zip();
    let after = sign(&site, plan(&site, &before, sealed_by(&site)));
    let raw = |ofd: &[u8], wanted: &str| {
        let mut archive = zip::ZipArchive::new(std::io::Cursor::new(ofd)).unwrap();
        let place = archive.index_for_name(wanted).unwrap();
        let entry = archive.by_index_raw(place).unwrap();
        let (start, length) = (entry.data_start().unwrap() as usize, entry.compressed_size() as usize);
        ofd[start..start + length].to_vec()
    };
    for (name, _) in &Parts::plain(3).0 {
        assert_eq!(raw(&before, name) == raw(&after, name), name != "OFD.xml", "{name}");
    }
}

#[test]
fn further_signatures_leave_the_earlier_ones_valid() {
    let site = Site::sm2();
    let mut ofd = Parts::plain(2).zip();
    for round in 1..=3 {
        let signer = match round {
            2 => OfdSigner::Sign { chain: vec![site.signer.clone()] },
            _ => sealed_by(&site),
        };
        ofd = sign(&site, plan(&site, &ofd, signer));
        let report = judge(&site, &ofd);
        assert_eq!((report.judgement.verdict, telling(&report.judgement)), (Verdict::Valid, vec![]));
        assert_eq!(report.signatures.len(), round);
    }
    let report = judge(&site, &ofd);
    let kinds: Vec<_> = report.signatures.iter().map(|signature| signature.kind).collect();
    assert_eq!(kinds, [SignatureKind::Seal, SignatureKind::Sign, SignatureKind::Seal]);
    // Each later one protects the earlier ones too.
    let protected: Vec<_> = report.signatures.iter().map(|signature| signature.protected_parts).collect();
    assert_eq!(protected, [6, 9, 11]);
    let parts = Parts::of(&ofd);
    assert!(parts.text("Doc_0/Signs/Signatures.xml").contains("<ofd:MaxSignId>3</ofd:MaxSignId>"));
    // An altered earlier signature spoils the later ones.
    let mut altered = parts.clone();
    altered.replace("Doc_0/Signs/Sign_0/Signature.xml", "120 200 42 42", "120 100 42 42");
    let verdicts: Vec<_> =
        judge(&site, &altered.zip()).signatures.iter().map(|s| telling(&s.judgement)).collect();
    assert_eq!(verdicts, [vec!["digest_mismatch"], vec!["ofd_part_altered"], vec!["ofd_part_altered"]]);
}

#[test]
fn an_altered_part_is_named() {
    let site = Site::sm2();
    let good = Parts::of(&sealed(&site, 2));
    for (name, _) in &Parts::plain(2).0 {
        let mut altered = good.clone();
        let mut octets = altered.octets(name);
        // A blank behind the root changes nothing that is shown, and a picture's last octet neither.
        octets.push(b' ');
        altered.put(name, &octets);
        let report = judge(&site, &altered.zip());
        assert_eq!(
            (report.judgement.verdict, telling(&report.judgement)),
            (Verdict::Invalid, vec!["ofd_part_altered"])
        );
        let finding = report.judgement.findings.iter().find(|f| f.code == "ofd_part_altered").unwrap();
        assert_eq!(&finding.detail, name);
    }
}

#[test]
fn a_part_that_is_shown_and_not_protected_is_named() {
    let site = Site::sm2();
    // The document refers to annotations that are not there when it is signed, and appear afterwards.
    let mut plain = Parts::plain(1);
    plain.replace(
        "Doc_0/Document.xml",
        "</ofd:Document>",
        "<ofd:Annotations>Annots.xml</ofd:Annotations></ofd:Document>",
    );
    let ofd = plain.zip();
    let mut parts = Parts::of(&sign(&site, plan(&site, &ofd, sealed_by(&site))));
    assert_eq!(judge(&site, &parts.zip()).judgement.verdict, Verdict::Valid);
    parts.set(
        "Doc_0/Annots.xml",
        "<ofd:Annotations xmlns:ofd=\"http://www.ofdspec.org/2016\"><ofd:Page PageID=\"10\"><ofd:FileLoc>Annot.xml\
         </ofd:FileLoc></ofd:Page></ofd:Annotations>",
    );
    parts.set("Doc_0/Annot.xml", "<ofd:PageAnnot xmlns:ofd=\"http://www.ofdspec.org/2016\"/>");
    let report = judge(&site, &parts.zip());
    assert_eq!(
        (report.judgement.verdict, telling(&report.judgement)),
        (Verdict::Invalid, vec!["ofd_part_uncovered"])
    );
    assert_eq!(report.signatures[0].uncovered, ["Doc_0/Annot.xml", "Doc_0/Annots.xml"]);
    // Naming it as part of a signature of one's own does not hide it.
    parts.replace(
        "Doc_0/Signs/Signatures.xml",
        "</ofd:Signatures>",
        "<ofd:Signature ID=\"9\" Type=\"Sign\" BaseLoc=\"/Doc_0/Annots.xml\"/></ofd:Signatures>",
    );
    assert!(judge(&site, &parts.zip()).signatures[0].judgement.has("ofd_part_uncovered"));
}

#[test]
fn a_part_that_nothing_refers_to_is_noted() {
    let site = Site::sm2();
    let mut parts = Parts::of(&sealed(&site, 1));
    parts.set("Thumbs.db", "left behind");
    let report = judge(&site, &parts.zip());
    assert_eq!(
        (report.judgement.verdict, telling(&report.judgement)),
        (Verdict::Valid, vec!["ofd_part_unreferenced"])
    );
}

#[test]
fn missing_parts_are_named() {
    let site = Site::sm2();
    let good = Parts::of(&sealed(&site, 2));
    for (name, readable) in [
        ("Doc_0/Res/logo.png", true),
        ("Doc_0/Signs/Sign_0/SignedValue.dat", true),
        ("Doc_0/Signs/Sign_0/Seal.esl", true),
        ("Doc_0/Signs/Sign_0/Signature.xml", true),
        ("Doc_0/Pages/Page_1/Content.xml", true),
        ("Doc_0/Document.xml", true),
        ("OFD.xml", false),
    ] {
        let mut parts = good.clone();
        parts.remove(name);
        let report = judge(&site, &parts.zip());
        assert_eq!(report.judgement.verdict, Verdict::Invalid, "{name}");
        assert!(report.judgement.has("ofd_part_missing"), "{name}: {:?}", report.judgement);
        assert_eq!(report.readable, readable, "{name}");
    }
}

#[test]
fn what_an_existing_library_accepts_wrongly_is_caught() {
    let site = Site::sm2();
    let ofd = Parts::plain(1).zip();
    let with = |seal: Seal, site: &Site| {
        let stamps = vec![Placement { page: 0, boundary: BOX, clip: None }];
        let certificate = Box::new(site.signer.clone());
        sign(site, plan(site, &ofd, OfdSigner::Seal { seal: Box::new(seal), certificate, stamps }))
    };
    // A forged seal: another picture under the maker's old signature.
    let mut forged = site.seal().der().to_vec();
    let place = forged.windows(4).position(|window| window == b"IEND").unwrap();
    forged[place + 4] ^= 1;
    let report = judge(&site, &with(Seal::from_der(&forged).unwrap(), &site));
    assert_eq!(
        (report.judgement.verdict, telling(&report.judgement)),
        (Verdict::Invalid, vec!["seal_forged"])
    );
    // A wrong signer.
    let thief = site.root.issue(&Plan { serial: 91, ..Plan::leaf("CN=Thief") }, &Key::sm2(91));
    let thief = Site { key: Key::sm2(91), signer: thief, ..Site::sm2() };
    let report = judge(&site, &with(site.seal(), &thief));
    assert_eq!(
        (report.judgement.verdict, telling(&report.judgement)),
        (Verdict::Invalid, vec!["signer_not_in_seal"])
    );
    // An expired seal.
    let short = site.make(SealPlan { valid_until: datetime!(2026-05-30 0:00 UTC), ..site.seal_plan() });
    let report = judge(&site, &with(short, &site));
    assert_eq!(
        (report.judgement.verdict, telling(&report.judgement)),
        (Verdict::Invalid, vec!["seal_expired"])
    );
    // A maker from another world.
    let foreign = Plan::authority("CN=Foreign").root(Key::sm2(70));
    let maker = foreign.issue(&Plan::leaf("CN=Seal maker"), &site.maker_key);
    let report = judge(&site, &with(site.make(SealPlan { maker, ..site.seal_plan() }), &site));
    assert_eq!(
        (report.judgement.verdict, telling(&report.judgement)),
        (Verdict::Indeterminate, vec!["no_path"])
    );
    // Another seal laid beside the one that was set: readers show this one's picture.
    let mut parts = Parts::of(&with(site.seal(), &site));
    let other = site.make(SealPlan { name: "另一枚印章".to_owned(), ..site.seal_plan() });
    parts.put("Doc_0/Signs/Sign_0/Seal.esl", other.der());
    let report = judge(&site, &parts.zip());
    assert_eq!(
        (report.judgement.verdict, telling(&report.judgement)),
        (Verdict::Invalid, vec!["seal_differs"])
    );
}

#[test]
fn a_signature_value_of_another_package_does_not_fit() {
    let site = Site::sm2();
    let (one, mut other) = (Parts::of(&sealed(&site, 1)), Parts::of(&sealed(&site, 2)));
    other.put("Doc_0/Signs/Sign_0/SignedValue.dat", &one.octets("Doc_0/Signs/Sign_0/SignedValue.dat"));
    assert_eq!(telling(&judge(&site, &other.zip()).judgement), ["digest_mismatch"]);
}

#[test]
fn plain_signatures_are_judged_in_the_forms_that_are_in_use() {
    use formats::cms::{Content, Family, SignedDataPlan, prepare};
    use formats::scheme::HashAlgorithm;
    let site = Site::sm2();
    let ofd = Parts::plain(1).zip();
    let made = sign(&site, plan(&site, &ofd, OfdSigner::Sign { chain: vec![site.signer.clone()] }));
    let report = judge(&site, &made);
    assert_eq!((report.judgement.verdict, telling(&report.judgement)), (Verdict::Valid, vec![]));
    assert_eq!(report.signatures[0].kind, SignatureKind::Sign);
    let parts = Parts::of(&made);
    let xml = parts.octets("Doc_0/Signs/Sign_0/Signature.xml");
    let digest = HashAlgorithm::Sm3.digest(&xml);
    let in_base64 = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, &digest);
    let with = |content: &[u8], detached: bool, family: Family| {
        let plan = SignedDataPlan {
            family,
            algorithm: Algorithm::Sm2Sm3,
            content: Content::Bytes(content.to_vec()),
            detached,
            chain: vec![site.signer.clone()],
            signing_time: Some(SIGNED_AT),
            signer_id: pki::SIGNER_ID.to_vec(),
        };
        let pending = prepare(plan).unwrap();
        let signature = site.key.sign(pending.to_be_signed());
        let mut parts = parts.clone();
        parts.put("Doc_0/Signs/Sign_0/SignedValue.dat", &pending.finish(&signature).unwrap());
        judge(&site, &parts.zip()).judgement
    };
    for family in [Family::Gbt35275, Family::Rfc5652] {
        for content in [&*digest, in_base64.as_bytes(), &*xml] {
            for detached in [false, true] {
                assert_eq!(with(content, detached, family).verdict, Verdict::Valid);
            }
        }
    }
    assert_eq!(telling(&with(b"other", false, Family::Gbt35275)), ["digest_mismatch"]);
    assert_eq!(telling(&with(b"other", true, Family::Gbt35275)), ["digest_mismatch"]);
    // Bare signatures of old producers say not who signed.
    let mut bare = parts.clone();
    bare.put("Doc_0/Signs/Sign_0/SignedValue.dat", &site.key.sign(&xml));
    let judged = judge(&site, &bare.zip()).judgement;
    assert_eq!((judged.verdict, telling(&judged)), (Verdict::Indeterminate, vec!["raw_signature"]));
}

#[test]
fn producers_ways_are_read_and_named() {
    let site = Site::sm2();
    let again = |edit: &dyn Fn(&mut Parts)| {
        // Signature.xml is edited before it is signed: signed anew over what it says then.
        let mut parts = Parts::of(&sealed(&site, 1));
        edit(&mut parts);
        let xml = parts.octets("Doc_0/Signs/Sign_0/Signature.xml");
        let value = site.sign(site.plan(site.seal(), &xml));
        parts.put("Doc_0/Signs/Sign_0/SignedValue.dat", &value);
        let report = judge(&site, &parts.zip());
        let named: Vec<_> = report
            .judgement
            .findings
            .iter()
            .filter(|finding| finding.code == "ofd_form_tolerated")
            .map(|finding| finding.detail.clone())
            .collect();
        (report, named)
    };
    const XML: &str = "Doc_0/Signs/Sign_0/Signature.xml";
    for namespace in ["http://www.ofdspec.org", "http://www.ofdspec.org/2012"] {
        let (report, named) = again(&|parts| {
            parts.replace(
                XML,
                "xmlns:ofd=\"http://www.ofdspec.org/2016\"",
                &format!("xmlns:ofd=\"{namespace}\""),
            );
        });
        assert_eq!(report.judgement.verdict, Verdict::Valid, "{:?}", report.judgement);
        assert_eq!(named, [format!("namespace {namespace}")]);
    }
    let (report, named) =
        again(&|parts| parts.replace(XML, "CheckMethod=\"1.2.156.10197.1.401\"", "CheckMethod=\"SM3\""));
    assert_eq!((report.judgement.verdict, named.len()), (Verdict::Valid, 0));
    let (report, named) = again(&|parts| parts.replace(XML, "20260520080000Z", "2026-05-20 16:00:00"));
    assert_eq!((report.signatures[0].described_time, named.len()), (Some(SIGNED_AT), 0));
    let (report, named) = again(&|parts| parts.replace(XML, "20260520080000Z", "some day"));
    assert_eq!(report.judgement.verdict, Verdict::Valid);
    assert_eq!(named, ["SignatureDateTime in another form"]);
    let (report, named) = again(&|parts| {
        let text = parts.text(XML).replace("FileRef=\"/", "FileRef=\"");
        parts.set(XML, &text);
    });
    assert_eq!(report.judgement.verdict, Verdict::Valid, "{:?}", report.judgement);
    assert_eq!(named, ["location from the root without a slash"]);
    // The seal may stand before the references, and CheckMethod in an element of its own.
    let (report, _) = again(&|parts| {
        let text = parts.text(XML);
        let seal = text.find("<ofd:Seal>").unwrap()..text.find("</ofd:SignedInfo>").unwrap();
        let moved = text[seal.clone()].to_owned();
        let text = text.replace(&moved, "").replace("<ofd:References", &format!("{moved}<ofd:References"));
        parts.set(XML, &text);
    });
    assert_eq!(report.judgement.verdict, Verdict::Valid, "{:?}", report.judgement);
    // Weak digests decide nothing.
    let (report, _) =
        again(&|parts| parts.replace(XML, "CheckMethod=\"1.2.156.10197.1.401\"", "CheckMethod=\"MD5\""));
    assert_eq!(telling(&report.judgement), ["unsupported_algorithm"]);
    let (report, _) = again(&|parts| parts.replace(XML, "1.2.156.10197.1.501", "1.2.840.10045.4.3.2"));
    assert_eq!(telling(&report.judgement), ["algorithm_mismatch"]);
}

#[test]
fn cross_page_seals_and_seals_on_every_page_are_written_and_read_back() {
    let site = Site::sm2();
    let ofd = Parts::plain(5).zip();
    let of_document = pages(&ofd, 0).unwrap();
    assert_eq!(of_document.len(), 5);
    for stamps in
        [across(&of_document, Edge::Right, (42.0, 42.0), 120.0, 3).unwrap(), on_every_page(&of_document, BOX)]
    {
        let signer = OfdSigner::Seal {
            seal: Box::new(site.seal()),
            certificate: Box::new(site.signer.clone()),
            stamps: stamps.clone(),
        };
        let report = judge(&site, &sign(&site, plan(&site, &ofd, signer)));
        assert_eq!(report.judgement.verdict, Verdict::Valid, "{:?}", report.judgement);
        let read = &report.signatures[0].stamps;
        assert_eq!(read.len(), 5);
        for (read, written) in read.iter().zip(&stamps) {
            assert_eq!(read.page, of_document[written.page].id);
            assert_eq!(read.clip.is_some(), written.clip.is_some());
            assert!((read.boundary.x - written.boundary.x).abs() < 1e-3);
        }
    }
}

#[test]
fn plans_that_cannot_be_carried_out_are_refused() {
    let site = Site::sm2();
    let ofd = Parts::plain(1).zip();
    let refused = |ofd: &[u8], signer: OfdSigner, document: usize| {
        let plan = formats::ofd::OfdSignPlan { document, ..plan(&site, ofd, signer) };
        matches!(plan.prepare(), Err(OfdError::Plan(_)))
    };
    assert!(refused(&ofd, sealed_by(&site), 1));
    let on = |page, boundary| OfdSigner::Seal {
        seal: Box::new(site.seal()),
        certificate: Box::new(site.signer.clone()),
        stamps: vec![Placement { page, boundary, clip: None }],
    };
    assert!(refused(&ofd, on(1, BOX), 0));
    assert!(refused(&ofd, on(0, formats::ofd::Rect { width: 0.0, ..BOX }), 0));
    assert!(refused(&ofd, on(0, formats::ofd::Rect { x: f64::NAN, ..BOX }), 0));
    // A signature that protects the list of signatures lets none be added.
    let mut locked = Parts::of(&sealed(&site, 1));
    locked.replace(
        "Doc_0/Signs/Sign_0/Signature.xml",
        "</ofd:References>",
        "<ofd:Reference FileRef=\"/Doc_0/Signs/Signatures.xml\"><ofd:CheckValue>AAAA</ofd:CheckValue></ofd:Reference>\
         </ofd:References>",
    );
    assert!(refused(&locked.zip(), sealed_by(&site), 0));
    // A wrong signature never gets in.
    let pending = plan(&site, &ofd, sealed_by(&site)).prepare().unwrap();
    assert!(matches!(pending.finish(&Key::sm2(99).sign(b"x"), None), Err(OfdError::Format(_))));
}

#[test]
fn no_signature_is_added_that_makes_a_package_too_large_to_be_judged() {
    let site = Site::sm2();
    let filled = |count: usize| {
        let mut parts = Parts::plain(1);
        (parts.0.len()..count).for_each(|number| parts.0.push((format!("Doc_0/Res/{number}"), vec![])));
        parts.zip()
    };
    // A seal adds its description, its value, itself and here the list.
    let most = filled(MAX_ENTRIES - 4);
    let signed = sign(&site, plan(&site, &most, sealed_by(&site)));
    assert_eq!(judge(&site, &signed).judgement.verdict, Verdict::Valid);
    let full = filled(MAX_ENTRIES - 3);
    for ofd in [&signed, &full] {
        let refused = plan(&site, ofd, sealed_by(&site)).prepare();
        assert!(matches!(&refused, Err(OfdError::Plan(reason)) if reason.contains("entries")));
    }
    // Without a seal there is one less.
    let signer = || OfdSigner::Sign { chain: vec![site.signer.clone()] };
    assert!(plan(&site, &full, signer()).prepare().is_ok());
    // Names that grow when they are written as XML: what is described could not be read again.
    let mut long = Parts::plain(1);
    (0..6_600).for_each(|number| long.0.push((format!("{number:04}{}", "&".repeat(1_020)), vec![])));
    let long = long.zip();
    let refused = plan(&site, &long, signer()).prepare();
    assert!(matches!(&refused, Err(OfdError::Plan(reason)) if reason.contains("octets")));
}

#[test]
fn an_unsigned_package_is_unsigned_and_a_time_before_the_seal_is_refused() {
    let site = Site::sm2();
    let report = judge(&site, &Parts::plain(1).zip());
    assert_eq!(
        (report.judgement.verdict, codes(&report.judgement)),
        (Verdict::Unsigned, vec!["no_signatures"])
    );
    let early = judge_at(&site, &sealed(&site, 1), datetime!(2025-06-01 0:00 UTC));
    assert_eq!(early.judgement.verdict, Verdict::Invalid);
    assert!(early.judgement.has("seal_not_yet_valid"));
    assert!(judge_at(&site, &sealed(&site, 1), NOW).is_valid());
}

/// Made by easyofd 20260427 (PyPI) from a PDF of two pages; its author's name and address were taken out.
const OF_EASYOFD: &[u8] = include_bytes!("data/easyofd.ofd");

#[test]
fn a_package_of_another_maker_is_signed_and_judged() {
    let site = Site::sm2();
    let plain = judge(&site, OF_EASYOFD);
    assert_eq!((plain.judgement.verdict, plain.pages), (Verdict::Unsigned, 2));
    let once = sign(&site, plan(&site, OF_EASYOFD, sealed_by(&site)));
    let twice = sign(&site, plan(&site, &once, sealed_by(&site)));
    let report = judge(&site, &twice);
    assert_eq!(report.signatures.len(), 2);
    assert_eq!(
        (report.judgement.verdict, telling(&report.judgement)),
        (Verdict::Valid, vec!["ofd_form_tolerated"])
    );
    let named = report.judgement.findings.iter().find(|f| f.code == "ofd_form_tolerated").unwrap();
    assert!(named.detail.starts_with("namespace http"), "{}", named.detail);
}
