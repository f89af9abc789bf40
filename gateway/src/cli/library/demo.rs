//! `library demo`: a made-up province in a sandbox, for measuring and for showing. Nobody in it is anybody.

use std::time::Instant;

use certs_test::province::{Inhabitant, inhabitant};
use clap::Args;
use serde_json::json;
use store::{EntityRecord, Place};
use time::OffsetDateTime;
use time::macros::datetime;

use super::{CliError, Site, bar, described, failed, print};

/// Entities that go in together.
const PART: u64 = 5000;
/// When the made-up register says what it says.
const AS_OF: OffsetDateTime = datetime!(2026-01-01 00:00 UTC);

/// How many there are to be.
#[derive(Args)]
pub(super) struct Order {
    /// Entities; those that are there already are not made again.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=20_000_000))]
    licenses: u64,
    #[command(flatten)]
    pub(super) site: Site,
}

impl Order {
    pub(super) async fn run(self) -> Result<(), CliError> {
        let (config, store) = self.site.open().await?;
        if !config.site.sandbox {
            return Err(CliError::NotDone("made-up entities are for a sandbox only".to_owned()));
        }
        // One source for any number: what there is of it goes on, and a larger province holds the smaller one.
        let began = Instant::now();
        let mut import = match store.unfinished_import(SOURCE).await.map_err(failed)? {
            Some(import) => import,
            None => {
                let place = Place { position: 0, line: 0, digest: String::new() };
                store.begin_import(SOURCE, place, OffsetDateTime::now_utc()).await.map_err(failed)?
            }
        };
        let before = import.counts.added;
        let bar = bar(self.licenses, "{bar:40} {pos}/{len} {per_sec} {eta}");
        let mut number = u64::try_from(import.place.position).unwrap_or_default();
        while number < self.licenses {
            let end = (number + PART).min(self.licenses);
            let part = (number..end).map(entity).collect::<Result<Vec<_>, _>>()?;
            let position = i64::try_from(end).unwrap_or(i64::MAX);
            let place = Place { position, line: position, digest: String::new() };
            store.import_part(&mut import, &part, 0, place).await.map_err(failed)?;
            number = end;
            bar.set_position(number);
        }
        bar.finish_and_clear();
        store.measure_library().await.map_err(failed)?;
        store.close().await;
        let (made, seconds) = (import.counts.added - before, began.elapsed().as_secs_f64());
        let mut answer = described(&import);
        answer["seconds"] = json!(seconds);
        print(self.site.json, &answer, |out| {
            writeln!(out, "{made} entities made in {seconds:.1} s; {number} are there")
        });
        Ok(())
    }
}

/// What the imports are listed under.
const SOURCE: &str = "demo-data";

fn entity(number: u64) -> Result<EntityRecord, CliError> {
    let Inhabitant { uscc, name, entity_type, status, flags, face } =
        inhabitant(number).map_err(|error| CliError::NotDone(error.to_string()))?;
    Ok(EntityRecord { uscc, name, entity_type, status, flags, status_as_of: AS_OF, face })
}
