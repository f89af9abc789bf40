//! The library as a register: as good as its last import, and it remembers what it said before.

use async_trait::async_trait;
use formats::uscc::Uscc;
use store::{EntityRecord, Former, Store};
use time::OffsetDateTime;

use super::{RegisterError, Standing, StatusRegister, StatusSource};

/// The register that the library holds.
pub struct LibraryRegister(Store);

impl LibraryRegister {
    /// Reads the library of this store.
    #[must_use]
    pub fn new(store: Store) -> Self {
        Self(store)
    }
}

#[async_trait]
impl StatusRegister for LibraryRegister {
    fn source(&self) -> StatusSource {
        StatusSource::Library
    }

    async fn standing(
        &self,
        uscc: &Uscc,
        at: Option<OffsetDateTime>,
    ) -> Result<Option<Standing>, RegisterError> {
        let Some(entity) = self.0.entity(uscc).await? else { return Ok(None) };
        let Some(at) = at else { return Ok(Some(current(entity))) };
        let mut history = self.0.entity_history(uscc).await?;
        history.reverse(); // the oldest first
        Ok(then(entity, &history, at))
    }
}

fn current(entity: EntityRecord) -> Standing {
    Standing {
        code: entity.status,
        flags: entity.flags,
        as_of: entity.status_as_of,
        until: None,
        face: Some(entity.face),
    }
}

/// How an entity stood at a time. A status holds from the time that the register gave it, or from when it replaced another
/// one here: an import that says the same again moves the time of the one that holds now.
fn then(entity: EntityRecord, history: &[Former], at: OffsetDateTime) -> Option<Standing> {
    let began = |place: usize, as_of: OffsetDateTime| {
        let replaced = place.checked_sub(1).and_then(|before| history.get(before));
        as_of <= at || replaced.is_some_and(|before| before.replaced_at <= at)
    };
    if began(history.len(), entity.status_as_of) {
        return Some(Standing { face: None, ..current(entity) });
    }
    let (_, former) = history.iter().enumerate().rev().find(|(place, former)| began(*place, former.as_of))?;
    Some(Standing {
        code: former.status,
        flags: former.flags.clone(),
        as_of: former.as_of,
        until: Some(former.replaced_at),
        face: None,
    })
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    fn entity(status: i64, as_of: OffsetDateTime) -> EntityRecord {
        EntityRecord {
            uscc: Uscc::parse("91350100M000100Y43").expect("a code"),
            name: "甲".to_owned(),
            entity_type: String::new(),
            status,
            flags: Vec::new(),
            status_as_of: as_of,
            face: serde_json::Map::new(),
        }
    }

    fn former(status: i64, as_of: OffsetDateTime, replaced_at: OffsetDateTime) -> Former {
        Former { status, flags: Vec::new(), as_of, replaced_at }
    }

    #[test]
    fn a_status_holds_from_its_time_until_the_next_one_does() {
        let history = [
            former(1, datetime!(2020-01-01 0:00 UTC), datetime!(2022-03-05 0:00 UTC)),
            former(2, datetime!(2022-03-01 0:00 UTC), datetime!(2023-01-01 0:00 UTC)),
        ];
        // An import in 2025 said 4 again.
        let now = entity(4, datetime!(2025-01-01 0:00 UTC));
        for (at, wanted) in [
            (datetime!(2019-12-31 0:00 UTC), None),
            (datetime!(2020-01-01 0:00 UTC), Some(1)),
            (datetime!(2022-02-28 0:00 UTC), Some(1)),
            (datetime!(2022-03-02 0:00 UTC), Some(2)), // said later, and of that day
            (datetime!(2022-12-31 0:00 UTC), Some(2)),
            (datetime!(2023-06-01 0:00 UTC), Some(4)),
            (datetime!(2026-01-01 0:00 UTC), Some(4)),
        ] {
            let found = then(now.clone(), &history, at).map(|standing| standing.code);
            assert_eq!(found, wanted, "{at}");
        }
        assert!(
            then(entity(1, datetime!(2024-01-01 0:00 UTC)), &[], datetime!(2023-01-01 0:00 UTC)).is_none()
        );
    }
}
