//! The files of licenses: which is delivered, and that their contents come back as they were or not at all.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use crate::support;

use std::path::Path;
use std::slice::from_ref;

use formats::license_file::FileForm;
use formats::uscc::Uscc;
use store::{Contents, EntityRecord, FileOutcome, LicenseFile, LicenseFiles, Store, StoreError};
use support::{Database, on_both_databases};
use time::{Duration, OffsetDateTime};

on_both_databases! {
    the_newest_file_is_delivered_and_older_ones_by_their_digest,
    a_file_that_was_removed_gives_way_to_the_one_before_and_does_not_come_back,
    files_of_an_entity_that_is_not_known_are_not_added_nor_is_what_came_with_them,
    what_a_file_is_does_not_change,
}

const AT: OffsetDateTime = OffsetDateTime::UNIX_EPOCH;
const MEBIBYTE: usize = 1 << 20;

fn uscc(number: usize) -> Uscc {
    Uscc::with_check_digits(&format!("91610102MA{number:06}")).unwrap()
}

fn file(number: usize, form: FileForm, octets: &[u8]) -> LicenseFile {
    LicenseFile {
        uscc: uscc(number),
        form,
        contents: Contents::of(octets),
        source: "a.ofd".to_owned(),
        added_at: AT,
        removed_at: None,
    }
}

async fn with_entity(database: &Database) -> Store {
    let store = database.create().await;
    let entity = EntityRecord {
        uscc: uscc(1),
        name: "样例有限公司".to_owned(),
        entity_type: "有限责任公司".to_owned(),
        status: 1,
        flags: Vec::new(),
        status_as_of: AT,
        face: serde_json::Map::new(),
    };
    store.upsert_entity(&entity).await.unwrap();
    store
}

async fn the_newest_file_is_delivered_and_older_ones_by_their_digest(database: &Database) {
    use FileForm::{Ofd, Pdf};
    let store = with_entity(database).await;
    let large = vec![7; 2 * MEBIBYTE + 1];
    let [first, second, pdf] = [file(1, Ofd, b"1"), file(1, Ofd, &large), file(1, Pdf, b"3")];
    let outcomes = store.add_license_files(&[first.clone(), pdf.clone()]).await.unwrap();
    assert_eq!(outcomes, [FileOutcome::Added; 2]);
    let outcomes = store.add_license_files(&[second.clone(), second.clone(), first.clone()]).await.unwrap();
    assert_eq!(outcomes, [FileOutcome::Added, FileOutcome::Known, FileOutcome::Known]);

    let newest = store.license_file(&uscc(1), Ofd, None).await.unwrap();
    assert_eq!(newest, Some(second.clone()), "what was known does not become the newest again");
    let older = store.license_file(&uscc(1), Ofd, Some(&first.contents.digest)).await.unwrap();
    assert_eq!(older, Some(first.clone()));
    let of_other_form = store.license_file(&uscc(1), Pdf, Some(&first.contents.digest)).await.unwrap();
    assert_eq!(of_other_form, None);
    assert_eq!(store.license_file(&uscc(2), Ofd, None).await.unwrap(), None);
    assert_eq!(store.license_files(&uscc(1)).await.unwrap(), [second.clone(), pdf, first]);
    assert_eq!(store.license_file_of(&second.contents.digest).await.unwrap(), Some(second));
}

async fn a_file_that_was_removed_gives_way_to_the_one_before_and_does_not_come_back(database: &Database) {
    let store = with_entity(database).await;
    let [first, second] = [file(1, FileForm::Ofd, b"1"), file(1, FileForm::Ofd, b"2")];
    store.add_license_files(&[first.clone(), second.clone()]).await.unwrap();
    let at = AT + Duration::DAY;
    assert!(store.remove_license_file(&second.contents.digest, at).await.unwrap());
    assert!(!store.remove_license_file(&second.contents.digest, at + Duration::DAY).await.unwrap());
    assert_eq!(store.license_file(&uscc(1), FileForm::Ofd, None).await.unwrap(), Some(first.clone()));
    assert_eq!(store.add_license_files(from_ref(&second)).await.unwrap(), [FileOutcome::Known]);
    assert_eq!(store.license_files(&uscc(1)).await.unwrap(), from_ref(&first));
    assert!(store.remove_license_file(&first.contents.digest, at).await.unwrap());
    let removed = store.license_file(&uscc(1), FileForm::Ofd, None).await.unwrap().unwrap();
    assert_eq!(removed, LicenseFile { removed_at: Some(at), ..second }, "the newest of those removed");
}

async fn files_of_an_entity_that_is_not_known_are_not_added_nor_is_what_came_with_them(database: &Database) {
    let store = with_entity(database).await;
    let files = [file(1, FileForm::Ofd, b"1"), file(2, FileForm::Ofd, b"2")];
    let error = store.add_license_files(&files).await.unwrap_err();
    assert!(matches!(error, StoreError::MissingReference { .. }), "{error:?}");
    assert_eq!(store.license_files(&uscc(1)).await.unwrap(), []);
}

async fn what_a_file_is_does_not_change(database: &Database) {
    let store = with_entity(database).await;
    store.add_license_files(&[file(1, FileForm::Ofd, b"1")]).await.unwrap();
    for change in ["digest = 'aa'", "kind = 'pdf'", "octets = 2", "added_at = 7"] {
        let changed = database.raw().await.execute(&format!("UPDATE license_files SET {change}")).await;
        assert!(changed.is_err(), "{change}");
    }
    store.close().await;
}

/// The one file in a folder of folders.
fn kept(folder: &Path) -> std::path::PathBuf {
    let entry = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).next().unwrap();
    if entry.is_dir() { kept(&entry) } else { entry }
}

async fn read(files: &LicenseFiles, contents: &Contents) -> Result<Vec<u8>, StoreError> {
    let mut octets = Vec::new();
    for part in 0..contents.parts() {
        octets.extend(files.part(contents, part).await?);
    }
    Ok(octets)
}

#[tokio::test]
async fn contents_come_back_as_they_were_or_not_at_all() {
    for length in [1, MEBIBYTE - 1, MEBIBYTE, MEBIBYTE + 1, 3 * MEBIBYTE] {
        let folder = tempfile::tempdir().unwrap();
        let files = LicenseFiles::folder(folder.path()).unwrap();
        let octets: Vec<u8> = (0..length).map(|place| (place % 251) as u8).collect();
        let contents = Contents::of(&octets);
        assert_eq!(contents.octets, length as u64);
        assert!(!files.has(&contents).await.unwrap());
        files.put(&contents, octets.clone()).await.unwrap();
        assert!(files.has(&contents).await.unwrap());
        assert_eq!(read(&files, &contents).await.unwrap(), octets, "{length}");
        let past = files.part(&contents, contents.parts()).await;
        assert!(matches!(past, Err(StoreError::Altered { .. })));

        let path = kept(folder.path());
        let damaged = |change: &dyn Fn(&mut Vec<u8>)| {
            let mut damaged = octets.clone();
            change(&mut damaged);
            std::fs::write(&path, damaged).unwrap();
        };
        let last = contents.parts() - 1;
        damaged(&|octets| *octets.last_mut().unwrap() ^= 1);
        assert!(matches!(files.part(&contents, last).await, Err(StoreError::Altered { .. })), "{length}");
        assert_eq!(files.part(&contents, 0).await.is_ok(), last > 0, "parts that are whole are delivered");
        damaged(&|octets| octets.truncate(octets.len() - 1));
        assert!(matches!(files.part(&contents, last).await, Err(StoreError::Altered { .. })), "{length}");
        assert!(!files.has(&contents).await.unwrap());
        std::fs::remove_file(&path).unwrap();
        assert!(matches!(files.part(&contents, 0).await, Err(StoreError::Altered { .. })), "{length}");
        files.put(&contents, octets.clone()).await.unwrap();
        assert_eq!(read(&files, &contents).await.unwrap(), octets, "put again");
    }
}
