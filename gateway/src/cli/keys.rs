//! `license-gateway key …`: the register of keys, key ceremonies, custodians.

use std::io::{IsTerminal, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use hyper::Method;
use serde::Deserialize;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::client::Client;
use super::{CliError, Target, print, table, text};

/// See keys and hold key ceremonies at a running gateway.
#[derive(Args)]
pub(crate) struct KeyArguments {
    #[command(subcommand)]
    command: KeyCommand,
}

#[derive(Subcommand)]
enum KeyCommand {
    /// All keys with their versions, one version a line.
    List {
        #[command(flatten)]
        target: Target,
    },
    /// One key: versions, copies, who holds them, when certificates end.
    Show {
        /// The key's name.
        id: String,
        #[command(flatten)]
        target: Target,
    },
    /// Make a new key in a device of a group.
    Create {
        /// The key's name.
        id: String,
        /// The group whose devices are to hold it.
        #[arg(long)]
        group: String,
        /// sm2, p256 or rsa2048; of a wrapping key aes256 or hmac-sha256.
        #[arg(long)]
        algorithm: String,
        /// What it is for, for good, such as service.
        #[arg(long)]
        purpose: String,
        /// CKA_LABEL of its objects [default: the key's name].
        #[arg(long)]
        label: Option<String>,
        #[command(flatten)]
        plan: Plan,
        #[command(flatten)]
        ceremony: Ceremony,
    },
    /// Make the next version of a key.
    Next {
        /// The key's name.
        id: String,
        #[command(flatten)]
        plan: Plan,
        #[command(flatten)]
        ceremony: Ceremony,
    },
    /// Bring a version into all devices of its group and have each prove it.
    Spread {
        #[command(flatten)]
        of: OfVersion,
        #[command(flatten)]
        ceremony: Ceremony,
    },
    /// Make a certification request for a copy; needs no ceremony.
    Csr {
        #[command(flatten)]
        of: OfVersion,
        /// The name asked for (RFC 4514), such as 'CN=license signing,O=bureau,C=CN'.
        #[arg(long)]
        subject: String,
        /// The device whose copy it is, where copies differ.
        #[arg(long)]
        device: Option<String>,
        #[command(flatten)]
        target: Target,
    },
    /// Take the certificates of a copy in.
    Install {
        #[command(flatten)]
        of: OfVersion,
        /// PEM, the copy's own certificate first.
        #[arg(long, value_name = "FILE")]
        certificate: PathBuf,
        /// The device whose copy it is, where copies differ.
        #[arg(long)]
        device: Option<String>,
        #[command(flatten)]
        ceremony: Ceremony,
    },
    /// Have a pending version sign from now on.
    Rotate {
        #[command(flatten)]
        of: OfVersion,
        /// For how many days the version before stays in the devices; 0 retires it at once.
        #[arg(long, default_value_t = 0)]
        overlap_days: u16,
        /// A device that is out of order and proves the version when it comes back; repeatable.
        #[arg(long)]
        without: Vec<String>,
        #[command(flatten)]
        ceremony: Ceremony,
    },
    /// Take a version out of use.
    Retire {
        #[command(flatten)]
        of: OfVersion,
        #[command(flatten)]
        ceremony: Ceremony,
    },
    /// Remove a version that is out of use from all devices.
    Destroy {
        #[command(flatten)]
        of: OfVersion,
        /// A device that cannot be told any more and is known to be erased; repeatable.
        #[arg(long)]
        erased: Vec<String>,
        #[command(flatten)]
        ceremony: Ceremony,
    },
    /// Confirm a ceremony as a custodian; the secret is asked for, or read from standard input.
    Confirm {
        /// The ceremony's number.
        ceremony: u64,
        /// The custodian's name.
        #[arg(long)]
        custodian: String,
        #[command(flatten)]
        target: Target,
    },
    /// Call a ceremony off that has not begun to be carried out.
    CallOff {
        /// The ceremony's number.
        ceremony: u64,
        /// Why, for the record: 1 to 500 characters.
        #[arg(long)]
        reason: String,
        #[command(flatten)]
        target: Target,
    },
    /// The latest ceremonies, or one of them.
    Ceremonies {
        /// A ceremony's number.
        ceremony: Option<u64>,
        #[command(flatten)]
        target: Target,
    },
    /// The people who confirm key ceremonies.
    Custodian {
        #[command(subcommand)]
        command: CustodianCommand,
    },
}

#[derive(Subcommand)]
enum CustodianCommand {
    /// All custodians.
    List {
        #[command(flatten)]
        target: Target,
    },
    /// Enter a custodian; the secret is asked for twice, or read from standard input.
    Add {
        /// The name to confirm under.
        name: String,
        #[command(flatten)]
        target: Target,
    },
    /// Have a custodian confirm nothing more.
    Disable {
        /// The custodian's name.
        name: String,
        #[command(flatten)]
        target: Target,
    },
    /// Have a disabled custodian confirm again.
    Enable {
        /// The custodian's name.
        name: String,
        #[command(flatten)]
        target: Target,
    },
}

/// A version of a key.
#[derive(Args)]
struct OfVersion {
    /// The key's name.
    id: String,
    /// Its version.
    #[arg(long = "key-version", value_name = "N")]
    version: u32,
}

/// How copies come into the devices.
#[derive(Args)]
struct Plan {
    /// wrap, clone or per-device [default: wrap with a wrapping key, else clone].
    #[arg(long)]
    spread: Option<String>,
    /// The wrapping key it is spread under, as KEY:VERSION.
    #[arg(long, value_name = "KEY:VERSION")]
    wrapping_key: Option<String>,
}

/// A ceremony to be opened.
#[derive(Args)]
struct Ceremony {
    /// Why, for the record: 1 to 500 characters.
    #[arg(long)]
    reason: String,
    /// For how many seconds it can be confirmed [default: a day].
    #[arg(long, value_name = "SECONDS")]
    valid_seconds: Option<u32>,
    /// Confirm at once with the secrets in this file, `[{"name": …, "secret": …}]`, mode 0600. For sandboxes and
    /// tests: where secrets of several custodians lie together, nobody is needed twice.
    #[arg(long, value_name = "FILE")]
    confirm_from: Option<PathBuf>,
    #[command(flatten)]
    target: Target,
}

/// A custodian with the secret, from a file.
#[derive(Deserialize)]
struct Secret {
    name: String,
    secret: Zeroizing<String>,
}

impl KeyArguments {
    pub(super) fn wants_json(&self) -> bool {
        let target = match &self.command {
            KeyCommand::List { target }
            | KeyCommand::Show { target, .. }
            | KeyCommand::Csr { target, .. }
            | KeyCommand::Confirm { target, .. }
            | KeyCommand::CallOff { target, .. }
            | KeyCommand::Ceremonies { target, .. } => target,
            KeyCommand::Create { ceremony, .. }
            | KeyCommand::Next { ceremony, .. }
            | KeyCommand::Spread { ceremony, .. }
            | KeyCommand::Install { ceremony, .. }
            | KeyCommand::Rotate { ceremony, .. }
            | KeyCommand::Retire { ceremony, .. }
            | KeyCommand::Destroy { ceremony, .. } => &ceremony.target,
            KeyCommand::Custodian { command } => match command {
                CustodianCommand::List { target }
                | CustodianCommand::Add { target, .. }
                | CustodianCommand::Disable { target, .. }
                | CustodianCommand::Enable { target, .. } => target,
            },
        };
        target.json
    }

    pub(super) async fn run(self) -> Result<(), CliError> {
        match self.command {
            KeyCommand::List { target } => list(&target).await,
            KeyCommand::Show { id, target } => show(&id, &target).await,
            KeyCommand::Create { id, group, algorithm, purpose, label, plan, ceremony } => {
                let act = json!({"act": "create", "key": id, "group": group, "algorithm": algorithm,
                    "purpose": purpose, "label": label});
                ceremony.hold(plan.added_to(act)?).await
            }
            KeyCommand::Next { id, plan, ceremony } => {
                ceremony.hold(plan.added_to(json!({"act": "next", "key": id}))?).await
            }
            KeyCommand::Spread { of, ceremony } => ceremony.hold(of.act("spread")).await,
            KeyCommand::Retire { of, ceremony } => ceremony.hold(of.act("retire")).await,
            KeyCommand::Csr { of, subject, device, target } => {
                let body = json!({"version": of.version, "subject": subject, "device": device});
                csr(&of.id, &body, &target).await
            }
            KeyCommand::Install { of, certificate, device, ceremony } => {
                let mut act = of.act("install");
                act["certificate_chain"] = read(&certificate)?.into();
                act["device"] = device.into();
                ceremony.hold(act).await
            }
            KeyCommand::Rotate { of, overlap_days, without, ceremony } => {
                let mut act = of.act("rotate");
                act["overlap_days"] = overlap_days.into();
                act["without"] = without.into();
                ceremony.hold(act).await
            }
            KeyCommand::Destroy { of, erased, ceremony } => {
                let mut act = of.act("destroy");
                act["erased"] = erased.into();
                ceremony.hold(act).await
            }
            KeyCommand::Confirm { ceremony, custodian, target } => {
                let secret = secret(&format!("{custodian}'s secret: "), false)?;
                let mut client = target.connect().await?;
                let answer = confirm(&mut client, ceremony, &custodian, &secret).await?;
                tell(&answer, &target)
            }
            KeyCommand::CallOff { ceremony, reason, target } => call_off(ceremony, &reason, &target).await,
            KeyCommand::Ceremonies { ceremony: Some(ceremony), target } => {
                let path = format!("/v1/admin/ceremonies/{ceremony}");
                let answer = target.connect().await?.call(Method::GET, &path, None).await?;
                print(target.json, &answer, |out| writeln!(out, "{answer:#}"));
                Ok(())
            }
            KeyCommand::Ceremonies { ceremony: None, target } => ceremonies(&target).await,
            KeyCommand::Custodian { command } => custodian(command).await,
        }
    }
}

impl OfVersion {
    fn act(&self, act: &str) -> Value {
        json!({"act": act, "key": self.id, "version": self.version})
    }
}

impl Plan {
    fn added_to(&self, mut act: Value) -> Result<Value, CliError> {
        act["spread"] = self.spread.clone().into();
        if let Some(wrapping) = &self.wrapping_key {
            let parts = wrapping.rsplit_once(':').and_then(|(id, n)| Some((id, n.parse::<u32>().ok()?)));
            let none = || CliError::NotDone(format!("{wrapping:?} is no KEY:VERSION"));
            let (id, version) = parts.ok_or_else(none)?;
            act["wrapping_key"] = json!({"id": id, "version": version});
        }
        Ok(act)
    }
}

impl Ceremony {
    /// Opens the ceremony, and confirms it where a file has the secrets.
    async fn hold(&self, mut act: Value) -> Result<(), CliError> {
        let custodians = self.confirm_from.as_deref().map(secrets).transpose()?;
        act["reason"] = self.reason.clone().into();
        act["valid_seconds"] = self.valid_seconds.into();
        let mut client = self.target.connect().await?;
        let mut answer = client.call(Method::POST, "/v1/admin/ceremonies", Some(&act)).await?;
        let id = answer["id"].as_u64().unwrap_or_default();
        for custodian in custodians.iter().flatten() {
            if answer["state"] == "open" {
                answer = confirm(&mut client, id, &custodian.name, &custodian.secret).await?;
            }
        }
        tell(&answer, &self.target)
    }
}

async fn confirm(
    client: &mut Client,
    ceremony: u64,
    custodian: &str,
    secret: &str,
) -> Result<Value, CliError> {
    let path = format!("/v1/admin/ceremonies/{ceremony}/confirm");
    client.call(Method::POST, &path, Some(&json!({"custodian": custodian, "secret": secret}))).await
}

async fn call_off(ceremony: u64, reason: &str, target: &Target) -> Result<(), CliError> {
    let path = format!("/v1/admin/ceremonies/{ceremony}/call-off");
    let body = json!({"reason": reason});
    let answer = target.connect().await?.call(Method::POST, &path, Some(&body)).await?;
    print(target.json, &answer, |out| {
        let what = format!("{} {}", text(&answer["action"]), text(&answer["parameters"]["key"]));
        writeln!(out, "ceremony {ceremony} ({}) is called off", table::plain(&what))
    });
    Ok(())
}

/// How a ceremony stands and what to do next; one that failed is a failure.
fn tell(answer: &Value, target: &Target) -> Result<(), CliError> {
    let (id, state) = (&answer["id"], text(&answer["state"]));
    print(target.json, answer, |out| {
        let what = format!("{} {}", text(&answer["action"]), text(&answer["parameters"]["key"]));
        writeln!(out, "ceremony {id} ({}) is {state}", table::plain(&what))?;
        if state == "open" {
            let have = answer["confirmations"].as_array().map_or(0, Vec::len);
            writeln!(
                out,
                "{have} of {} confirmations, until {}",
                answer["needed"],
                text(&answer["expires_at"])
            )?;
            writeln!(out, "to confirm: license-gateway key confirm {id} --custodian NAME")?;
        } else if !answer["result"].is_null() {
            writeln!(out, "{:#}", answer["result"])?;
        }
        Ok(())
    });
    match state.as_str() {
        "failed" => Err(CliError::NotDone(format!("ceremony {id} failed"))),
        _ => match answer["taken_over"]["error"].as_str() {
            Some(code) => {
                Err(CliError::NotDone(format!("the keys were not taken over ({code}); try reload")))
            }
            None => Ok(()),
        },
    }
}

async fn list(target: &Target) -> Result<(), CliError> {
    let answer = target.connect().await?.call(Method::GET, "/v1/admin/keys", None).await?;
    print(target.json, &answer, |out| {
        let columns = [
            ("KEY", false),
            ("GROUP", false),
            ("ALGORITHM", false),
            ("PURPOSE", false),
            ("VERSION", true),
            ("STATE", false),
            ("SPREAD", false),
            ("HELD BY", true),
            ("EXPIRES", false),
        ];
        let mut rows = Vec::new();
        for key in answer["items"].as_array().into_iter().flatten() {
            for version in key["versions"].as_array().into_iter().flatten() {
                let copies = version["copies"].as_array().map(Vec::as_slice).unwrap_or_default();
                let held: usize =
                    copies.iter().filter_map(|copy| copy["held_by"].as_array()).map(Vec::len).sum();
                let ends = copies.iter().filter_map(|copy| copy["expires_at"].as_str()).min();
                let soon = copies.iter().any(|copy| copy["expires_soon"] == true);
                let mut row = ["id", "group", "algorithm", "purpose"].map(|field| text(&key[field])).to_vec();
                row.extend(["version", "state", "spread"].map(|field| text(&version[field])));
                row.push(held.to_string());
                let mark = if soon { " (soon)" } else { "" };
                row.push(ends.map(|end| format!("{end}{mark}")).unwrap_or_default());
                rows.push(row);
            }
        }
        table::print(out, &columns, rows)
    });
    Ok(())
}

/// A key's path; what cannot be a name is the name of no key.
fn path(id: &str) -> Result<String, CliError> {
    match config::KeyId::parse(id) {
        Ok(id) => Ok(format!("/v1/admin/keys/{id}")),
        Err(error) => Err(CliError::NotDone(format!("{id:?} is the name of no key: it {error}"))),
    }
}

async fn show(id: &str, target: &Target) -> Result<(), CliError> {
    let key = target.connect().await?.call(Method::GET, &path(id)?, None).await?;
    print(target.json, &key, |out| writeln!(out, "{key:#}"));
    Ok(())
}

async fn csr(id: &str, body: &Value, target: &Target) -> Result<(), CliError> {
    let path = format!("{}/csr", path(id)?);
    let answer = target.connect().await?.call(Method::POST, &path, Some(body)).await?;
    print(target.json, &answer, |out| write!(out, "{}", text(&answer["csr"])));
    Ok(())
}

async fn ceremonies(target: &Target) -> Result<(), CliError> {
    let answer = target.connect().await?.call(Method::GET, "/v1/admin/ceremonies", None).await?;
    print(target.json, &answer, |out| {
        let columns = [
            ("ID", true),
            ("ACTION", false),
            ("KEY", false),
            ("STATE", false),
            ("CONFIRMED", true),
            ("UNTIL", false),
            ("BEGUN BY", false),
            ("REASON", false),
        ];
        let row = |ceremony: &Value| {
            let have = ceremony["confirmations"].as_array().map_or(0, Vec::len);
            let mut row = ["id", "action"].map(|field| text(&ceremony[field])).to_vec();
            row.extend([text(&ceremony["parameters"]["key"]), text(&ceremony["state"])]);
            row.push(format!("{have}/{}", ceremony["needed"]));
            row.extend(["expires_at", "begun_by", "reason"].map(|field| text(&ceremony[field])));
            row
        };
        table::print(out, &columns, answer["items"].as_array().into_iter().flatten().map(row))
    });
    Ok(())
}

async fn custodian(command: CustodianCommand) -> Result<(), CliError> {
    let (path, body, target) = match command {
        CustodianCommand::List { target } => {
            let answer = target.connect().await?.call(Method::GET, "/v1/admin/custodians", None).await?;
            print(target.json, &answer, |out| {
                let row =
                    |one: &Value| ["name", "enabled", "created_at"].map(|field| text(&one[field])).to_vec();
                let columns = [("NAME", false), ("ENABLED", false), ("SINCE", false)];
                table::print(out, &columns, answer["items"].as_array().into_iter().flatten().map(row))
            });
            return Ok(());
        }
        CustodianCommand::Add { name, target } => {
            let secret = secret(&format!("a secret for {name}: "), true)?;
            ("/v1/admin/custodians".to_owned(), Some(json!({"name": name, "secret": *secret})), target)
        }
        CustodianCommand::Disable { name, target } => (custodian_path(&name, "disable")?, None, target),
        CustodianCommand::Enable { name, target } => (custodian_path(&name, "enable")?, None, target),
    };
    let answer = target.connect().await?.call(Method::POST, &path, body.as_ref()).await?;
    print(target.json, &answer, |out| {
        let is = if answer["enabled"] == true { "may confirm" } else { "may no longer confirm" };
        writeln!(out, "{} {is} (audit entry {})", table::plain(&text(&answer["name"])), answer["audit_index"])
    });
    Ok(())
}

/// A custodian's path: names are any text, and a path holds octets of them.
fn custodian_path(name: &str, verb: &str) -> Result<String, CliError> {
    if name.is_empty() {
        return Err(CliError::NotDone("a custodian has a name".to_owned()));
    }
    let escaped: String = name.bytes().map(|octet| format!("%{octet:02X}")).collect();
    Ok(format!("/v1/admin/custodians/{escaped}/{verb}"))
}

/// A secret: asked for without showing it, twice where it is new, or the first line of standard input.
fn secret(prompt: &str, new: bool) -> Result<Zeroizing<String>, CliError> {
    let unread = |error: std::io::Error| CliError::NotDone(format!("the secret cannot be read: {error}"));
    if std::io::stdin().is_terminal() {
        let secret = Zeroizing::new(rpassword::prompt_password(prompt).map_err(unread)?);
        if new {
            let again = Zeroizing::new(rpassword::prompt_password("once more: ").map_err(unread)?);
            if secret != again {
                return Err(CliError::NotDone("the two are not the same".to_owned()));
            }
        }
        return Ok(secret);
    }
    let mut text = Zeroizing::new(String::new());
    std::io::stdin().take(LONGEST_SECRET).read_to_string(&mut text).map_err(unread)?;
    Ok(Zeroizing::new(text.lines().next().unwrap_or_default().to_owned()))
}

/// Octets of standard input that are looked at for a secret.
const LONGEST_SECRET: u64 = 4096;

fn read(path: &Path) -> Result<String, CliError> {
    std::fs::read_to_string(path).map_err(|source| CliError::File { path: path.to_owned(), source })
}

/// Custodians' secrets from a file that nobody else may read.
fn secrets(path: &Path) -> Result<Vec<Secret>, CliError> {
    let metadata =
        std::fs::metadata(path).map_err(|source| CliError::File { path: path.to_owned(), source })?;
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(CliError::NotDone(format!("{} has mode {mode:o}; it must be 600", path.display())));
    }
    let text = Zeroizing::new(read(path)?);
    // What serde would say might show a secret.
    serde_json::from_str(&text)
        .map_err(|_| CliError::NotDone(format!("{} is no list of {{name, secret}}", path.display())))
}
