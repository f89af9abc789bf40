//! `license-gateway library …`: the register of entities, taken in from files, given out to files. It works on the
//! database that a configuration names, whether a gateway runs on it or not.

#[cfg(feature = "sandbox")]
mod demo;
mod export;
mod files;
mod folder;
mod import;
mod rows;
mod source;

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use config::Config;
use formats::uscc::Uscc;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};
use store::{Import, LicenseFile, Store};
use time::format_description::well_known::Rfc3339;

use super::{CliError, print, table};
use crate::database;
use crate::error::with_causes;

/// Take the register of entities in from files, give it out, look into it.
#[derive(Args)]
pub(crate) struct LibraryArguments {
    #[command(subcommand)]
    command: LibraryCommand,
}

#[derive(Subcommand)]
enum LibraryCommand {
    /// Take entities in from a file, JSON Lines or CSV in UTF-8; what is wrong with a row is told and keeps it out.
    Import(import::Order),
    /// Write all entities to a file, JSON Lines, in the order of their codes.
    Export(export::Order),
    /// Count the entities and hash them, in the order of their codes.
    Totals(Site),
    /// Take license files (公示版, OFD and PDF) in from a folder; what is wrong with one is told and keeps it out.
    Files(files::Order),
    /// Have a license file not delivered any more.
    RemoveFile {
        /// SM3 of the file, hexadecimal.
        digest: String,
        #[command(flatten)]
        site: Site,
    },
    /// The latest imports, and how far they came.
    Imports(Site),
    /// One entity, what the register said of it before, and its license files.
    Show {
        /// Its unified social credit code.
        uscc: String,
        #[command(flatten)]
        site: Site,
    },
    /// Fill a sandbox with a made-up province.
    #[cfg(feature = "sandbox")]
    Demo(demo::Order),
}

/// Whose library, and for whom the answer is.
#[derive(Args)]
struct Site {
    /// The site's configuration.
    #[arg(long, value_name = "FILE", default_value = "data/gateway.toml")]
    config: PathBuf,
    /// Print the answer as JSON.
    #[arg(long)]
    json: bool,
}

impl Site {
    /// The configuration, and its database with the newest schema.
    async fn open(&self) -> Result<(Config, Store), CliError> {
        let config = Config::load(&self.config).map_err(|error| CliError::NotDone(error.to_string()))?;
        let access =
            database::access(&config.database).map_err(|error| CliError::NotDone(error.to_string()))?;
        let store = Store::open(access).await.map_err(failed)?;
        store.migrate().await.map_err(failed)?;
        Ok((config, store))
    }
}

impl LibraryArguments {
    pub(super) fn wants_json(&self) -> bool {
        match &self.command {
            LibraryCommand::Import(order) => order.site.json,
            LibraryCommand::Export(order) => order.site.json,
            LibraryCommand::Files(order) => order.site.json,
            LibraryCommand::RemoveFile { site, .. } => site.json,
            LibraryCommand::Totals(site) | LibraryCommand::Imports(site) => site.json,
            LibraryCommand::Show { site, .. } => site.json,
            #[cfg(feature = "sandbox")]
            LibraryCommand::Demo(order) => order.site.json,
        }
    }

    pub(super) async fn run(self) -> Result<(), CliError> {
        match self.command {
            LibraryCommand::Import(order) => order.run().await,
            LibraryCommand::Export(order) => order.run().await,
            LibraryCommand::Files(order) => order.run().await,
            LibraryCommand::RemoveFile { digest, site } => files::remove(&digest, &site).await,
            LibraryCommand::Totals(site) => export::totals(&site).await,
            LibraryCommand::Imports(site) => imports(&site).await,
            LibraryCommand::Show { uscc, site } => show(&uscc, &site).await,
            #[cfg(feature = "sandbox")]
            LibraryCommand::Demo(order) => order.run().await,
        }
    }
}

async fn imports(site: &Site) -> Result<(), CliError> {
    let (_, store) = site.open().await?;
    let imports = store.imports().await.map_err(failed)?;
    store.close().await;
    let items: Vec<Value> = imports.iter().map(described).collect();
    print(site.json, &json!({"items": items}), |out| {
        let columns = [
            ("ID", true),
            ("FILE", false),
            ("STARTED", false),
            ("FINISHED", false),
            ("LINE", true),
            ("ADDED", true),
            ("CHANGED", true),
            ("UNCHANGED", true),
            ("OUTDATED", true),
            ("REFUSED", true),
        ];
        let members = [
            "id",
            "file",
            "started_at",
            "finished_at",
            "line",
            "added",
            "changed",
            "unchanged",
            "outdated",
            "refused",
        ];
        let row = |item: &Value| members.map(|member| super::text(&item[member])).to_vec();
        table::print(out, &columns, items.iter().map(row))
    });
    Ok(())
}

async fn show(uscc: &str, site: &Site) -> Result<(), CliError> {
    let code = Uscc::parse_sandbox(uscc).map_err(|error| CliError::NotDone(format!("{uscc:?}: {error}")))?;
    let (_, store) = site.open().await?;
    let entity = store.entity(&code).await.map_err(failed)?;
    let history = store.entity_history(&code).await.map_err(failed)?;
    let files = store.license_files(&code).await.map_err(failed)?;
    store.close().await;
    let entity = entity.ok_or_else(|| CliError::NotDone(format!("the library holds no entity {code}")))?;
    let mut shown = rows::written(&entity);
    let former = history.iter().map(|former| {
        json!({
            "status": former.status, "flags": former.flags,
            "status_as_of": time_text(former.as_of), "replaced_at": time_text(former.replaced_at),
        })
    });
    shown["history"] = former.collect();
    let file = |file: &LicenseFile| {
        json!({
            "kind": file.form.name(), "digest": file.contents.name(), "octets": file.contents.octets,
            "source": file.source, "added_at": time_text(file.added_at),
        })
    };
    shown["files"] = files.iter().map(file).collect();
    print(site.json, &shown, |out| writeln!(out, "{shown:#}"));
    Ok(())
}

/// An import, for people and scripts.
fn described(import: &Import) -> Value {
    json!({
        "id": import.id,
        "file": import.source,
        "started_at": time_text(import.started_at),
        "finished_at": import.finished_at.map(time_text),
        "position": import.place.position,
        "line": import.place.line,
        "digest": import.place.digest,
        "added": import.counts.added,
        "changed": import.counts.changed,
        "unchanged": import.counts.unchanged,
        "outdated": import.counts.outdated,
        "refused": import.counts.refused,
    })
}

fn time_text(at: time::OffsetDateTime) -> String {
    at.format(&Rfc3339).unwrap_or_default() // of a calendar's times all have one
}

fn failed(error: store::StoreError) -> CliError {
    CliError::NotDone(with_causes(&error))
}

fn unreadable(path: &Path) -> impl Fn(std::io::Error) -> CliError {
    let path = path.to_owned();
    move |source| CliError::File { path: path.clone(), source }
}

/// A bar on a terminal, and nothing elsewhere.
fn bar(length: u64, template: &str) -> ProgressBar {
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(length).with_style(style)
}
