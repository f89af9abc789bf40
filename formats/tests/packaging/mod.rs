//! OFD packages made part by part, for the tests.
#![allow(dead_code)] // each test file uses its part
#![allow(clippy::unwrap_used)] // a helper that fails fails its test

use std::io::{Cursor, Read, Write};

use formats::ofd::{OfdInput, OfdReport, OfdSignPlan, OfdSigner, Placement, Provider, Rect, verify};
use time::OffsetDateTime;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

use crate::pki::{NOW, SIGNER_ID};
use crate::sealing::{SIGNED_AT, Site};

const NS: &str = "xmlns:ofd=\"http://www.ofdspec.org/2016\"";

/// Parts by name, in order.
#[derive(Clone)]
pub(crate) struct Parts(pub(crate) Vec<(String, Vec<u8>)>);

impl Parts {
    /// A document of so many pages with text, an image and a font-less resource list.
    pub(crate) fn plain(pages: usize) -> Self {
        let mut parts = Self(Vec::new());
        parts.set(
            "OFD.xml",
            &format!(
                "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<ofd:OFD {NS} Version=\"1.1\" DocType=\"OFD\">\
                 <ofd:DocBody><ofd:DocInfo><ofd:DocID>0</ofd:DocID></ofd:DocInfo>\
                 <ofd:DocRoot>Doc_0/Document.xml</ofd:DocRoot></ofd:DocBody></ofd:OFD>"
            ),
        );
        let list: String = (0..pages)
            .map(|page| format!("<ofd:Page ID=\"{}\" BaseLoc=\"Pages/Page_{page}/Content.xml\"/>", page + 10))
            .collect();
        parts.set(
            "Doc_0/Document.xml",
            &format!(
                "<ofd:Document {NS}><ofd:CommonData><ofd:MaxUnitID>99</ofd:MaxUnitID><ofd:PageArea>\
                 <ofd:PhysicalBox>0 0 210 297</ofd:PhysicalBox></ofd:PageArea>\
                 <ofd:DocumentRes>DocumentRes.xml</ofd:DocumentRes></ofd:CommonData>\
                 <ofd:Pages>{list}</ofd:Pages></ofd:Document>"
            ),
        );
        parts.set(
            "Doc_0/DocumentRes.xml",
            &format!(
                "<ofd:Res {NS} BaseLoc=\"Res\"><ofd:MultiMedias><ofd:MultiMedia ID=\"5\" Type=\"Image\">\
                 <ofd:MediaFile>logo.png</ofd:MediaFile></ofd:MultiMedia></ofd:MultiMedias></ofd:Res>"
            ),
        );
        parts.0.push(("Doc_0/Res/logo.png".to_owned(), crate::sealing::PNG.to_vec()));
        for page in 0..pages {
            parts.set(
                &format!("Doc_0/Pages/Page_{page}/Content.xml"),
                &format!(
                    "<ofd:Page {NS}><ofd:Content><ofd:Layer ID=\"1{page}\"><ofd:TextObject ID=\"2{page}\" \
                     Boundary=\"20 20 100 10\" Font=\"3\" Size=\"5\"><ofd:TextCode X=\"0\" Y=\"5\">第 {page} 页\
                     </ofd:TextCode></ofd:TextObject></ofd:Layer></ofd:Content></ofd:Page>"
                ),
            );
        }
        parts
    }

    /// The parts of a package.
    pub(crate) fn of(ofd: &[u8]) -> Self {
        let mut archive = ZipArchive::new(Cursor::new(ofd)).unwrap();
        let all = (0..archive.len()).map(|place| {
            let mut entry = archive.by_index(place).unwrap();
            let name = entry.name().unwrap().into_owned();
            let mut octets = Vec::new();
            entry.read_to_end(&mut octets).unwrap();
            (name, octets)
        });
        Self(all.collect())
    }

    pub(crate) fn set(&mut self, name: &str, content: &str) {
        self.put(name, content.as_bytes());
    }

    pub(crate) fn put(&mut self, name: &str, content: &[u8]) {
        match self.0.iter_mut().find(|(known, _)| known == name) {
            Some((_, octets)) => *octets = content.to_vec(),
            None => self.0.push((name.to_owned(), content.to_vec())),
        }
    }

    pub(crate) fn text(&self, name: &str) -> String {
        let (_, octets) = self.0.iter().find(|(known, _)| known == name).unwrap();
        String::from_utf8(octets.clone()).unwrap()
    }

    pub(crate) fn octets(&self, name: &str) -> Vec<u8> {
        self.0.iter().find(|(known, _)| known == name).unwrap().1.clone()
    }

    pub(crate) fn replace(&mut self, name: &str, from: &str, to: &str) {
        let text = self.text(name);
        assert!(text.contains(from), "{name} has no {from}");
        self.set(name, &text.replacen(from, to, 1));
    }

    pub(crate) fn remove(&mut self, name: &str) {
        let before = self.0.len();
        self.0.retain(|(known, _)| known != name);
        assert_eq!(self.0.len(), before - 1, "{name}");
    }

    pub(crate) fn zip(&self) -> Vec<u8> {
        let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
        for (name, octets) in &self.0 {
            let method = CompressionMethod::Deflated;
            writer.start_file(name, SimpleFileOptions::default().compression_method(method)).unwrap();
            writer.write_all(octets).unwrap();
        }
        writer.finish().unwrap().into_inner()
    }
}

pub(crate) const BOX: Rect = Rect { x: 120.0, y: 200.0, width: 42.0, height: 42.0 };

pub(crate) fn sealed_by(site: &Site) -> OfdSigner {
    OfdSigner::Seal {
        seal: Box::new(site.seal()),
        certificate: Box::new(site.signer.clone()),
        stamps: vec![Placement { page: 0, boundary: BOX, clip: None }],
    }
}

pub(crate) fn plan<'a>(site: &Site, ofd: &'a [u8], signer: OfdSigner) -> OfdSignPlan<'a> {
    OfdSignPlan {
        ofd,
        document: 0,
        signer,
        algorithm: site.algorithm,
        signer_id: SIGNER_ID.to_vec(),
        signed_at: SIGNED_AT,
        provider: Provider {
            name: "license-gateway".to_owned(),
            version: "1".to_owned(),
            company: "测试 & <Co>".to_owned(),
        },
    }
}

pub(crate) fn sign(site: &Site, plan: OfdSignPlan<'_>) -> Vec<u8> {
    let pending = plan.prepare().unwrap();
    let signature = site.key.sign(pending.to_be_signed());
    pending.finish(&signature, None).unwrap()
}

/// A package of so many pages with one seal.
pub(crate) fn sealed(site: &Site, pages: usize) -> Vec<u8> {
    let ofd = Parts::plain(pages).zip();
    sign(site, plan(site, &ofd, sealed_by(site)))
}

pub(crate) fn judge_at(site: &Site, ofd: &[u8], at: OffsetDateTime) -> OfdReport {
    verify(&OfdInput { ofd, signer_id: SIGNER_ID, trust: &site.trust(), at })
}

pub(crate) fn judge(site: &Site, ofd: &[u8]) -> OfdReport {
    judge_at(site, ofd, NOW)
}
