//! Subcommands that read and change a running gateway, over its admin socket; those of the library work on the database.

mod accounts;
mod adopt;
mod approvals;
mod apps;
mod audit;
mod client;
mod data_key;
mod devices;
mod incidents;
mod inspections;
mod keys;
mod library;
mod mandates;
mod policies;
mod profiles;
mod query_certificates;
mod retentions;
#[cfg(feature = "sandbox")]
mod sandbox;
mod seals;
mod stamp_jobs;
mod table;
mod templates;
mod trust;
mod usage;
mod webhooks;

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use hyper::Method;
use serde_json::Value;
use thiserror::Error;

pub(crate) use accounts::AccountArguments;
pub(crate) use approvals::ApprovalArguments;
pub(crate) use apps::AppArguments;
pub(crate) use audit::{AuditArguments, audit};
pub(crate) use data_key::{DataKeyArguments, data_key};
pub(crate) use devices::DeviceArguments;
pub(crate) use incidents::IncidentArguments;
pub(crate) use inspections::InspectArguments;
pub(crate) use keys::KeyArguments;
pub(crate) use library::LibraryArguments;
pub(crate) use mandates::MandateArguments;
pub(crate) use policies::PolicyArguments;
pub(crate) use query_certificates::QueryCertificateArguments;
pub(crate) use retentions::RetentionArguments;
#[cfg(feature = "sandbox")]
pub(crate) use sandbox::SandboxArguments;
pub(crate) use seals::SealArguments;
pub(crate) use stamp_jobs::{QueryCertificateJobArguments, StampJobArguments};
pub(crate) use templates::TemplateArguments;
pub(crate) use trust::trust;
pub(crate) use usage::UsageArguments;
pub(crate) use webhooks::DeliveryArguments;

use crate::admin;
use client::Client;

/// Why something is done, and where.
#[derive(Args)]
struct Why {
    /// Why, for the record: 1 to 500 characters.
    #[arg(long)]
    reason: String,
    #[command(flatten)]
    target: Target,
}

/// Which gateway, and for whom the answer is.
#[derive(Args)]
pub(crate) struct Target {
    /// The running gateway's configuration; its admin socket stands beside it.
    #[arg(long, value_name = "FILE", conflicts_with = "socket")]
    config: Option<PathBuf>,
    /// The gateway's admin socket [default: data/admin.sock].
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// A file with a person's token: that person asks, instead of this machine's user.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Print what the gateway answered, as JSON.
    #[arg(long)]
    json: bool,
}

impl Target {
    fn socket(&self) -> PathBuf {
        match (&self.socket, &self.config) {
            (Some(socket), _) => socket.clone(),
            (None, Some(config)) => config.with_file_name(admin::NAME),
            (None, None) => Path::new("data").join(admin::NAME),
        }
    }

    async fn connect(&self) -> Result<Client, CliError> {
        let read = |path: &PathBuf| {
            std::fs::read_to_string(path).map_err(|source| CliError::File { path: path.clone(), source })
        };
        let token = self.token_file.as_ref().map(read).transpose()?;
        Client::connect(&self.socket(), token.as_deref().map(str::trim)).await
    }
}

/// Why a subcommand did not do its work.
#[derive(Debug, Error)]
pub(crate) enum CliError {
    #[error("no gateway runs at {} ({source}); --config or --socket say where one does", path.display())]
    NoGateway { path: PathBuf, source: std::io::Error },
    #[error("{} may not be used by this user ({source})", path.display())]
    NotPermitted { path: PathBuf, source: std::io::Error },
    #[error("the gateway did not answer: {0}")]
    Broken(String),
    /// The gateway's problem document.
    #[error("{}", .0["detail"].as_str().unwrap_or("refused"))]
    Refused(Value),
    #[error("{0}")]
    NotDone(String),
    #[error("cannot read {}: {source}", path.display())]
    File { path: PathBuf, source: std::io::Error },
}

/// `license-gateway device …`
pub(crate) fn device(arguments: DeviceArguments) -> ExitCode {
    let arguments = match arguments.into_probe() {
        Ok(probe) => return crate::probe::run(probe),
        Err(arguments) => arguments,
    };
    let json = arguments.wants_json();
    finish(block_on(arguments.run()), json)
}

/// `license-gateway key …`
pub(crate) fn key(arguments: KeyArguments) -> ExitCode {
    let json = arguments.wants_json();
    finish(block_on(arguments.run()), json)
}

/// `license-gateway account …`
pub(crate) fn account(arguments: AccountArguments) -> ExitCode {
    let json = arguments.wants_json();
    finish(block_on(arguments.run()), json)
}

/// `license-gateway app …`
pub(crate) fn app(arguments: AppArguments) -> ExitCode {
    let json = arguments.wants_json();
    finish(block_on(arguments.run()), json)
}

/// `license-gateway approval …`
pub(crate) fn approval(arguments: ApprovalArguments) -> ExitCode {
    let json = arguments.wants_json();
    finish(block_on(arguments.run()), json)
}

/// `license-gateway delivery …`
pub(crate) fn delivery(arguments: DeliveryArguments) -> ExitCode {
    let json = arguments.wants_json();
    finish(block_on(arguments.run()), json)
}

/// `license-gateway inspect …`
pub(crate) fn inspect(arguments: InspectArguments) -> ExitCode {
    let json = arguments.wants_json();
    finish(block_on(arguments.run()), json)
}

/// `license-gateway incident …`
pub(crate) fn incident(arguments: IncidentArguments) -> ExitCode {
    let json = arguments.wants_json();
    finish(block_on(arguments.run()), json)
}

/// `license-gateway usage`
pub(crate) fn usage(arguments: UsageArguments) -> ExitCode {
    let json = arguments.wants_json();
    finish(block_on(arguments.run()), json)
}

/// `license-gateway library …`
pub(crate) fn library(arguments: LibraryArguments) -> ExitCode {
    let json = arguments.wants_json();
    finish(block_on(arguments.run()), json)
}

/// `license-gateway policy …`
pub(crate) fn policy(arguments: PolicyArguments) -> ExitCode {
    let json = arguments.wants_json();
    finish(block_on(arguments.run()), json)
}

/// `license-gateway seal …`
pub(crate) fn seal(arguments: SealArguments) -> ExitCode {
    let json = arguments.wants_json();
    finish(block_on(arguments.run()), json)
}

/// `license-gateway mandate …`
pub(crate) fn mandate(arguments: MandateArguments) -> ExitCode {
    let json = arguments.wants_json();
    finish(block_on(arguments.run()), json)
}

/// `license-gateway template …`
pub(crate) fn template(arguments: TemplateArguments) -> ExitCode {
    let json = arguments.wants_json();
    finish(block_on(arguments.run()), json)
}

/// `license-gateway query-certificate …`
pub(crate) fn query_certificate(arguments: QueryCertificateArguments) -> ExitCode {
    let json = arguments.wants_json();
    finish(block_on(arguments.run()), json)
}

/// `license-gateway query-certificate-job …`
pub(crate) fn query_certificate_job(arguments: QueryCertificateJobArguments) -> ExitCode {
    let json = arguments.wants_json();
    finish(block_on(arguments.run()), json)
}

/// `license-gateway retention …`
pub(crate) fn retention(arguments: RetentionArguments) -> ExitCode {
    let json = arguments.wants_json();
    finish(block_on(arguments.run()), json)
}

/// `license-gateway stamp-job …`
pub(crate) fn stamp_job(arguments: StampJobArguments) -> ExitCode {
    let json = arguments.wants_json();
    finish(block_on(arguments.run()), json)
}

/// `license-gateway sandbox`
#[cfg(feature = "sandbox")]
pub(crate) fn sandbox(arguments: SandboxArguments) -> ExitCode {
    let json = arguments.wants_json();
    finish(block_on(arguments.run()), json)
}

/// `license-gateway reload`
pub(crate) fn reload(target: &Target) -> ExitCode {
    let work = async {
        let mut client = target.connect().await?;
        let answer = client.call(Method::POST, "/v1/admin/config:reload", None).await?;
        print(target.json, &answer, |out| {
            let changes = answer["changes"].as_array().map(Vec::as_slice).unwrap_or_default();
            for change in changes {
                writeln!(out, "{}", table::plain(change.as_str().unwrap_or_default()))?;
            }
            let said = if changes.is_empty() { "nothing differs" } else { "reloaded" };
            writeln!(out, "{said} (audit entry {})", answer["audit_index"])
        });
        Ok(())
    };
    finish(block_on(work), target.json)
}

fn block_on(work: impl Future<Output = Result<(), CliError>>) -> Result<(), CliError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| CliError::NotDone(error.to_string()))?.block_on(work)
}

/// Prints an answer: as it came for a script, or in words for people.
fn print(json: bool, answer: &Value, words: impl FnOnce(&mut dyn Write) -> std::io::Result<()>) {
    let mut stdout = std::io::stdout().lock();
    let said = match answer["approval"].as_str() {
        _ if json => writeln!(stdout, "{answer:#}"),
        Some(approval) => waits(&mut stdout, approval, answer),
        None => words(&mut stdout),
    };
    let _ = said; // a closed pipe is no failure
}

/// Says of what was asked for that it waits for a second person.
fn waits(out: &mut dyn Write, approval: &str, answer: &Value) -> std::io::Result<()> {
    writeln!(
        out,
        "nothing is done yet: it waits for a second person (audit entry {})",
        answer["audit_index"]
    )?;
    writeln!(out, "license-gateway approval show {}", table::plain(approval))?;
    match answer["secret"].as_str() {
        Some(secret) => writeln!(out, "its secret, shown this once, counts when it is approved: {secret}"),
        None => Ok(()),
    }
}

/// 0 done, 1 not done; 2, wrong usage, comes from the reading of arguments.
fn finish(result: Result<(), CliError>, json: bool) -> ExitCode {
    let Err(error) = result else { return ExitCode::SUCCESS };
    let mut stderr = std::io::stderr().lock();
    let _ = match &error {
        CliError::Refused(problem) if json => writeln!(std::io::stdout(), "{problem:#}"),
        CliError::Refused(problem) => {
            let reasons = problem["errors"].as_array().map(Vec::as_slice).unwrap_or_default();
            let code = problem["code"].as_str().unwrap_or("refused");
            let told = reasons.iter().try_for_each(|reason| {
                let part = |member: &str| table::plain(reason[member].as_str().unwrap_or_default());
                let (field, detail) = (part("field"), part("detail"));
                // A place in a file stands first, where editors look for it, and names its field already.
                if detail.contains(&field) {
                    writeln!(stderr, "{detail}")
                } else {
                    writeln!(stderr, "{field}: {detail}")
                }
            });
            let detail = if reasons.is_empty() { error.to_string() } else { "refused".to_owned() };
            told.and_then(|()| writeln!(stderr, "license-gateway: {} ({code})", table::plain(&detail)))
        }
        other => writeln!(stderr, "license-gateway: {other}"),
    };
    ExitCode::FAILURE
}

/// A value in a table or line.
fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(text).collect::<Vec<_>>().join(", "),
        Value::Object(parts) => parts.values().map(text).collect::<Vec<_>>().join(" "),
        other => other.to_string(),
    }
}

/// One line that is written over itself on a terminal, and a line each in a log.
struct Progress {
    terminal: bool,
    last: String,
}

impl Progress {
    fn new() -> Self {
        Self { terminal: std::io::stderr().is_terminal(), last: String::new() }
    }

    fn say(&mut self, text: String) {
        if text == self.last {
            return;
        }
        let mut stderr = std::io::stderr().lock();
        let _ = if self.terminal {
            write!(stderr, "\r\x1b[2K{text}").and_then(|()| stderr.flush())
        } else {
            writeln!(stderr, "{text}")
        };
        self.last = text;
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.terminal && !self.last.is_empty() {
            let _ = writeln!(std::io::stderr());
        }
    }
}
