//! Sealed cells, indexes and codes over rows.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;

use store::{Cell, DataKey, DataKeys, Protection, RowImage, StoreError};

const CELL: Cell<'_> = Cell { table: "accounts", column: "phone", row: "op-1" };

fn protection(versions: &[u32]) -> Protection {
    let keys = versions.iter().map(|version| DataKey::new(*version, &[u8::try_from(*version).unwrap(); 32]));
    let protection = Protection::default();
    protection.unlock(DataKeys::new(keys.collect()).unwrap());
    protection
}

fn altered<T>(result: Result<T, StoreError>) -> bool {
    matches!(result, Err(StoreError::Altered { what: "accounts", .. }))
}

#[test]
fn without_a_key_everything_is_refused() {
    let locked = Protection::default();
    assert!(!locked.is_unlocked());
    let row = RowImage::new("accounts", "op-1", 1);
    assert!(matches!(locked.seal(CELL, b"x"), Err(StoreError::Locked)));
    assert!(matches!(locked.open(CELL, b"x"), Err(StoreError::Locked)));
    assert!(matches!(locked.index("accounts", "phone", b"x"), Err(StoreError::Locked)));
    assert!(matches!(locked.code(&row), Err(StoreError::Locked)));
    assert!(matches!(locked.check(&row, &[0; 36]), Err(StoreError::Locked)));
    assert_eq!(locked.refused_rows(), 0, "a locked gateway has not judged the row");
}

#[test]
fn a_sealed_value_opens_in_its_own_place_only() {
    let protection = protection(&[1]);
    let sealed = protection.seal(CELL, b"13800000000").unwrap();
    assert_eq!(&**protection.open(CELL, &sealed).unwrap(), b"13800000000");
    assert!(!sealed.windows(11).any(|window| window == b"13800000000"));
    assert_ne!(
        sealed,
        protection.seal(CELL, b"13800000000").unwrap(),
        "the same value is sealed differently"
    );

    for elsewhere in [
        Cell { row: "op-2", ..CELL },
        Cell { column: "name", ..CELL },
        Cell { table: "accounts", column: "phoneo", row: "p-1" },
    ] {
        assert!(altered(protection.open(elsewhere, &sealed)), "{elsewhere:?}");
    }
    for at in 0..sealed.len() {
        let mut changed = sealed.clone();
        changed[at] ^= 1;
        assert!(altered(protection.open(CELL, &changed)), "octet {at}");
        assert!(altered(protection.open(CELL, &sealed[..at])), "cut at {at}");
    }
}

#[test]
fn old_values_open_after_a_rotation_and_say_that_they_are_old() {
    let before = protection(&[1]);
    let sealed = before.seal(CELL, b"x").unwrap();
    let row = RowImage::new("accounts", "op-1", 1).boolean("enabled", true);
    let code = before.code(&row).unwrap();
    let index = before.index("accounts", "phone", b"x").unwrap();

    let after = protection(&[2, 1]);
    assert_eq!(after.version().unwrap(), 2);
    assert_eq!(&**after.open(CELL, &sealed).unwrap(), b"x");
    after.check(&row, &code).unwrap();
    assert!(after.is_outdated(&sealed) && after.is_outdated(&code));
    assert!(!after.is_outdated(&after.seal(CELL, b"x").unwrap()));
    let indexes = after.indexes("accounts", "phone", b"x").unwrap();
    assert_eq!(indexes, [after.index("accounts", "phone", b"x").unwrap(), index]);

    let without = protection(&[2]);
    assert!(altered(without.open(CELL, &sealed)) && altered(without.check(&row, &code)));
}

#[test]
fn an_index_depends_on_table_column_and_value_and_on_nothing_else() {
    let protection = protection(&[1]);
    let index = |table, column, value: &[u8]| protection.index(table, column, value).unwrap();
    assert_eq!(index("a", "b", b"c"), index("a", "b", b"c"));
    let all = [("a", "b", &b"c"[..]), ("ab", "", b"c"), ("a", "bc", b""), ("b", "a", b"c"), ("a", "b", b"d")];
    let distinct: BTreeSet<_> =
        all.iter().map(|(table, column, value)| index(table, column, value)).collect();
    assert_eq!(distinct.len(), all.len());
}

#[test]
fn a_row_that_was_changed_anywhere_is_refused_and_counted() {
    let protection = protection(&[1]);
    let row = |id: &str, revision, name: &str, role: Option<&str>, limit, enabled| {
        RowImage::new("accounts", id, revision)
            .text("name", name)
            .text_or_null("role", role)
            .integer_or_null("limit", limit)
            .octets_or_null("digest", Some(&[1, 2]))
            .boolean("enabled", enabled)
    };
    let good = row("op-1", 3, "a", Some("b"), Some(5), true);
    let code = protection.code(&good).unwrap();
    protection.check(&good, &code).unwrap();
    let changed = [
        row("op-2", 3, "a", Some("b"), Some(5), true),
        row("op-1", 2, "a", Some("b"), Some(5), true),
        row("op-1", 3, "ab", Some(""), Some(5), true),
        row("op-1", 3, "a", None, Some(5), true),
        row("op-1", 3, "a", Some("b"), Some(6), true),
        row("op-1", 3, "a", Some("b"), None, true),
        row("op-1", 3, "a", Some("b"), Some(5), false),
        RowImage::new("apps", "op-1", 3),
        good.clone().boolean("more", true),
    ];
    for (at, row) in changed.iter().enumerate() {
        let error = protection.check(row, &code).unwrap_err();
        assert!(matches!(error, StoreError::Altered { .. }), "{at}: {error:?}");
    }
    assert!(altered(protection.check(&good, &code[..35])) && altered(protection.check(&good, b"")));
    assert_eq!(protection.refused_rows(), changed.len() as u64 + 2);
    assert_eq!(protection.newly_altered(), ["accounts op-2", "accounts op-1", "apps op-1"], "each once");
    assert!(protection.newly_altered().is_empty());
}

#[test]
fn debug_output_holds_no_key() {
    let key = DataKey::new(7, &[0xab; 32]);
    assert_eq!(format!("{key:?}"), "DataKey { version: 7, .. }");
    assert_eq!(format!("{:?}", Protection::default()), "Protection { unlocked: false, .. }");
}
