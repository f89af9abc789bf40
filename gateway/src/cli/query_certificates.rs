//! `license-gateway query-certificate …`: what query certificates (打印查询证明) certified.

use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clap::{Args, Subcommand};
use hyper::Method;

use super::{CliError, Target, print};

/// See what a query certificate (打印查询证明) certified, at a running gateway.
#[derive(Args)]
pub(crate) struct QueryCertificateArguments {
    #[command(subcommand)]
    command: QueryCertificateCommand,
}

#[derive(Subcommand)]
enum QueryCertificateCommand {
    /// What a certificate certified, and where it is on record.
    Show {
        /// Its number.
        number: String,
        /// Writes the snapshot here, octet by octet as it was certified.
        #[arg(long, value_name = "FILE")]
        save: Option<PathBuf>,
        #[command(flatten)]
        target: Target,
    },
}

impl QueryCertificateArguments {
    pub(super) fn wants_json(&self) -> bool {
        let QueryCertificateCommand::Show { target, .. } = &self.command;
        target.json
    }

    pub(super) async fn run(self) -> Result<(), CliError> {
        let QueryCertificateCommand::Show { number, save, target } = self.command;
        show(&target, &number, save.as_deref()).await
    }
}

async fn show(target: &Target, number: &str, save: Option<&Path>) -> Result<(), CliError> {
    let is_plain = |octet: u8| octet.is_ascii_alphanumeric() || octet == b'-';
    if number.is_empty() || !number.bytes().all(is_plain) {
        return Err(CliError::NotDone(format!("{number:?} is not the number of a query certificate")));
    }
    let path = format!("/v1/query-certificates/{number}");
    let found = target.connect().await?.call(Method::GET, &path, None).await?;
    let snapshot = found["snapshot"].as_str().and_then(|octets| STANDARD.decode(octets).ok());
    if let Some(file) = save {
        let gone = || CliError::NotDone("the snapshot is not kept any more; its digest is".to_owned());
        std::fs::write(file, snapshot.as_ref().ok_or_else(gone)?)
            .map_err(|error| CliError::NotDone(format!("cannot write {}: {error}", file.display())))?;
    }
    print(target.json, &found, |out| {
        let mut shown = found.clone();
        if let Some(snapshot) = snapshot.and_then(|octets| serde_json::from_slice(&octets).ok()) {
            shown["snapshot"] = snapshot;
        }
        writeln!(out, "{shown:#}")
    });
    Ok(())
}
