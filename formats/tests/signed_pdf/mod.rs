//! PDFs of other makers, signed with keys made on the spot and handed to other people's programs.
#![allow(dead_code)] // each test file uses its part
#![allow(clippy::unwrap_used)] // a helper that fails fails its test

use std::path::{Path, PathBuf};
use std::process::Command;

use der::Encode;
use formats::cms::{self, Content, Family, SignedDataPlan};
use formats::pdf::sign::{
    FieldPlan, Look, PageRect, Pages, Picture, Place, SignError, SignaturePlan, SubFilter, prepare,
};
use formats::pdf::{Limits, PdfInput, PdfReport, verify};
use formats::scheme::HashAlgorithm;
use formats::{Algorithm, Certificate, TrustStore, oid};
use time::OffsetDateTime;

use crate::pki::{Authority, CrlPlan, Key, Plan, SIGNER_ID};

/// Those that can be signed.
pub(crate) const SAMPLES: [&str; 41] = [
    "cairo",
    "chromium",
    "chromium-tagged",
    "fpdf2",
    "ghostscript",
    "ghostscript-13",
    "ghostscript-of-libreoffice",
    "ghostscript-pdfa",
    "ghostscript-picture",
    "hybrid",
    "libreoffice",
    "libreoffice-17",
    "libreoffice-calc",
    "libreoffice-pdfa-tagged",
    "mupdf",
    "mupdf-objstms",
    "pikepdf",
    "pikepdf-blank",
    "pikepdf-form",
    "pikepdf-linearised",
    "pikepdf-tree",
    "poppler-cairo",
    "poppler-separate",
    "poppler-unite",
    "pypdf-annots",
    "pypdf-cropped",
    "pypdf-inherited",
    "pypdf-javascript",
    "pypdf-rotated",
    "pypdf-userunit",
    "qpdf-linearised",
    "qpdf-linearised-libreoffice",
    "qpdf-linearised-streams",
    "qpdf-merged",
    "qpdf-overlay",
    "qpdf-qdf",
    "qpdf-streams-libreoffice",
    "qpdf-xref-stream",
    "reportlab",
    "reportlab-form",
    "reportlab-landscape",
];

pub(crate) fn sample(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/pdfs").join(name).with_extension("pdf");
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Who signs, who stamps the time, and who certified both.
pub(crate) struct Site {
    pub(crate) root: Authority,
    pub(crate) key: Key,
    pub(crate) certificate: Certificate,
    tsa_key: Key,
    pub(crate) tsa: Certificate,
}

impl Site {
    pub(crate) fn with(key: Key) -> Self {
        let root_key = match &key {
            Key::Sm2(_) => Key::sm2(1),
            _ => Key::p256(),
        };
        let root = Plan::authority("CN=Test Root,O=Test Only").root(root_key);
        let certificate = root.issue(&Plan::leaf("CN=西安市市场监督管理局,O=Test Only"), &key);
        let tsa_key = Key::p256();
        let mut plan = Plan::leaf("CN=Test TSA");
        plan.serial = 4712;
        let purposes = vec![oid::TIME_STAMPING];
        plan.extensions.push((oid::EXT_KEY_USAGE, true, purposes.to_der().unwrap()));
        let tsa = root.issue(&plan, &tsa_key);
        Self { root, key, certificate, tsa_key, tsa }
    }

    pub(crate) fn algorithm(&self) -> Algorithm {
        match &self.key {
            Key::Sm2(_) => Algorithm::Sm2Sm3,
            Key::Ec(..) => Algorithm::EcdsaP256Sha256,
            Key::Rsa(_) => Algorithm::RsaPkcs1Sha256,
        }
    }

    /// An invisible signature that claims the time now.
    pub(crate) fn plan(&self) -> SignaturePlan {
        let (sub_filter, hash) = match self.algorithm() {
            Algorithm::Sm2Sm3 => (SubFilter::Pkcs7, HashAlgorithm::Sm3),
            _ => (SubFilter::Cades, HashAlgorithm::Sha256),
        };
        SignaturePlan {
            time: Some(OffsetDateTime::now_utc()),
            signer: Some("西安市市场监督管理局".to_owned()),
            reason: Some("核准 (approved)".to_owned()),
            ..SignaturePlan::new(sub_filter, hash)
        }
    }

    /// A plan with the seal at a place.
    pub(crate) fn sealed(&self, places: Vec<Place>) -> SignaturePlan {
        SignaturePlan {
            look: Some(Look::of_picture(seal())),
            field: FieldPlan::New { name: None, places },
            ..self.plan()
        }
    }

    pub(crate) fn cms(&self, digest: &[u8]) -> Vec<u8> {
        let algorithm = self.algorithm();
        let pending = cms::prepare(SignedDataPlan {
            family: if algorithm == Algorithm::Sm2Sm3 { Family::Gbt35275 } else { Family::Rfc5652 },
            algorithm,
            content: Content::Digest(digest.try_into().unwrap()),
            detached: true,
            chain: vec![self.certificate.clone(), self.root.certificate.clone()],
            signing_time: None,
            signer_id: SIGNER_ID.to_vec(),
        })
        .unwrap();
        let signature = self.key.sign_with(algorithm.into(), pending.to_be_signed());
        pending.finish(&signature).unwrap()
    }

    pub(crate) fn try_sign(&self, document: &[u8], plan: &SignaturePlan) -> Result<Vec<u8>, SignError> {
        let prepared = prepare(document, plan)?;
        let cms = self.cms(prepared.digest());
        Ok([document, &prepared.finish(&cms)?].concat())
    }

    #[track_caller]
    pub(crate) fn sign(&self, document: &[u8], plan: &SignaturePlan) -> Vec<u8> {
        self.try_sign(document, plan).unwrap()
    }

    /// With a timestamp over the signature (B-T).
    pub(crate) fn sign_stamped(&self, document: &[u8], plan: &SignaturePlan) -> Vec<u8> {
        let prepared = prepare(document, plan).unwrap();
        let cms = self.cms(prepared.digest());
        let imprint = HashAlgorithm::Sha256.digest(&cms::signature_value(&cms).unwrap());
        let cms = cms::timestamped(&cms, &self.token(&imprint)).unwrap();
        [document, &prepared.finish(&cms).unwrap()].concat()
    }

    /// A document timestamp.
    pub(crate) fn stamp(&self, document: &[u8]) -> Vec<u8> {
        let prepared =
            prepare(document, &SignaturePlan::new(SubFilter::Timestamp, HashAlgorithm::Sha256)).unwrap();
        let token = self.token(prepared.digest());
        [document, &prepared.finish(&token).unwrap()].concat()
    }

    /// A token over a SHA-256, made by OpenSSL.
    pub(crate) fn token(&self, imprint: &[u8]) -> Vec<u8> {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, octets: &[u8]| std::fs::write(folder.path().join(name), octets).unwrap();
        write("tsa.key", &self.tsa_key.pkcs8());
        write("tsa.pem", self.tsa.to_pem().as_bytes());
        write("serial", b"01");
        write(
            "ts.cnf",
            b"[tsa]\ndefault_tsa = t\n[t]\nserial = serial\ndefault_policy = 1.2.3.4\ndigests = sha256\n\
              signer_digest = sha256\naccuracy = secs:1\ness_cert_id_alg = sha256\n",
        );
        let run = |line: &str| {
            let mut command = Command::new("sh");
            let output = command.args(["-ec", line]).current_dir(folder.path()).output().unwrap();
            assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
        };
        run("openssl pkey -inform DER -in tsa.key -out key.pem");
        run(&format!("openssl ts -query -digest {} -sha256 -cert -out q.tsq", hex::encode(imprint)));
        run(
            "openssl ts -reply -config ts.cnf -section t -queryfile q.tsq -signer tsa.pem -inkey key.pem -token_out -out t.der",
        );
        std::fs::read(folder.path().join("t.der")).unwrap()
    }

    /// Our own word on a document.
    pub(crate) fn judge(&self, pdf: &[u8]) -> PdfReport {
        let trust = TrustStore::new(vec![self.root.certificate.clone()], Vec::new(), Vec::new());
        let at = OffsetDateTime::now_utc();
        verify(&PdfInput { pdf, limits: Limits::default(), signer_id: SIGNER_ID, trust: &trust, at })
    }

    /// A list of today that revokes nothing.
    pub(crate) fn crl(&self) -> formats::Crl {
        let today = OffsetDateTime::now_utc();
        let plan = CrlPlan {
            this_update: today - time::Duration::hours(1),
            next_update: Some(today + time::Duration::days(7)),
            ..CrlPlan::fresh()
        };
        self.root.crl(&plan)
    }
}

/// A place in the upper left of every kind of page that the samples have.
pub(crate) fn at(left: f32, top: f32, width: f32, height: f32) -> Place {
    Place::Rect { pages: Pages::These(vec![1]), rect: PageRect { left, top, width, height } }
}

/// A red ring with a bar in its upper left quarter, so that nothing is the same mirrored or turned.
pub(crate) fn seal() -> Picture {
    const SIZE: u32 = 400;
    let middle = SIZE as f32 / 2.0;
    let mut dots = Vec::new();
    for y in 0..SIZE {
        for x in 0..SIZE {
            let (across, down) = (x as f32 + 0.5 - middle, y as f32 + 0.5 - middle);
            let radius = across.hypot(down);
            let is_ring = (170.0..195.0).contains(&radius);
            let is_bar = radius < 150.0 && across < 0.0 && down < 0.0 && (across + down).abs() > 60.0;
            let is_dot = (across - 90.0).hypot(down) < 25.0;
            let alpha = if is_ring || is_bar || is_dot { 230 } else { 0 };
            dots.extend([0xC8, 0x10, 0x2E, alpha]);
        }
    }
    let mut octets = Vec::new();
    let mut encoder = png::Encoder::new(&mut octets, SIZE, SIZE);
    encoder.set_color(png::ColorType::Rgba);
    encoder.write_header().unwrap().write_image_data(&dots).unwrap();
    Picture::new(octets).unwrap()
}

/// Files for other people's programs.
pub(crate) struct Folder(pub(crate) tempfile::TempDir);

impl Folder {
    pub(crate) fn with(site: &Site) -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        folder.write("root.pem", site.root.certificate.to_pem().as_bytes());
        folder
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, octets: &[u8]) {
        std::fs::write(self.path(name), octets).unwrap();
    }

    /// What a program prints, errors and warnings included; it must succeed.
    #[track_caller]
    pub(crate) fn ask(&self, program: impl AsRef<Path>, arguments: &[&str]) -> String {
        let program = program.as_ref();
        let output = Command::new(program).args(arguments).current_dir(self.0.path()).output();
        let output = output.unwrap_or_else(|error| {
            panic!("{}: {error} (tests/install-tools.sh installs it)", program.display())
        });
        let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.push_str(&String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{} {arguments:?}: {text}", program.display());
        text
    }

    /// pyHanko's word on every signature: file, field, and what it found, one to a line.
    #[track_caller]
    pub(crate) fn pyhanko(&self, files: &[&str]) -> Vec<serde_json::Value> {
        let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
        let python = tests.join("../../target/venv/bin/python");
        let script = tests.join("signed_pdf/pyhanko_judge.py");
        let arguments = [&[script.to_str().unwrap(), "root.pem"], files].concat();
        let said = self.ask(python, &arguments);
        let lines = said.lines().filter(|line| line.starts_with('{'));
        lines.map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// poppler's word on a file, with the site's root trusted.
    #[track_caller]
    pub(crate) fn pdfsig(&self, file: &str) -> String {
        if !self.path("nss").exists() {
            std::fs::create_dir(self.path("nss")).unwrap();
            self.ask("certutil", &["-N", "-d", "sql:nss", "--empty-password"]);
            self.ask("certutil", &["-A", "-d", "sql:nss", "-n", "root", "-t", "CT,C,C", "-i", "root.pem"]);
        }
        self.ask("pdfsig", &["-nssdir", "sql:nss", file])
    }

    /// qpdf finds nothing to complain of, and poppler opens and draws it without a word.
    #[track_caller]
    pub(crate) fn assert_sound(&self, file: &str) {
        let said = self.ask("qpdf", &["--check", file]);
        assert!(
            said.contains("No syntax or stream encoding errors") && !said.contains("WARNING"),
            "{file}: {said}"
        );
        let said = self.ask("pdftoppm", &["-r", "30", file, "page"]);
        assert!(said.is_empty(), "{file}: {said}");
    }

    /// A page as dots in a resolution: width, height, and red, green, blue of each.
    #[track_caller]
    pub(crate) fn dots(&self, file: &str, page: u32, resolution: u32) -> Dots {
        let (page, resolution) = (page.to_string(), resolution.to_string());
        self.ask(
            "pdftoppm",
            &["-cropbox", "-r", &resolution, "-f", &page, "-l", &page, "-singlefile", file, "dots"],
        );
        Dots::read(&std::fs::read(self.path("dots.ppm")).unwrap())
    }
}

/// A drawn page.
pub(crate) struct Dots {
    pub(crate) width: usize,
    pub(crate) height: usize,
    rgb: Vec<u8>,
}

impl Dots {
    /// `P6`, width, height, 255, one to a line or two.
    fn read(ppm: &[u8]) -> Self {
        let mut fields = ppm.splitn(5, |octet| octet.is_ascii_whitespace());
        assert_eq!(fields.next(), Some(&b"P6"[..]));
        let mut number = || std::str::from_utf8(fields.next().unwrap()).unwrap().parse().unwrap();
        let (width, height, most): (usize, usize, usize) = (number(), number(), number());
        assert_eq!(most, 255);
        let rgb = fields.next().unwrap().to_vec();
        assert_eq!(rgb.len(), 3 * width * height);
        Self { width, height, rgb }
    }

    /// Red, green and blue of a dot.
    pub(crate) fn rgb(&self, x: usize, y: usize) -> [u8; 3] {
        let at = 3 * (y * self.width + x);
        [self.rgb[at], self.rgb[at + 1], self.rgb[at + 2]]
    }

    pub(crate) fn is_red(&self, x: usize, y: usize) -> bool {
        let at = 3 * (y * self.width + x);
        let [red, green, blue] = self.rgb[at..at + 3] else { unreachable!() };
        red > 150 && green < 140 && blue < 140
    }

    /// Left, top, right and bottom edge of what is red, in dots.
    pub(crate) fn red(&self) -> Option<[usize; 4]> {
        let all = (0..self.height).flat_map(|y| (0..self.width).map(move |x| (x, y)));
        all.filter(|(x, y)| self.is_red(*x, *y)).fold(None, |bounds, (x, y)| {
            let [left, top, right, bottom] = bounds.unwrap_or([x, y, x, y]);
            Some([left.min(x), top.min(y), right.max(x), bottom.max(y)])
        })
    }
}
