//! `license-gateway retention …`: licenses that apps keep as they were shown (执照留档).

use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clap::{Args, Subcommand};
use formats::scheme::HashAlgorithm;
use hyper::Method;
use serde_json::Value;

use super::{CliError, Target, print, table, text};

const RETENTIONS: &str = "/v1/retentions";

/// See licenses that apps keep as they were shown (执照留档), at a running gateway.
#[derive(Args)]
pub(crate) struct RetentionArguments {
    #[command(subcommand)]
    command: RetentionCommand,
}

#[derive(Subcommand)]
enum RetentionCommand {
    /// Retentions, the newest first.
    List {
        /// Those of the licenses of the holder with this unified social credit code.
        #[arg(long)]
        uscc: Option<String>,
        /// `next` of the page before.
        #[arg(long)]
        cursor: Option<String>,
        #[command(flatten)]
        target: Target,
    },
    /// One retention: what was found of the license when it was shown.
    Show {
        /// Its number.
        number: String,
        #[command(flatten)]
        target: Target,
    },
    /// Write file, record and evidence of a retention into a folder, to be judged without the gateway.
    Save {
        /// Its number.
        number: String,
        /// The folder, which is made if there is none.
        #[arg(long, value_name = "FOLDER")]
        to: PathBuf,
        #[command(flatten)]
        target: Target,
    },
}

impl RetentionArguments {
    pub(super) fn wants_json(&self) -> bool {
        match &self.command {
            RetentionCommand::List { target, .. }
            | RetentionCommand::Show { target, .. }
            | RetentionCommand::Save { target, .. } => target.json,
        }
    }

    pub(super) async fn run(self) -> Result<(), CliError> {
        match self.command {
            RetentionCommand::List { uscc, cursor, target } => {
                list(&target, uscc.as_deref(), cursor.as_deref()).await
            }
            RetentionCommand::Show { number, target } => {
                let path = path(&number)?;
                let found = target.connect().await?.call(Method::GET, &path, None).await?;
                print(target.json, &found, |out| writeln!(out, "{found:#}"));
                Ok(())
            }
            RetentionCommand::Save { number, to, target } => save(&target, &number, &to).await,
        }
    }
}

async fn list(target: &Target, uscc: Option<&str>, cursor: Option<&str>) -> Result<(), CliError> {
    let mut path = format!("{RETENTIONS}?limit=100");
    for (name, value) in [("uscc", uscc), ("cursor", cursor)] {
        let Some(value) = value else { continue };
        if !value.bytes().all(|octet| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'.')) {
            return Err(CliError::NotDone(format!("{value:?} cannot be a {name}")));
        }
        path += &format!("&{name}={value}");
    }
    let answer = target.connect().await?.call(Method::GET, &path, None).await?;
    print(target.json, &answer, |out| {
        let heads = ["RETENTION", "APP", "LICENSE", "BUSINESS", "FILE", "VERDICT", "KEPT", "UNTIL"];
        let row = |item: &Value| {
            let kind = &item["file"]["kind"];
            let cells = [&item["id"], &item["app"], &item["uscc"], &item["biz_no"], kind, &item["verdict"]];
            let times = [&item["retained_at"], &item["keep_until"]];
            cells.into_iter().chain(times).map(text).collect::<Vec<_>>()
        };
        table::print(
            out,
            &heads.map(|head| (head, false)),
            answer["items"].as_array().into_iter().flatten().map(row),
        )?;
        match answer["next"].as_str() {
            Some(next) => writeln!(out, "there are more: --cursor {}", table::plain(next)),
            None => Ok(()),
        }
    });
    Ok(())
}

/// Writes what came, if it is what the record says.
async fn save(target: &Target, number: &str, to: &Path) -> Result<(), CliError> {
    let path = path(number)?;
    let mut client = target.connect().await?;
    let evidence = client.call(Method::GET, &format!("{path}/evidence"), None).await?;
    let file = client.octets(&format!("{path}/file")).await?;
    let broken = |what: &str| CliError::Broken(format!("{what} is not what the record says"));
    let text = evidence["record"].as_str().ok_or_else(|| broken("the record"))?;
    let record: Value = serde_json::from_str(text).map_err(|_| broken("the record"))?;
    let entry: Value =
        evidence["entry"].as_str().and_then(|entry| serde_json::from_str(entry).ok()).unwrap_or_default();
    let sm3 = |octets: &[u8]| hex::encode(HashAlgorithm::Sm3.digest(octets));
    if entry["result_digest"] != sm3(text.as_bytes()) {
        return Err(broken("the audit log's entry"));
    }
    let sha256 = hex::encode(HashAlgorithm::Sha256.digest(&file));
    if record["file"]["sm3"] != sm3(&file) || record["file"]["sha256"] != sha256 {
        return Err(broken("the file"));
    }
    let extension = match record["file"]["kind"].as_str() {
        Some("ofd") => "ofd",
        Some("pdf") => "pdf",
        Some("session") => "json",
        _ => "cer",
    };
    let name = format!("license.{extension}");
    let mut written =
        vec![(name.clone(), file.to_vec()), ("record.json".to_owned(), text.as_bytes().to_vec())];
    written.push(("evidence.json".to_owned(), format!("{evidence:#}\n").into_bytes()));
    for (of, extension) in [("certificates", "cer"), ("crls", "crl"), ("ocsps", "ocsp")] {
        for item in record["evidence"][of].as_array().into_iter().flatten() {
            let item = item.as_str().unwrap_or_default();
            let octets = evidence["items"][item].as_str().and_then(|octets| STANDARD.decode(octets).ok());
            let octets = octets.filter(|octets| sm3(octets) == item).ok_or_else(|| broken("the evidence"))?;
            written.push((format!("{item}.{extension}"), octets));
        }
    }
    let failed = |error: std::io::Error| CliError::NotDone(format!("cannot write {}: {error}", to.display()));
    std::fs::create_dir_all(to).map_err(failed)?;
    for (name, octets) in &written {
        std::fs::write(to.join(name), octets).map_err(failed)?;
    }
    let names: Vec<_> = written.into_iter().map(|(name, _)| name).collect();
    let told = serde_json::json!({"record": record, "folder": to, "files": names});
    print(target.json, &told, |out| {
        writeln!(out, "{name} is as it was kept at {}", text_of(&record["retained_at"]))?;
        writeln!(out, "{} files are in {}", names.len(), to.display())
    });
    Ok(())
}

fn text_of(value: &Value) -> String {
    table::plain(&text(value))
}

fn path(number: &str) -> Result<String, CliError> {
    let is_plain = |octet: u8| octet.is_ascii_alphanumeric() || octet == b'-';
    if number.is_empty() || !number.bytes().all(is_plain) {
        return Err(CliError::NotDone(format!("{number:?} is not the number of a retention")));
    }
    Ok(format!("{RETENTIONS}/{number}"))
}
