//! `license-gateway audit`: verify, export, recount and show an audit log, with or without a running gateway. It reads the database
//! itself, so that whoever verifies does not have to believe the gateway.
//!
//! Exit codes: 0 intact or done, 1 something is wrong with the log or what was counted from it, 2 unreadable or wrong usage.

use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use config::Config;
use formats::chain::TrustStore;
use formats::{Certificate, PublicKey, Usage, Verdict};
use serde_json::{Value, json};
use store::{
    Archive, AuditQuery, ExportOrder, JudgedKey, LogRecord, Store, Verification, VerifyOrder, verify_export,
};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::adopt::{AdoptOrder, adopt};
use super::{Progress, table};
use crate::error::with_causes;

/// What to do with an audit log.
#[derive(Args)]
pub(crate) struct AuditArguments {
    #[command(subcommand)]
    command: AuditCommand,
}

#[derive(Subcommand)]
enum AuditCommand {
    /// Verify a whole log, or an export: every entry, the tree, the checkpoints' signatures, the archive.
    Verify {
        #[command(flatten)]
        source: Source,
        /// An export to verify instead of a database.
        #[arg(long, value_name = "FILE", conflicts_with_all = ["config", "data", "checkpoint"])]
        export: Option<PathBuf>,
        /// Roots that a signing key's certificate has to lead to; PEM. Those of the configuration if there is one.
        #[arg(long, value_name = "FILE")]
        trust: Vec<PathBuf>,
        /// A public key that may sign, PEM, for a key without a certificate.
        #[arg(long, value_name = "FILE")]
        key: Vec<PathBuf>,
        /// Checkpoints known from elsewhere, such as the file of `audit.anchor_file`.
        #[arg(long, value_name = "FILE")]
        checkpoint: Vec<PathBuf>,
        /// The answer as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Write entries with their proofs, the checkpoint and its key as JSON lines: docs/audit-format.md.
    Export {
        #[command(flatten)]
        source: Source,
        /// The first entry.
        #[arg(long, default_value_t = 0)]
        from: u64,
        /// The first entry not wanted; without it all that the newest checkpoint covers.
        #[arg(long)]
        to: Option<u64>,
        /// Leave the proof of each entry out: a whole log can be verified without.
        #[arg(long)]
        no_proofs: bool,
        /// Where to; standard output without it.
        #[arg(long, short, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Count again what the logs of the database say was used, and hold the usage statistics against it.
    Recount {
        #[command(flatten)]
        source: Source,
        /// The answer as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Go on with a log that ends earlier than the gateway remembers, because a backup was put back. With no gateway running.
    Adopt {
        /// The site's configuration.
        #[arg(long, value_name = "FILE", conflicts_with = "data")]
        config: Option<PathBuf>,
        /// The folder with gateway.toml [default: data].
        #[arg(long, value_name = "FOLDER")]
        data: Option<PathBuf>,
        /// Why, for the record.
        #[arg(long)]
        reason: String,
        /// Do not ask.
        #[arg(long)]
        yes: bool,
        /// The answer as JSON.
        #[arg(long, requires = "yes")]
        json: bool,
    },
    /// Show entries of a log: from one on, those that are looked for, or else the last ones.
    Show {
        #[command(flatten)]
        source: Source,
        /// The first entry.
        #[arg(conflicts_with = "Wanted")]
        from: Option<u64>,
        #[command(flatten)]
        wanted: Wanted,
        /// How many.
        #[arg(long, default_value_t = 20)]
        count: u32,
        /// JSON lines instead of a table.
        #[arg(long)]
        json: bool,
    },
}

/// Whose log.
#[derive(Args)]
struct Source {
    /// The site's configuration.
    #[arg(long, value_name = "FILE", conflicts_with = "data")]
    config: Option<PathBuf>,
    /// The folder with gateway.toml [default: data].
    #[arg(long, value_name = "FOLDER")]
    data: Option<PathBuf>,
    /// The log of this gateway, where several share the database [default: the configuration's].
    #[arg(long, value_name = "NAME")]
    log: Option<String>,
}

/// What entries have to say to be shown. The newest that do are; in the archive nothing is looked for.
#[derive(Args)]
struct Wanted {
    /// By whom: an app's id, `unix:NAME(uid)`.
    #[arg(long, value_name = "NAME")]
    actor: Option<String>,
    /// What was asked for, such as signature.raw; `device.` stands for all that begin so.
    #[arg(long, value_name = "WORD")]
    action: Option<String>,
    /// With which key, whatever its version.
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
    /// How it ended: ok, intended, or a problem's code.
    #[arg(long, value_name = "CODE")]
    outcome: Option<String>,
    /// Under which request.
    #[arg(long, value_name = "ID")]
    request_id: Option<String>,
    /// Not before this time, RFC 3339.
    #[arg(long, value_name = "TIME", value_parser = time)]
    since: Option<OffsetDateTime>,
    /// Before this time, RFC 3339.
    #[arg(long, value_name = "TIME", value_parser = time)]
    until: Option<OffsetDateTime>,
}

fn time(text: &str) -> Result<OffsetDateTime, String> {
    OffsetDateTime::parse(text, &Rfc3339).map_err(|_| "must be an RFC 3339 time".to_owned())
}

impl Wanted {
    /// The search for it; nothing if everything is wanted.
    fn query(self) -> Option<AuditQuery> {
        let Self { actor, action, key, outcome, request_id, since, until } = self;
        let texts = [&actor, &action, &key, &outcome, &request_id];
        let asked = texts.iter().any(|text| text.is_some()) || since.is_some() || until.is_some();
        let query = AuditQuery {
            from: since,
            until,
            actor,
            action,
            key,
            outcome,
            request_id,
            ..AuditQuery::default()
        };
        asked.then_some(query)
    }
}

/// Why nothing could be said about the log.
type Failure = String;

/// A database that was opened, and what the configuration says about its log.
struct Opened {
    store: Store,
    log: LogRecord,
    archive: Option<Archive>,
    config: Config,
}

/// The configuration that a command line names.
fn configuration(config: Option<&PathBuf>, data: Option<&PathBuf>) -> PathBuf {
    let folder = data.map_or(Path::new("data"), PathBuf::as_path);
    config.cloned().unwrap_or_else(|| folder.join("gateway.toml"))
}

impl Source {
    async fn open(&self) -> Result<Opened, Failure> {
        let path = configuration(self.config.as_ref(), self.data.as_ref());
        let config = Config::load(&path).map_err(|error| error.to_string())?;
        let access = crate::database::access(&config.database).map_err(|error| error.to_string())?;
        let store = Store::open(access).await.map_err(|error| with_causes(&error))?;
        let logs = store.audit_logs().await.map_err(|error| {
            format!(
                "{}; a database from before this release is brought up to date by the gateway's start",
                with_causes(&error)
            )
        })?;
        let name = self.log.as_ref().unwrap_or(&config.site.replica);
        let found = logs.into_iter().find(|log| log.replica == *name || log.origin == *name);
        let log = found.ok_or_else(|| format!("there is no log {name:?} in this database"))?;
        // Whoever only looks makes no folder; what is missing there is the verifier's to say.
        let folder = config.audit.archive.as_deref().filter(|folder| folder.is_dir());
        let archive = folder.map(Archive::folder).transpose().map_err(|error| with_causes(&error))?;
        Ok(Opened { store, log, archive, config })
    }
}

/// `license-gateway audit …`
pub(crate) fn audit(arguments: AuditArguments) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let done = match runtime {
        Ok(runtime) => runtime.block_on(arguments.command.run()),
        Err(error) => Err(error.to_string()),
    };
    done.unwrap_or_else(|failure| {
        let _ = writeln!(std::io::stderr(), "license-gateway: {}", table::plain(&failure)); // nowhere else to say it
        ExitCode::from(2)
    })
}

impl AuditCommand {
    async fn run(self) -> Result<ExitCode, Failure> {
        match self {
            Self::Verify { source, export, trust, key, checkpoint, json } => {
                let mut progress = Progress::new();
                let mut done = |now: u64, all: u64| progress.say(percent(now, all));
                let verification = match export {
                    Some(file) => {
                        let judge = Judge::read(&trust, &key, &[])?;
                        let opened =
                            File::open(&file).map_err(|error| format!("{}: {error}", file.display()))?;
                        let lines = BufReader::new(opened).lines();
                        verify_export(lines, &|name, key, chain| judge.judge(name, key, chain), &mut done)
                            .map_err(|error| format!("{}: {error}", file.display()))?
                    }
                    None => {
                        let opened = source.open().await?;
                        // Whoever names the key believes neither the register nor the site's roots.
                        let named = !trust.is_empty() || !key.is_empty();
                        let anchors = if named { &[] } else { &opened.config.trust.anchors[..] };
                        let registered = registered(&opened.store).await?;
                        let judge = Judge { registered, ..Judge::read(&trust, &key, anchors)? };
                        let notes = notes(&checkpoint)?;
                        let order = VerifyOrder {
                            archive: opened.archive.as_ref(),
                            notes: &notes,
                            judge: &|name, key, chain| judge.judge(name, key, chain),
                        };
                        let verified = opened.store.verify_audit(&opened.log, &order, &mut done).await;
                        verified.map_err(|error| with_causes(&error))?
                    }
                };
                drop(progress);
                tell(&verification, json);
                Ok(if verification.intact { ExitCode::SUCCESS } else { ExitCode::FAILURE })
            }
            Self::Recount { source, json } => {
                let opened = source.open().await?;
                let mut progress = Progress::new();
                let mut done = |now: u64, all: u64| progress.say(percent(now, all));
                let recount = opened.store.recount_usage(opened.archive.as_ref(), &mut done).await;
                let recount = recount.map_err(|error| with_causes(&error))?;
                drop(progress);
                super::usage::tell_recount(&recount, json);
                Ok(if recount.differing == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
            }
            Self::Adopt { config, data, reason, yes, json } => {
                let path = configuration(config.as_ref(), data.as_ref());
                adopt(&path, &AdoptOrder { reason: &reason, yes, json }).await
            }
            Self::Export { source, from, to, no_proofs, out } => {
                let opened = source.open().await?;
                let order = ExportOrder { from, until: to, proofs: !no_proofs };
                let mut progress = Progress::new();
                let done = |now: u64, all: u64| progress.say(percent(now, all));
                let mut sink: Box<dyn Write + Send> = match &out {
                    Some(path) => {
                        let file =
                            File::create(path).map_err(|error| format!("{}: {error}", path.display()))?;
                        Box::new(BufWriter::new(file))
                    }
                    None => Box::new(BufWriter::new(std::io::stdout())),
                };
                let archive = opened.archive.as_ref();
                let exported = opened.store.export_audit(&opened.log, archive, &order, &mut sink, done).await;
                exported.map_err(|error| with_causes(&error))?;
                Ok(ExitCode::SUCCESS)
            }
            Self::Show { source, from, wanted, count, json } => {
                let opened = source.open().await?;
                let rows = match wanted.query() {
                    Some(query) => opened.find(query, count).await?,
                    None => opened.range(from, count).await?,
                };
                print(&rows, json);
                Ok(ExitCode::SUCCESS)
            }
        }
    }
}

/// How far it is; the same text for a while, so that millions of entries make a hundred lines.
fn percent(now: u64, all: u64) -> String {
    format!("{all} entries: {} %", now.saturating_mul(100) / all.max(1))
}

impl Opened {
    /// Entries one after the other, the last ones if no first is named; from the archive too.
    async fn range(&self, from: Option<u64>, count: u32) -> Result<Vec<(u64, Vec<u8>)>, Failure> {
        let size = self.store.audit_size(self.log.id).await.map_err(|error| with_causes(&error))?;
        let from = from.unwrap_or_else(|| size.saturating_sub(count.into()));
        let until = size.min(from.saturating_add(count.into()));
        let (mut rows, mut next) = (Vec::new(), from);
        while next < until {
            let page = self.store.audit_range(self.log.id, self.archive.as_ref(), next, until).await;
            let page = page.map_err(|error| with_causes(&error))?;
            let Some((last, _)) = page.last() else { break };
            next = last + 1;
            rows.extend(page);
        }
        Ok(rows)
    }

    /// The newest entries that say what is wanted, oldest first.
    async fn find(&self, mut query: AuditQuery, count: u32) -> Result<Vec<(u64, Vec<u8>)>, Failure> {
        let mut rows = Vec::new();
        while rows.len() < count as usize {
            query.limit = count - u32::try_from(rows.len()).unwrap_or(count);
            let page = self.store.search_audit(self.log.id, &query).await;
            let page = page.map_err(|error| with_causes(&error))?;
            for (index, entry) in page.items {
                rows.push((index, entry.canonical_json().map_err(|error| error.to_string())?));
            }
            query.cursor = page.next;
            if page.next.is_none() {
                break;
            }
        }
        rows.reverse();
        Ok(rows)
    }
}

fn print(rows: &[(u64, Vec<u8>)], json: bool) {
    let mut stdout = std::io::stdout().lock();
    let entry = |entry: &[u8]| serde_json::from_slice::<Value>(entry).unwrap_or(Value::Null);
    let _ = if json {
        // a closed pipe is no failure
        rows.iter().try_for_each(|(index, octets)| {
            writeln!(stdout, "{}", json!({"index": index, "entry": entry(octets)}))
        })
    } else {
        let columns = [
            ("INDEX", true),
            ("AT", false),
            ("ACTOR", false),
            ("ACTION", false),
            ("KEY", false),
            ("DEVICE", false),
            ("OUTCOME", false),
            ("SUBJECT", false),
        ];
        let cells = rows.iter().map(|(index, octets)| {
            let entry = entry(octets);
            let fields = ["at", "actor", "action", "key", "device", "outcome", "subject"];
            let cell = |field: &&str| entry[*field].as_str().unwrap_or_default().to_owned();
            std::iter::once(index.to_string()).chain(fields.iter().map(cell)).collect()
        });
        table::print(&mut stdout, &columns, cells)
    };
}

/// The public keys of all copies of all audit keys, in use or not any more.
async fn registered(store: &Store) -> Result<Option<Vec<Vec<u8>>>, Failure> {
    crate::audit::registered_keys(store).await.map(Some).map_err(|error| with_causes(&error))
}

/// The checkpoints of some files: notes one after the other, an empty line after each.
fn notes(files: &[PathBuf]) -> Result<Vec<String>, Failure> {
    let mut notes = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
        let parts: Vec<_> = text.trim_end().split("\n\n").collect();
        for part in parts.chunks(2) {
            let [text, signatures] = part else {
                return Err(format!("{}: a checkpoint has no signature", file.display()));
            };
            notes.push(format!("{text}\n\n{signatures}\n"));
        }
    }
    Ok(notes)
}

/// Says what a key is worth.
struct Judge {
    anchors: Option<TrustStore>,
    keys: Vec<PublicKey>,
    /// The keys that the register has for audit: a certificate alone does not tell them from keys that sign what callers
    /// send.
    registered: Option<Vec<Vec<u8>>>,
}

impl Judge {
    fn read(trust: &[PathBuf], keys: &[PathBuf], or: &[PathBuf]) -> Result<Self, Failure> {
        let read = |path: &PathBuf| {
            std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))
        };
        let named: Vec<_> = trust.iter().chain(or).cloned().collect();
        let anchors = if named.is_empty() { None } else { Some(crate::offline::trust(&named, &[], &[])?) };
        let key = |path: &PathBuf| {
            PublicKey::from_pem(&read(path)?).map_err(|error| format!("{}: {error}", path.display()))
        };
        let keys = keys.iter().map(key).collect::<Result<_, _>>()?;
        Ok(Self { anchors, keys, registered: None })
    }

    fn judge(&self, name: &str, key: &PublicKey, chain: &str) -> JudgedKey {
        let said =
            |trusted, detail: &str| JudgedKey { name: name.to_owned(), trusted, detail: detail.to_owned() };
        if self.keys.iter().any(|known| known.spki_der() == key.spki_der()) {
            return said(Some(true), "named by --key");
        }
        if self.registered.as_ref().is_some_and(|registered| !registered.contains(&key.spki_der())) {
            return said(Some(false), "the key register has no key of purpose audit like it");
        }
        let Some(anchors) = &self.anchors else {
            return match self.keys.is_empty() {
                true => said(None, "whose key it is was not judged: name roots (--trust) or the key (--key)"),
                false => said(Some(false), "it is none of those named by --key"),
            };
        };
        let Ok(chain) = Certificate::many_from_pem(chain) else {
            return said(Some(false), "its certificate cannot be read");
        };
        let Some((certificate, issuers)) = chain.split_first() else {
            return said(Some(false), "it has no certificate, and --key does not name it");
        };
        if certificate.public_key().map(|certified| certified.spki_der()).ok() != Some(key.spki_der()) {
            return said(Some(false), "its certificate speaks for another key");
        }
        // It signed for as long as it was valid: judged at a time within that, and not now.
        let half: time::Duration = (certificate.not_after() - certificate.not_before()) / 2_i32;
        let at =
            (certificate.not_before() + half).min(OffsetDateTime::now_utc()).max(certificate.not_before());
        let judgement = formats::chain::validate(certificate, issuers, anchors, Usage::DocumentSigning, at);
        match judgement.verdict {
            // Any key that the same roots certify could be put in its place: the register, or --key, says which it is.
            Verdict::Valid if self.registered.is_none() => said(
                None,
                &format!(
                    "{}: a key that the trusted roots certify; whether it is the audit log's says --key",
                    certificate.subject()
                ),
            ),
            Verdict::Valid => said(Some(true), &certificate.subject()),
            _ => {
                let codes: Vec<_> = judgement.findings.iter().map(|finding| finding.code).collect();
                said(
                    Some(false),
                    &format!("its certificate is not one of the trusted roots': {}", codes.join(", ")),
                )
            }
        }
    }
}

fn tell(verification: &Verification, as_json: bool) {
    let mut out = std::io::stdout().lock();
    let _ = if as_json {
        // a closed pipe is no failure
        writeln!(out, "{:#}", json!(verification))
    } else {
        words(verification, &mut out)
    };
}

fn words(found: &Verification, out: &mut dyn Write) -> std::io::Result<()> {
    writeln!(out, "{}", found.origin)?;
    writeln!(out, "  entries      {} to before {}", found.from, found.until)?;
    if found.removed > 0 {
        writeln!(out, "  removed      {} whose time was over, known by their hashes", found.removed)?;
    }
    writeln!(out, "  checkpoints  {} good, the newest over {} entries", found.checkpoints, found.signed)?;
    if found.witnesses > 0 {
        writeln!(out, "  witnesses    {} heads that other gateways' logs have of it", found.witnesses)?;
    }
    if found.unsigned > 0 {
        writeln!(
            out,
            "  unsigned     {} entries at the end, which no checkpoint covers yet",
            found.unsigned
        )?;
    }
    for key in &found.keys {
        let trusted = match key.trusted {
            Some(true) => "trusted",
            Some(false) => "NOT TRUSTED",
            None => "not judged",
        };
        writeln!(
            out,
            "  key          {}: {trusted} ({})",
            table::plain(&key.name),
            table::plain(&key.detail)
        )?;
    }
    for finding in &found.findings {
        writeln!(out, "  BROKEN       {} ({})", table::plain(&finding.detail), finding.code)?;
    }
    match (found.intact, found.first_broken) {
        (true, _) => writeln!(out, "intact"),
        (false, Some(entry)) => writeln!(out, "BROKEN: the first broken entry is {entry}"),
        (false, None) => writeln!(out, "BROKEN"),
    }
}
