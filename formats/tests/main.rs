//! The tests of the formats as one program, which is linked once. Those that measure memory are programs of their own,
//! because a process has one account of it.

mod arbitrary_bytes;
mod ber;
mod bouncycastle_seals;
mod certificates;
mod constraints;
mod csr;
mod describe;
mod editions;
mod fuzz_corpus;
mod fuzz_corpus_documents;
mod fuzz_corpus_messages;
mod fuzz_corpus_seals;
mod fuzz_corpus_signing;
mod identifiers;
mod keys;
mod license;
mod license_files;
mod ocsp;
mod ofd_annotations;
mod ofd_encodings;
mod ofd_hostile;
mod ofd_signed;
mod openssl;
mod packaging;
mod paths;
mod pdf;
mod pdf_attacks;
mod pdf_attacks_prepared;
mod pdf_documents;
mod pdf_looks;
mod pdf_permissions;
mod pdf_sealing;
mod pdf_seals;
mod pdf_signatures;
mod pdf_timestamps;
mod pieces;
mod pki;
mod pkits;
mod query_certificate;
mod remembered;
mod report;
mod revocation;
mod seal_drawings;
mod sealing;
mod seals;
#[path = "pdf/signed.rs"]
mod signed;
mod signed_data;
mod signed_data_judged;
mod signed_data_nested;
mod signed_pdf;
mod timestamp_authority;
mod timestamps;
mod uscc;
mod verdicts;
mod words;
mod wycheproof;

/// A file that is neither named above nor a program of its own would never be run.
#[test]
fn every_file_here_is_part_of_a_program() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let manifest = std::fs::read_to_string(root.join("Cargo.toml")).expect("the manifest");
    let entries = std::fs::read_dir(root.join("tests")).expect("the folder of the tests");
    for entry in entries {
        let name = entry.expect("an entry").file_name().into_string().expect("a name in ASCII");
        if let Some(module) = name.strip_suffix(".rs").filter(|module| *module != "main") {
            let here = include_str!("main.rs").contains(&format!("\nmod {module};\n"));
            assert!(here || manifest.contains(&format!("path = \"tests/{name}\"")), "{name}");
        }
    }
}
