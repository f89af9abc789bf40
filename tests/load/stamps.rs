//! The rows about stamps: documents signed over HTTP, what one takes of memory, and what it costs against what it cannot do
//! without: one digest of the document and one signature.

use std::fs;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use sm3::{Digest as _, Sm3};
use tests::{Folder, Site, repository};

use crate::Fallible;
use crate::bench::Bench;
use crate::generator::{self, Measured, Plan};
use crate::process::Process;
use crate::profile::{Profile, Request, Target};
use crate::report::{Row, Verdict, median, run_line};
use crate::say;

/// Orders under way at once: as many as keep two cores busy.
const CONNECTIONS: usize = 4;
const COST: &str = "stamp_cost_1m";
const COST_GOAL: &str = "<= 2 x digest and signature";
const MEBIBYTE: usize = 1 << 20;

/// What is stamped, and the row that says how fast.
struct Kind {
    name: &'static str,
    unit: &'static str,
    format: &'static str,
    document: Vec<u8>,
}

/// What the rounds of one kind found.
#[derive(Default)]
struct Found {
    rates: Vec<f64>,
    p50: Vec<f64>,
    p99: Vec<f64>,
    /// Processor milliseconds of a stamp.
    cost: Vec<f64>,
    /// KiB at the highest, above what the gateway had before.
    memory: Vec<f64>,
}

impl Bench {
    /// Stamps by SM2, without an appearance; documents of one page, of a hundred, of one MiB, and an OFD package.
    pub(crate) fn stamps(&mut self) -> Fallible<()> {
        let site = Folder::init().serve();
        let target = Target::of_sandbox(&site.data().join("sandbox.json"))?;
        let target = Target { pid: Some(site.pid()), ..target };
        let ofd = fs::read(repository().join("formats/tests/data/easyofd-text.ofd"))?;
        let kinds = [
            Kind { name: "stamp_pdf", unit: "/s, 1 page", format: "pdf", document: pdf(1, 0) },
            Kind { name: "stamp_pdf_100", unit: "/s, 100 pages", format: "pdf", document: pdf(100, 0) },
            Kind { name: "stamp_ofd", unit: "/s, OFD", format: "ofd", document: ofd },
            Kind { name: "stamp_pdf_1m", unit: "/s, 1 MiB", format: "pdf", document: pdf(1, MEBIBYTE) },
        ];
        let mut found: [Found; 4] = Default::default();
        let (mut signed, mut signature_cost) = (Vec::new(), Vec::new());
        for _ in 0..self.rounds {
            for (kind, found) in kinds.iter().zip(&mut found) {
                let body = json!({
                    "format": kind.format, "document": STANDARD.encode(&kind.document), "signer": {"key": "demo-sm2"},
                });
                let request = Request::post(&target, "/v1/stamps", &body);
                let (measured, memory) = self.measured(kind.name, &site, &target, request)?;
                found.rates.push(measured.per_second());
                found.p50.push(measured.latency.quantile(0.5));
                found.p99.push(measured.latency.quantile(0.99));
                found.cost.extend(measured.per_cpu_second().map(|rate| 1_000.0 / rate));
                found.memory.push(memory);
            }
            let request = self.runtime.block_on(Profile::SignSm2.request(&target))?;
            let (measured, _) = self.measured("sign-sm2 beside stamps", &site, &target, request)?;
            signed.push(measured.per_second());
            signature_cost.extend(measured.per_cpu_second().map(|rate| 1_000.0 / rate));
        }
        let digest = digest_cost(&kinds[3].document);
        let told = |kind: &Kind, found: &Found| {
            let median = |figures: &Vec<f64>| median(figures.iter().copied());
            json!({
                "octets": kind.document.len(), "per_second": median(&found.rates), "p50_ms": median(&found.p50),
                "p99_ms": median(&found.p99), "cpu_ms": median(&found.cost),
                "peak_kib_each": median(&found.memory).map(|all| all / CONNECTIONS as f64),
            })
        };
        let all: serde_json::Map<String, Value> =
            kinds.iter().zip(&found).map(|(kind, found)| (kind.name.to_owned(), told(kind, found))).collect();
        self.note("stamps", Value::Object(all));
        self.note("stamps_digest_of_1m_cpu_ms", json!(digest));
        for (kind, found) in kinds.iter().zip(&found) {
            let (value, reference) = (median(found.rates.iter().copied()), median(signed.iter().copied()));
            self.row(Row {
                name: kind.name,
                unit: kind.unit,
                value,
                reference,
                ratio: value.zip(reference).map(|(value, reference)| value / reference),
                goal: "-",
                verdict: Verdict::Unknown("no goal is set; the reference signs digests".to_owned()),
            });
        }
        let value = median(found[3].cost.iter().copied());
        let reference = median(signature_cost).map(|signature| signature + digest);
        let ratio = value.zip(reference).map(|(value, reference)| value / reference);
        let verdict = match ratio {
            Some(ratio) => Verdict::Met(ratio <= 2.0),
            None => Verdict::Unknown("the gateway's processor time is not known".to_owned()),
        };
        self.row(Row {
            name: COST,
            unit: "CPU-ms, 1 MiB",
            value,
            reference,
            ratio,
            goal: COST_GOAL,
            verdict,
        });
        Ok(())
    }

    /// One run, and the KiB that the gateway had at its highest above what it had before.
    fn measured(
        &mut self,
        name: &str,
        site: &Site,
        target: &Target,
        request: Request,
    ) -> Fallible<(Measured, f64)> {
        let plan = Plan {
            address: target.address,
            request,
            connections: CONNECTIONS,
            warm_up: Duration::from_millis(700),
            duration: self.duration,
            rate: None,
            pid: target.pid,
        };
        // The highest is counted from now on (proc(5)).
        fs::write(format!("/proc/{}/clear_refs", site.pid()), "5")?;
        let before = Process::read(site.pid())?.resident;
        let measured = tokio::task::LocalSet::new().block_on(&self.runtime, generator::run(plan, None))?;
        let above = Process::read(site.pid())?.peak.saturating_sub(before);
        say(&run_line(name, CONNECTIONS, &measured));
        if measured.failed() > 0 || measured.operations() == 0 {
            return Err(format!("{name}: {:?}", measured.errors).into());
        }
        Ok((measured, above as f64))
    }
}

/// Milliseconds that one SM3 over a document takes: the least of a few, as others use the machine too.
fn digest_cost(document: &[u8]) -> f64 {
    let one = || {
        let start = Instant::now();
        std::hint::black_box(Sm3::digest(std::hint::black_box(document)));
        start.elapsed().as_secs_f64() * 1_000.0
    };
    (0..9).map(|_| one()).fold(f64::INFINITY, f64::min)
}

/// A PDF of so many pages, and a stream of so many octets that nothing shows.
fn pdf(pages: usize, padding: usize) -> Vec<u8> {
    let mut octets = b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n".to_vec();
    let mut offsets = Vec::new();
    let mut object = |body: &[u8]| {
        offsets.push(octets.len());
        octets.extend_from_slice(format!("{} 0 obj\n", offsets.len()).as_bytes());
        octets.extend_from_slice(body);
        octets.extend_from_slice(b"\nendobj\n");
    };
    let stream = |content: &[u8]| {
        let head = format!("<</Length {}>>\nstream\n", content.len());
        [head.as_bytes(), content, b"\nendstream"].concat()
    };
    let kids: String = (0..pages).map(|page| format!("{} 0 R ", 5 + 2 * page)).collect();
    object(b"<</Type/Catalog/Pages 2 0 R>>");
    object(format!("<</Type/Pages/Kids[{kids}]/Count {pages}>>").as_bytes());
    object(b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>");
    object(&stream(&(0..padding).map(|octet| (octet % 251) as u8).collect::<Vec<_>>()));
    for page in 0..pages {
        let content = 6 + 2 * page;
        let page_of = format!(
            "<</Type/Page/Parent 2 0 R/MediaBox[0 0 595 842]/Resources<</Font<</F 3 0 R>>>>/Contents {content} 0 R>>"
        );
        object(page_of.as_bytes());
        object(&stream(format!("BT /F 12 Tf 72 720 Td (Page {page}) Tj ET").as_bytes()));
    }
    let (start, size) = (octets.len(), offsets.len() + 1);
    let mut table = format!("xref\n0 {size}\n0000000000 65535 f \n");
    for offset in &offsets {
        table.push_str(&format!("{offset:010} 00000 n \n"));
    }
    table.push_str(&format!("trailer\n<</Size {size}/Root 1 0 R>>\nstartxref\n{start}\n%%EOF\n"));
    octets.extend_from_slice(table.as_bytes());
    octets
}
