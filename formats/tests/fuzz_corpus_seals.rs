//! The corpora of the fuzz targets for seals and OFD packages, input by input, damaged in many places, and at random.

#![allow(clippy::unwrap_used)] // a helper that fails fails its test

#[path = "support/fuzzed_seals.rs"]
mod fuzzed;
use crate::packaging;
use crate::sealing;

use std::path::{Path, PathBuf};

use proptest::prelude::*;

fn folder(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(target)
}

fn run(target: &str, stride: usize, check: fn(&[u8])) {
    let mut inputs = 0;
    for entry in std::fs::read_dir(folder(target)).unwrap() {
        let input = std::fs::read(entry.unwrap().path()).unwrap();
        check(&input);
        for position in (inputs % stride..input.len()).step_by(stride) {
            let mut damaged = input.clone();
            damaged[position] ^= 1 << (position % 8);
            check(&damaged);
            check(&input[..position]);
        }
        inputs += 1;
    }
    assert!(inputs > 2, "{inputs}");
}

#[test]
fn seals() {
    run("seal", 1, fuzzed::seal);
}

#[test]
fn drawings() {
    run("drawing", 41, fuzzed::drawing);
}

#[test]
fn packages() {
    run("ofd", 5, fuzzed::ofd);
    run("ofd", 5, fuzzed::ofd_parts);
}

/// Writes the corpora anew: `cargo test -p formats --test fuzz_corpus_seals -- --ignored`.
#[test]
#[ignore = "writes into the tree"]
fn write_the_corpora() {
    use packaging::{Parts, sealed};
    use sealing::{CONTENT, Shape, Site, extensions, tagged};
    let site = Site::sm2();
    let write = |target: &str, name: &str, octets: &[u8]| {
        std::fs::create_dir_all(folder(target)).unwrap();
        std::fs::write(folder(target).join(name), octets).unwrap();
    };
    for version in [1, 4, 5] {
        write("seal", &format!("seal-v{version}"), &Shape::of(version).seal(&site));
        write("seal", &format!("signature-v{version}"), &Shape::of(version).signature(&site));
    }
    let shape = Shape {
        seal_extensions: extensions(false),
        sign_extensions: tagged(extensions(true)),
        ..Shape::of(4)
    };
    write("seal", "extensions", &shape.signature(&site));
    write("seal", "made", &site.sign(site.plan(site.seal(), CONTENT)));
    let whole = sealed(&site, 1);
    write("ofd", "sealed.ofd", &whole);
    write("ofd", "plain.ofd", &Parts::plain(1).zip());
    let signer = formats::ofd::OfdSigner::Sign { chain: vec![site.signer.clone()] };
    write("ofd", "signed-twice.ofd", &packaging::sign(&site, packaging::plan(&site, &whole, signer)));
    let mut gbk = Parts::plain(1);
    for name in ["Doc_0/Document.xml", "Doc_0/Pages/Page_0/Content.xml"] {
        let text = format!("<?xml version=\"1.0\" encoding=\"GBK\"?>{}", gbk.text(name));
        gbk.put(name, &encoding_rs::GBK.encode(&text).0);
    }
    let gbk = gbk.zip();
    let signer = packaging::sealed_by(&site);
    write("ofd", "gbk.ofd", &packaging::sign(&site, packaging::plan(&site, &gbk, signer)));
    let parts = Parts::of(&whole);
    let mut items = Vec::new();
    for (which, name) in
        ["OFD.xml", "Doc_0/Document.xml", "Doc_0/Signs/Signatures.xml", "Doc_0/Signs/Sign_0/Signature.xml"]
            .iter()
            .enumerate()
    {
        items.push(which as u8 + 6);
        items.extend(parts.octets(name));
        items.push(0);
    }
    write("ofd", "parts", &items);
}

proptest! {
    #[test]
    fn any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        fuzzed::seal(&bytes);
        fuzzed::drawing(&bytes);
        fuzzed::ofd(&bytes);
        fuzzed::ofd_parts(&bytes);
    }
}
