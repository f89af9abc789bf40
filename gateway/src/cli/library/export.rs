//! `library export` and `library totals`: all entities in the order of their codes. Two libraries that hold the same give
//! out the same octets and so have the same hash, however they came by it.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};
use sm3::{Digest, Sm3};
use store::{LibraryCounts, Store};

use super::{CliError, Site, bar, failed, print, rows, unreadable};

/// Entities read at a time.
const PAGE: u32 = 2000;

/// Where entities are to be written.
#[derive(Args)]
pub(super) struct Order {
    /// The file; it must not be there.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    #[command(flatten)]
    pub(super) site: Site,
}

impl Order {
    pub(super) async fn run(self) -> Result<(), CliError> {
        let (_, store) = self.site.open().await?;
        let unwritable = unreadable(&self.out);
        let file = File::create_new(&self.out).map_err(&unwritable)?;
        let mut file = BufWriter::new(file);
        let done = walk(&store, |octets| file.write_all(octets)).await;
        store.close().await;
        let totals = done?;
        file.into_inner()
            .map_err(io::IntoInnerError::into_error)
            .and_then(|file| file.sync_all())
            .map_err(unwritable)?;
        tell(&self.site, &totals);
        Ok(())
    }
}

pub(super) async fn totals(site: &Site) -> Result<(), CliError> {
    let (_, store) = site.open().await?;
    let done = walk(&store, |_| Ok(())).await;
    store.close().await;
    tell(site, &done?);
    Ok(())
}

/// What a library holds, in numbers.
struct Totals {
    entities: u64,
    digest: String,
    counts: LibraryCounts,
}

/// Goes through all entities.
async fn walk(store: &Store, mut sink: impl FnMut(&[u8]) -> io::Result<()>) -> Result<Totals, CliError> {
    let counts = store.library_counts().await.map_err(failed)?;
    let expected = counts.by_status.iter().map(|(_, count)| u64::try_from(*count).unwrap_or_default()).sum();
    let bar = bar(expected, "{bar:40} {pos}/{len} {eta}");
    let (mut digest, mut entities, mut after) = (Sm3::new(), 0, None);
    loop {
        let page = store.entities_after(after.as_ref(), PAGE).await.map_err(failed)?;
        for entity in &page {
            let mut line = rows::written(entity).to_string().into_bytes();
            line.push(b'\n');
            digest.update(&line);
            sink(&line).map_err(|error| CliError::NotDone(format!("cannot write: {error}")))?;
        }
        entities += page.len() as u64;
        bar.set_position(entities);
        let Some(last) = page.last() else { break };
        after = Some(last.uscc);
    }
    bar.finish_and_clear();
    Ok(Totals { entities, digest: hex::encode(digest.finalize()), counts })
}

fn tell(site: &Site, totals: &Totals) {
    let counted = |counts: &[(String, i64)]| -> Value {
        Value::Object(counts.iter().map(|(kind, count)| (kind.clone(), json!(count))).collect())
    };
    let answer = json!({
        "entities": totals.entities,
        "digest": totals.digest,
        "by_status": counted(&totals.counts.by_status),
        "by_type": counted(&totals.counts.by_type),
    });
    print(site.json, &answer, |out| {
        writeln!(out, "{} entities, SM3 {}", totals.entities, totals.digest)?;
        for (status, count) in &totals.counts.by_status {
            writeln!(out, "status {status}: {count}")?;
        }
        for (kind, count) in &totals.counts.by_type {
            writeln!(out, "{}: {count}", super::table::plain(kind))?;
        }
        Ok(())
    });
}
