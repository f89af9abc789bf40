//! `license-gateway seal …`: the register of electronic seals.

use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clap::{Args, Subcommand};
use config::SealNumber;
use hyper::Method;
use serde_json::{Value, json};

use super::{CliError, Target, Why, print, table, text};

const REGISTER: &str = "/v1/admin/seals";

/// See, make and take back electronic seals at a running gateway.
#[derive(Args)]
pub(crate) struct SealArguments {
    #[command(subcommand)]
    command: SealCommand,
}

#[derive(Subcommand)]
enum SealCommand {
    /// All seals.
    List {
        /// active, suspended, revoked or replaced.
        #[arg(long)]
        state: Option<String>,
        /// Those of the holder with this unified social credit code.
        #[arg(long)]
        uscc: Option<String>,
        #[command(flatten)]
        target: Target,
    },
    /// One seal and what became of it.
    Show {
        /// Its number.
        number: String,
        /// Writes the seal (SESeal, DER) here, for `license-gateway verify --type seal` and others.
        #[arg(long, value_name = "FILE")]
        save: Option<PathBuf>,
        #[command(flatten)]
        target: Target,
    },
    /// Make a seal and enter it.
    Make(Box<New>),
    /// Make a seal that takes another one's place.
    Replace {
        /// The number of the seal that is replaced.
        replaced: String,
        #[command(flatten)]
        new: Box<New>,
    },
    /// Let nobody use a seal for now.
    Suspend(Act),
    /// Let a suspended seal be used again.
    Resume(Act),
    /// Let nobody use a seal any more; it does not come back.
    Revoke(Act),
}

/// A seal that is to be made.
#[derive(Args)]
struct New {
    /// Its number, for good.
    number: String,
    /// agency, enterprise or person.
    #[arg(long)]
    kind: String,
    /// What it is called.
    #[arg(long)]
    name: String,
    /// Whose it is, as the certificates have it.
    #[arg(long)]
    holder: String,
    /// The holder's unified social credit code; required but of a person's seal.
    #[arg(long)]
    uscc: Option<String>,
    /// Since when it is valid (RFC 3339).
    #[arg(long, value_name = "TIME")]
    from: String,
    /// Its last second (RFC 3339).
    #[arg(long, value_name = "TIME")]
    until: String,
    /// How it looks, PNG or SVG.
    #[arg(long, value_name = "FILE")]
    picture: PathBuf,
    /// Its width on paper, in millimetres.
    #[arg(long, value_name = "MM")]
    width: u32,
    /// Its height on paper, in millimetres.
    #[arg(long, value_name = "MM")]
    height: u32,
    /// Who may use it: an SM2 certificate, PEM; repeatable.
    #[arg(long = "certificate", value_name = "FILE", required = true)]
    certificates: Vec<PathBuf>,
    /// Have the seal hold SM3 digests of the certificates alone.
    #[arg(long)]
    by_digest: bool,
    #[command(flatten)]
    why: Why,
}

/// An act on a seal.
#[derive(Args)]
struct Act {
    /// The seal's number.
    number: String,
    #[command(flatten)]
    why: Why,
}

impl SealArguments {
    pub(super) fn wants_json(&self) -> bool {
        match &self.command {
            SealCommand::List { target, .. } | SealCommand::Show { target, .. } => target.json,
            SealCommand::Make(new) | SealCommand::Replace { new, .. } => new.why.target.json,
            SealCommand::Suspend(act) | SealCommand::Resume(act) | SealCommand::Revoke(act) => {
                act.why.target.json
            }
        }
    }

    pub(super) async fn run(self) -> Result<(), CliError> {
        match self.command {
            SealCommand::List { state, uscc, target } => {
                list(&target, state.as_deref(), uscc.as_deref()).await
            }
            SealCommand::Show { number, save, target } => show(&target, &number, save.as_deref()).await,
            SealCommand::Make(new) => new.send(REGISTER).await,
            SealCommand::Replace { replaced, new } => {
                new.send(&format!("{}/replace", path(&replaced)?)).await
            }
            SealCommand::Suspend(act) => act.send("suspend").await,
            SealCommand::Resume(act) => act.send("resume").await,
            SealCommand::Revoke(act) => act.send("revoke").await,
        }
    }
}

impl New {
    async fn send(&self, path: &str) -> Result<(), CliError> {
        let picture = std::fs::read(&self.picture)
            .map_err(|source| CliError::File { path: self.picture.clone(), source })?;
        let drawn = std::str::from_utf8(&picture).unwrap_or_default();
        let is_svg = drawn.trim_start_matches('\u{FEFF}').trim_start().starts_with('<');
        let form = if is_svg { "svg" } else { "png" };
        let certificates = self.certificates.iter().map(|path| first_certificate(path));
        let body = json!({
            "seal": {
                "number": self.number, "kind": self.kind, "name": self.name,
                "holder": {"name": self.holder, "uscc": self.uscc},
                "valid_from": self.from, "valid_until": self.until,
                "picture": {
                    form: STANDARD.encode(picture), "width_mm": self.width, "height_mm": self.height,
                },
                "certificates": certificates.collect::<Result<Vec<_>, _>>()?,
                "list": if self.by_digest { "digests" } else { "certificates" },
            },
            "reason": self.why.reason,
        });
        let target = &self.why.target;
        let answer = target.connect().await?.call(Method::POST, path, Some(&body)).await?;
        print(target.json, &answer, |out| {
            let number = table::plain(&text(&answer["number"]));
            writeln!(out, "seal {number} is made (audit entry {})", answer["audit_index"])
        });
        Ok(())
    }
}

impl Act {
    async fn send(&self, verb: &str) -> Result<(), CliError> {
        let (path, body) = (format!("{}/{verb}", path(&self.number)?), json!({"reason": self.why.reason}));
        let target = &self.why.target;
        let answer = target.connect().await?.call(Method::POST, &path, Some(&body)).await?;
        print(target.json, &answer, |out| {
            let [number, state] = ["number", "state"].map(|member| table::plain(&text(&answer[member])));
            writeln!(out, "seal {number} is {state} (audit entry {})", answer["audit_index"])
        });
        Ok(())
    }
}

/// Page after page, so that it shows all.
async fn list(target: &Target, state: Option<&str>, uscc: Option<&str>) -> Result<(), CliError> {
    let mut client = target.connect().await?;
    let (mut items, mut after) = (Vec::new(), None::<String>);
    loop {
        let wanted = [("state", state), ("uscc", uscc), ("after", after.as_deref())];
        let wanted = wanted.into_iter().filter_map(|(name, value)| Some((name, value?)));
        let query = serde_urlencoded::to_string(wanted.collect::<Vec<_>>());
        let query = query.map_err(|error| CliError::NotDone(error.to_string()))?;
        let page = client.call(Method::GET, &format!("{REGISTER}?{query}"), None).await?;
        items.extend(page["items"].as_array().into_iter().flatten().cloned());
        match page["next"].as_str() {
            Some(next) => after = Some(next.to_owned()),
            None => break,
        }
    }
    let all = json!({"items": items, "next": null});
    print(target.json, &all, |out| {
        let columns = [
            ("NUMBER", false),
            ("KIND", false),
            ("NAME", false),
            ("HOLDER", false),
            ("STATE", false),
            ("VALID UNTIL", false),
            ("REASON", false),
        ];
        let row = |seal: &Value| {
            let mut row = ["number", "kind", "name"].map(|member| text(&seal[member])).to_vec();
            row.push(text(&seal["holder"]["name"]));
            row.extend(["state", "valid_until", "state_reason"].map(|member| text(&seal[member])));
            row
        };
        table::print(out, &columns, items.iter().map(row))
    });
    Ok(())
}

async fn show(target: &Target, number: &str, save: Option<&Path>) -> Result<(), CliError> {
    let seal = target.connect().await?.call(Method::GET, &path(number)?, None).await?;
    if let Some(file) = save {
        let octets = seal["octets"].as_str().and_then(|octets| STANDARD.decode(octets).ok());
        let octets = octets.ok_or_else(|| CliError::Broken("the seal is not base64".to_owned()))?;
        std::fs::write(file, octets)
            .map_err(|error| CliError::NotDone(format!("cannot write {}: {error}", file.display())))?;
    }
    print(target.json, &seal, |out| {
        let mut shown = seal.clone();
        if let Some(members) = shown.as_object_mut() {
            // For programs.
            members.retain(|member, _| !["octets", "png", "svg"].contains(&member.as_str()));
        }
        writeln!(out, "{shown:#}")
    });
    Ok(())
}

/// The first certificate of a file, which is the signer's in a chain.
fn first_certificate(path: &Path) -> Result<String, CliError> {
    let pem =
        std::fs::read_to_string(path).map_err(|source| CliError::File { path: path.to_owned(), source })?;
    let found = formats::Certificate::many_from_pem(&pem).ok().and_then(|found| found.into_iter().next());
    let found = found.ok_or_else(|| CliError::NotDone(format!("{} holds no certificate", path.display())))?;
    Ok(found.to_pem())
}

/// A seal's path; what cannot be a number is the number of no seal.
fn path(number: &str) -> Result<String, CliError> {
    let number = SealNumber::parse(number)
        .map_err(|error| CliError::NotDone(format!("{number:?} is not the number of a seal: it {error}")))?;
    Ok(format!("{REGISTER}/{number}"))
}
