//! All tests of the store, as one program: it is linked once, and its tests share one PostgreSQL server.

mod account_races;
mod accounts;
mod approvals;
mod apps_and_keys;
mod audit;
mod audit_goes_on;
mod audit_support;
mod audit_tamper;
mod audit_tree;
mod callers;
mod ceremonies;
mod data_classes;
mod data_keys;
mod deliveries;
mod device_history;
mod durability;
mod evidence;
mod habits;
mod idempotency;
mod incidents;
mod inspections;
mod key_register;
mod library;
mod library_imports;
mod library_search;
mod license_files;
mod mandates;
mod oidc;
mod people_support;
mod policies;
mod protection;
mod put_back;
mod query_certificates;
mod replicas;
mod retentions;
mod scan_sessions;
mod schema;
mod seals;
mod stamp_jobs;
mod stamps;
mod support;
mod templates;
mod timestamps;
mod usage;
mod wrapped_keys;

/// A file that is not named above would never be run.
#[test]
fn every_file_here_is_part_of_this_program() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let entries = std::fs::read_dir(folder).expect("the folder of the tests");
    for entry in entries {
        let name = entry.expect("an entry").file_name().into_string().expect("a name in ASCII");
        if let Some(module) = name.strip_suffix(".rs").filter(|module| *module != "main") {
            assert!(include_str!("main.rs").contains(&format!("\nmod {module};\n")), "{name}");
        }
    }
}
