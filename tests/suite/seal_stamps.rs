//! Stamps with registered seals: in OFD packages and PDFs, judged by us and by others, and refused when the seal is out of use.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tests::{
    BouncyCastle, Folder, Person, Ran, Scratch, SignedIn, Site, base64, eventually, repository, unbase64,
};

use crate::seals::{PATH, because, order as seal_order, seal, until};

/// Where this site's check pages are, as the QR codes have it.
pub(crate) const PUBLIC: &str = "https://stamps.example.gov.cn";

/// A site with an address of its own, and who makes its seals.
pub(crate) struct Bureau {
    site: Site,
    security: SignedIn,
}

pub(crate) static BUREAU: LazyLock<Bureau> = LazyLock::new(|| {
    let folder = Folder::init();
    folder.configure("[server]\n", &format!("[server]\npublic_url = \"{PUBLIC}\"\n"));
    let site = folder.serve();
    let security = Person::of_sandbox(&site, "security").sign_in();
    Bureau { site, security }
});

impl Bureau {
    /// A registered seal for demo-sm2.
    pub(crate) fn with_seal(&self, number: &str, change: impl FnOnce(&mut Value)) -> String {
        let mut wanted = seal(&self.site, number);
        change(&mut wanted);
        self.security.post(PATH, &seal_order(&wanted)).expect(201);
        number.to_owned()
    }

    pub(crate) fn site(&self) -> &Site {
        &self.site
    }

    fn act(&self, number: &str, verb: &str) {
        self.security.post(&format!("{PATH}/{number}/{verb}"), &because("worn")).expect(200);
    }

    pub(crate) fn stamped(&self, order: &Value) -> Value {
        self.site.app().post("/v1/stamps", order).expect(201).json()
    }

    pub(crate) fn judged(&self, document: &[u8]) -> Value {
        let body = json!({"document": base64(document)});
        self.site.app().post("/v1/stamps:verify", &body).expect(200).json()
    }

    #[track_caller]
    pub(crate) fn refused(&self, order: &Value, field: &str, code: &str) {
        let refused = self.site.app().post("/v1/stamps", order).expect(422).json();
        let told = refused["errors"].as_array().unwrap();
        let is_told = told.iter().any(|one| one["field"] == field && one["code"] == code);
        assert!(is_told, "{field} {code}: {refused:#}");
    }
}

pub(crate) fn document(answer: &Value) -> Vec<u8> {
    unbase64(answer["document"].as_str().unwrap())
}

/// Two pages of 140 by 90 mm, made by easyofd.
fn package() -> Vec<u8> {
    std::fs::read(repository().join("formats/tests/data/easyofd.ofd")).unwrap()
}

pub(crate) fn contract() -> Vec<u8> {
    std::fs::read(repository().join("formats/tests/pdfs/reportlab.pdf")).unwrap()
}

pub(crate) fn ofd_order(document: &[u8]) -> Value {
    json!({"format": "ofd", "document": base64(document), "signer": {"key": "demo-sm2"}})
}

fn pdf_order(document: &[u8], key: &str) -> Value {
    json!({"format": "pdf", "document": base64(document), "signer": {"key": key}})
}

pub(crate) fn with(mut order: Value, more: Value) -> Value {
    order.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    order
}

fn at(left: f32, top: f32) -> Value {
    json!({"kind": "rect", "pages": "1", "left": left, "top": top})
}

/// The parts of a package, unpacked by Python.
pub(crate) fn unpacked(scratch: &Scratch, name: &str, ofd: &[u8]) -> PathBuf {
    let file = scratch.write(&format!("{name}.ofd"), ofd);
    let folder = scratch.path().join(name);
    let mut unpack = Command::new("python3");
    Ran::of(unpack.args(["-m", "zipfile", "-e"]).arg(&file).arg(&folder))
        .expect("python unpacks the package");
    folder
}

fn seal_verdict(bouncycastle: &BouncyCastle, signature: &Path, content: &Path) -> String {
    bouncycastle.seal(signature, content).text.trim().to_owned()
}

#[test]
fn an_ofd_package_is_sealed_signed_alone_and_sealed_across_its_pages() {
    let bureau = &*BUREAU;
    let number = bureau.with_seal("ofd-1", |_| {});
    let first =
        with(ofd_order(&package()), json!({"seal": number, "appearance": {"places": [at(80.0, 30.0)]}}));
    let first = bureau.stamped(&first);
    let once = document(&first);
    let alone = bureau.stamped(&ofd_order(&once));
    let seam = json!({"kind": "seam", "offset": 40.0});
    let third = with(ofd_order(&document(&alone)), json!({"seal": number, "appearance": {"places": [seam]}}));
    let third = bureau.stamped(&third);
    let last = document(&third);

    let verdict = bureau.judged(&last);
    assert_eq!((&verdict["verdict"], &verdict["format"]), (&json!("valid"), &json!("ofd")), "{verdict:#}");
    let all = verdict["signatures"].as_array().unwrap();
    let kinds: Vec<_> = all.iter().map(|one| one["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["seal", "sign", "seal"], "{verdict:#}");
    for (signature, answer) in all.iter().zip([&first, &alone, &third]) {
        assert_eq!(signature["verdict"], "valid", "{signature:#}");
        assert_eq!(
            (&signature["part"], &signature["uncovered"]),
            (&answer["field"], &json!([])),
            "{signature:#}"
        );
    }
    // The seal's own size where the order gives none.
    let shown = &all[0]["stamps"][0];
    let measure = |name: &str| shown["boundary"][name].as_f64().unwrap();
    assert_eq!(["x", "y", "width", "height"].map(measure), [80.0, 30.0, 42.0, 42.0]);
    assert_eq!(all[0]["seal"]["id"], number);
    // Each page shows a strip, and the strips make up the seal.
    let strips: Vec<_> =
        all[2]["stamps"].as_array().unwrap().iter().map(|stamp| stamp["clip"].clone()).collect();
    let edges = strips.iter().map(|clip| (clip["x"].as_f64().unwrap(), clip["width"].as_f64().unwrap()));
    assert_eq!(edges.collect::<Vec<_>>(), [(0.0, 21.0), (21.0, 21.0)]);

    // BouncyCastle computes the same over the octets in the package.
    let scratch = Scratch::new();
    let bouncycastle = BouncyCastle::compile(scratch.path());
    let folder = unpacked(&scratch, "stamped", &last);
    for answer in [&first, &third] {
        let description = folder.join(answer["field"].as_str().unwrap());
        let value = description.with_file_name("SignedValue.dat");
        assert_eq!(seal_verdict(&bouncycastle, &value, &description), "valid 测试市市场监督管理局");
        let other = folder.join("OFD.xml");
        assert!(seal_verdict(&bouncycastle, &value, &other).starts_with("invalid"));
    }

    // The record, the register and the check page know the package.
    let id = third["stamp_id"].as_str().unwrap();
    let listed = bureau.site.app().get(&format!("/v1/stamps/{id}")).expect(200).json();
    assert_eq!((&listed["format"], &listed["field"]), (&json!("ofd"), &third["field"]));
    assert_eq!((&listed["document_sm3"], &listed["octets"]), (&third["document_sm3"], &json!(last.len())));
    let entry = bureau.site.audit().into_iter().find(|entry| entry["subject"] == *id).unwrap();
    assert_eq!((&entry["action"], &entry["outcome"]), (&json!("stamp.ofd"), &json!("ok")));
    let page = format!("/verify/{}", third["check_code"].as_str().unwrap());
    let page = bureau.site.stranger(None).get(&page).expect(200).text();
    assert!(page.contains(third["document_sm3"].as_str().unwrap()), "{page}");
}

/// The signed octets of the last signature of a PDF, and what /Contents holds without its padding.
fn last_signature(pdf: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let place = pdf.windows(10).rposition(|window| window == b"/ByteRange").unwrap();
    let text: String = pdf[place + 10..place + 200].iter().map(|octet| char::from(*octet)).collect();
    let inside = text.split_once('[').unwrap().1.split_once(']').unwrap().0;
    let numbers: Vec<usize> = inside.split_whitespace().map(|number| number.parse().unwrap()).collect();
    let [from, length, again, rest] = *numbers else { panic!("{inside}") };
    let content = [&pdf[from..from + length], &pdf[again..again + rest]].concat();
    let mut value = hex::decode(&pdf[length + 1..again - 1]).unwrap();
    // The length of a long sequence: in so many octets.
    let head = 2 + usize::from(value[1] & 0x7F);
    let length = value[2..head].iter().fold(0, |sum, octet| sum << 8 | usize::from(*octet));
    value.truncate(head + length);
    (content, value)
}

/// What poppler shows of the first page: width, height and grey.
fn shown(scratch: &Scratch, pdf: &[u8], dots_an_inch: &str) -> (usize, usize, Vec<u8>) {
    let file = scratch.write("shown.pdf", pdf);
    let mut render = Command::new("pdftoppm");
    render.args(["-gray", "-r", dots_an_inch, "-f", "1", "-l", "1", "-singlefile"]).arg(&file);
    let output = render.arg(scratch.path().join("shown")).output().unwrap();
    assert!(
        output.status.success() && output.stderr.is_empty(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let picture = scratch.read("shown.pgm");
    let mut words = picture.split(u8::is_ascii_whitespace);
    let mut number = || std::str::from_utf8(words.next().unwrap()).unwrap().to_owned();
    assert_eq!(number(), "P5");
    let (width, height): (usize, usize) = (number().parse().unwrap(), number().parse().unwrap());
    let dots = picture[picture.len() - width * height..].to_vec();
    (width, height, dots)
}

/// The QR codes on a PDF's first page, as a scanner reads them from more than one distance: where dots and modules meet is
/// the code's own.
pub(crate) fn codes_of(scratch: &Scratch, pdf: &[u8]) -> Vec<String> {
    let codes = ["150", "200", "300", "400"].into_iter().find_map(|dots_an_inch| {
        let (width, height, dots) = shown(scratch, pdf, dots_an_inch);
        let grey = |x: usize, y: usize| dots[y * width + x];
        let mut picture = rqrr::PreparedImage::prepare_from_greyscale(width, height, grey);
        let grids = picture.detect_grids();
        let codes: Vec<_> =
            grids.iter().filter_map(|grid| grid.decode().ok()).map(|(_, text)| text).collect();
        (!codes.is_empty()).then_some(codes)
    });
    codes.unwrap_or_default()
}

#[test]
fn a_seal_is_set_in_a_pdf_with_its_picture_and_the_check_page_as_qr_code() {
    let bureau = &*BUREAU;
    let number = bureau.with_seal("pdf-1", |_| {});
    let appearance = json!({"places": [at(120.0, 200.0)], "qr": {"places": [at(20.0, 230.0)]}});
    let more = json!({"profile": "gm-seal", "seal": number, "appearance": appearance});
    let sealed = bureau.stamped(&with(pdf_order(&contract(), "demo-sm2"), more));
    // A second order for readers that know P-256 alone, which shows the same seal on another place.
    let beside = json!({"seal": number, "appearance": {"places": [at(60.0, 200.0)]}});
    let both = bureau.stamped(&with(pdf_order(&document(&sealed), "demo-p256"), beside));
    let last = document(&both);
    assert!(last.starts_with(&document(&sealed)), "the document's octets stay");

    let verdict = bureau.judged(&last);
    assert_eq!(verdict["verdict"], "valid", "{verdict:#}");
    let forms: Vec<_> =
        verdict["signatures"].as_array().unwrap().iter().map(|one| one["sub_filter"].clone()).collect();
    assert_eq!(forms, ["GM.sm2seal", "ETSI.CAdES.detached"], "{verdict:#}");
    assert_eq!(verdict["signatures"][0]["seal"]["id"], number, "{verdict:#}");

    let scratch = Scratch::new();
    let (content, value) = last_signature(&document(&sealed));
    let (content, value) = (scratch.write("content", content), scratch.write("value", value));
    let bouncycastle = BouncyCastle::compile(scratch.path());
    assert_eq!(seal_verdict(&bouncycastle, &value, &content), "valid 测试市市场监督管理局");

    // poppler knows the one by P-256, shows both without a word, and what it shows is read by a scanner.
    let file = scratch.write("both.pdf", &last);
    let said = Ran::of(Command::new("pdfsig").arg("-nocert").arg(&file)).text;
    assert_eq!(said.matches("Signature is Valid").count(), 1, "{said}");
    Ran::of(Command::new("qpdf").arg("--check").arg(&file)).expect("qpdf --check");
    let codes = codes_of(&scratch, &last);
    let page = format!("{PUBLIC}/verify/{}", sealed["check_code"].as_str().unwrap());
    assert_eq!(codes, [page]);
    // Something is seen in both places of the seal: 42 mm wide, at 150 dots an inch.
    let (width, height, dots) = shown(&scratch, &last, "150");
    let dot = |millimetres: f64| (millimetres * 150.0 / 25.4) as usize;
    for left in [60.0, 120.0] {
        let inside = |x: usize, y: usize| {
            (dot(left)..dot(left + 42.0)).contains(&x) && (dot(200.0)..dot(242.0)).contains(&y)
        };
        let dark =
            (0..width * height).filter(|place| inside(place % width, place / width) && dots[*place] < 200);
        assert!(dark.count() > 500, "the seal at {left} mm");
    }
}

#[test]
fn a_seal_that_was_drawn_is_areas_and_lines_in_a_pdf_and_a_png_in_an_ofd_package() {
    let bureau = &*BUREAU;
    let svg = std::fs::read(repository().join("formats/tests/data/seal.svg")).unwrap();
    let number = bureau.with_seal("drawn-1", |seal| {
        seal["picture"] = json!({"svg": base64(&svg), "width_mm": 42, "height_mm": 42});
    });
    let made = bureau.security.get(&format!("{PATH}/{number}")).expect(200).json();
    assert_eq!(unbase64(made["svg"].as_str().unwrap()), svg);
    let png = unbase64(made["png"].as_str().unwrap());
    let sm3 = made["svg_sm3"].as_str().unwrap();
    let entries = bureau.site.audit().into_iter();
    let mut made_of = entries.filter(|entry| entry["action"] == "seal.make" && entry["input_digest"] == sm3);
    assert!(made_of.any(|entry| entry["result_digest"] == made["seal_sm3"] && entry["outcome"] == "ok"));

    let appearance = json!({"places": [at(120.0, 200.0)]});
    let more = json!({"profile": "gm-seal", "seal": number, "appearance": appearance});
    let sealed = document(&bureau.stamped(&with(pdf_order(&contract(), "demo-sm2"), more)));
    assert_eq!(bureau.judged(&sealed)["verdict"], "valid");
    let scratch = Scratch::new();
    let file = scratch.write("drawn.pdf", &sealed);
    Ran::of(Command::new("qpdf").arg("--check").arg(&file)).expect("qpdf --check");
    let pictures = Ran::of(Command::new("pdfimages").arg("-list").arg(&file)).text;
    let before = scratch.write("before.pdf", contract());
    assert_eq!(
        pictures,
        Ran::of(Command::new("pdfimages").arg("-list").arg(&before)).text,
        "none came with it"
    );
    let (width, _, dots) = shown(&scratch, &sealed, "150");
    let dot = |millimetres: f64| (millimetres * 150.0 / 25.4) as usize;
    let dark = |x: f64, y: f64| dots[dot(200.0 + y) * width + dot(120.0 + x)] < 150;
    assert!(
        dark(21.0, 20.5) && dark(1.2, 21.0) && !dark(3.0, 21.0) && !dark(20.0, 32.0),
        "star, ring, and between"
    );

    let order =
        with(ofd_order(&package()), json!({"seal": number, "appearance": {"places": [at(80.0, 30.0)]}}));
    let package = document(&bureau.stamped(&order));
    assert_eq!(bureau.judged(&package)["verdict"], "valid");
    let folder = unpacked(&scratch, "drawn", &package);
    let value = folder.join("Doc_0/Signs/Sign_0/SignedValue.dat");
    let value = std::fs::read(&value).unwrap_or_else(|error| panic!("{}: {error}", value.display()));
    assert!(value.windows(png.len()).any(|window| window == png), "the seal in it holds the PNG");
}

#[test]
fn a_seal_is_set_only_while_it_is_in_force_and_by_whom_it_lists() {
    let bureau = &*BUREAU;
    let set = |number: &str, key: &str| {
        let more =
            json!({"seal": number, "signer": {"key": key}, "appearance": {"places": [at(10.0, 10.0)]}});
        with(ofd_order(&package()), more)
    };
    let number = bureau.with_seal("life-1", |_| {});
    bureau.stamped(&set(&number, "demo-sm2"));
    bureau.refused(&set(&number, "portal-sm2"), "seal", "signer_not_in_seal");
    bureau.act(&number, "suspend");
    bureau.refused(&set(&number, "demo-sm2"), "seal", "seal_suspended");
    // Its picture alone is not to be had either.
    let picture = json!({"seal": number, "appearance": {"places": [at(10.0, 10.0)]}});
    bureau.refused(&with(pdf_order(&contract(), "demo-p256"), picture), "seal", "seal_suspended");
    bureau.act(&number, "resume");
    bureau.stamped(&set(&number, "demo-sm2"));
    bureau.act(&number, "revoke");
    bureau.refused(&set(&number, "demo-sm2"), "seal", "seal_revoked");

    let old = bureau.with_seal("life-2", |_| {});
    let new = seal(&bureau.site, "life-3");
    bureau.security.post(&format!("{PATH}/{old}/replace"), &seal_order(&new)).expect(201);
    bureau.refused(&set(&old, "demo-sm2"), "seal", "seal_replaced");
    bureau.stamped(&set("life-3", "demo-sm2"));

    let early = bureau.with_seal("life-4", |seal| seal["valid_from"] = json!(until(10)));
    bureau.refused(&set(&early, "demo-sm2"), "seal", "seal_not_yet_valid");
    let soon = Ran::of(Command::new("date").args(["-u", "-d", "30 seconds", "+%Y-%m-%dT%H:%M:%SZ"])).text;
    let short = bureau.with_seal("life-5", |seal| seal["valid_until"] = json!(soon.trim()));
    eventually("the seal expires", Duration::from_secs(120), || {
        let answer = bureau.site.app().post("/v1/stamps", &set(&short, "demo-sm2"));
        (answer.status == 422 && answer.json()["code"] == "seal_expired").then_some(())
    });
    let unknown = bureau.site.app().post("/v1/stamps", &set("none", "demo-sm2")).expect(404).json();
    assert_eq!(unknown["code"], "unknown_seal");
}

#[test]
fn what_no_seal_can_be_set_in_is_refused_by_name() {
    let bureau = &*BUREAU;
    let number = bureau.with_seal("bad-1", |_| {});
    let ofd = package();
    let sealed =
        |places: Value| with(ofd_order(&ofd), json!({"seal": number, "appearance": {"places": places}}));
    let in_pdf = |more: Value| with(pdf_order(&contract(), "demo-sm2"), more);
    let place = json!([at(10.0, 10.0)]);
    for (order, field, code) in [
        (with(ofd_order(&ofd), json!({"signer": {"key": "demo-p256"}})), "signer", "not_applicable"),
        (with(ofd_order(&ofd), json!({"level": "B-T"})), "level", "not_applicable"),
        (with(ofd_order(&ofd), json!({"profile": "gm-seal"})), "profile", "not_applicable"),
        (with(ofd_order(&ofd), json!({"field": "x"})), "field", "not_applicable"),
        (with(ofd_order(&ofd), json!({"appearance": {"text": ["x"]}})), "appearance.places", "missing_field"),
        (with(ofd_order(&ofd), json!({"seal": number})), "appearance", "missing_field"),
        (sealed(json!([])), "appearance.places", "missing_field"),
        (sealed(json!([at(190.0, 10.0)])), "appearance.places", "place_off_page"),
        (
            sealed(json!([{"kind": "rect", "pages": "3", "left": 10, "top": 10}])),
            "appearance.places",
            "page_unknown",
        ),
        (
            sealed(json!([{"kind": "seam", "pages": "1", "offset": 10}])),
            "appearance.places",
            "seam_needs_pages",
        ),
        (sealed(json!([{"kind": "seam", "edge": "top"}])), "appearance.places", "not_applicable"),
        (sealed(json!([{"kind": "seam", "offset": 290}])), "appearance.places", "place_off_page"),
        (sealed(json!([{"kind": "keyword", "keyword": "章"}])), "appearance.places", "keyword_not_found"),
        (
            with(
                ofd_order(&ofd),
                json!({"seal": number, "appearance": {"places": place, "picture": "AAAA"}}),
            ),
            "appearance.picture",
            "not_applicable",
        ),
        (ofd_order(&contract()), "document", "document_format"),
        (ofd_order(&ofd[..ofd.len() / 2]), "document", "document_malformed"),
        (ofd_order(b"no package"), "document", "document_malformed"),
        (json!({"format": "ofd", "signer": {"key": "demo-sm2"}}), "document", "missing_field"),
        (in_pdf(json!({"profile": "gm-seal"})), "seal", "missing_field"),
        (
            in_pdf(json!({"profile": "gm-seal", "seal": number, "family": "rfc5652"})),
            "family",
            "not_applicable",
        ),
        (in_pdf(json!({"profile": "gm-seal", "seal": number, "level": "B-T"})), "level", "not_applicable"),
        (in_pdf(json!({"seal": number})), "appearance", "missing_field"),
        (
            with(pdf_order(&contract(), "demo-p256"), json!({"profile": "gm-seal", "seal": number})),
            "signer",
            "not_applicable",
        ),
        (
            in_pdf(json!({"seal": number, "appearance": {"picture": "AAAA", "places": place}})),
            "appearance.picture",
            "not_applicable",
        ),
        (
            in_pdf(json!({"appearance": {"text": ["x"], "places": place}})),
            "appearance.places[0].width",
            "missing_field",
        ),
        (in_pdf(json!({"appearance": {"qr": {"places": []}}})), "appearance.qr.places", "missing_field"),
        (
            in_pdf(json!({"appearance": {"qr": {"places": [{"kind": "seam"}]}}})),
            "appearance.qr.places[0].kind",
            "not_applicable",
        ),
        (
            json!({"format": "digest", "digest": base64(&[0; 32]), "signer": {"key": "demo-sm2"}, "seal": number}),
            "seal",
            "not_applicable",
        ),
    ] {
        bureau.refused(&order, field, code);
    }
    // Where people reach no check page there is no QR code.
    let code = json!({"appearance": {"qr": {"places": place}}});
    let refused = tests::shared().site.app().post("/v1/stamps", &in_pdf(code)).expect(422).json();
    let told = (&refused["code"], &refused["errors"][0]["field"]);
    assert_eq!(told, (&json!("public_url_missing"), &json!("appearance.qr")), "{refused:#}");
}

#[test]
fn packages_stamped_one_after_the_other_have_numbers_and_records_of_their_own() {
    let bureau = &*BUREAU;
    let number = bureau.with_seal("many-1", |_| {});
    // One page, sealed already.
    let ofd = std::fs::read(bureau.site.data().join("pki/documents/edition.ofd")).unwrap();
    let order = with(ofd_order(&ofd), json!({"seal": number, "appearance": {"places": [at(10.0, 10.0)]}}));
    let (mut seen, mut took) = (HashSet::new(), Vec::new());
    for _ in 0..50 {
        let start = Instant::now();
        let answer = bureau.stamped(&order);
        took.push(start.elapsed());
        for member in ["stamp_id", "check_code", "audit_index"] {
            assert!(seen.insert(answer[member].to_string()), "{member}: {answer}");
        }
    }
    took.sort();
    println!("an OFD package of {} octets: p50 {:?}, p90 {:?}", ofd.len(), took[25], took[45]);
}
