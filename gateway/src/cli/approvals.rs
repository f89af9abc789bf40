//! `license-gateway approval …`: what waits for a second person.

use clap::{Args, Subcommand};
use hyper::Method;
use serde_json::{Value, json};

use super::{CliError, Target, print, table, text};

/// See and decide what waits for a second person at a running gateway. To decide takes a person's token.
#[derive(Args)]
pub(crate) struct ApprovalArguments {
    #[command(subcommand)]
    command: ApprovalCommand,
}

#[derive(Subcommand)]
enum ApprovalCommand {
    /// The latest changes that were asked for.
    List {
        /// Only those in this state, such as pending.
        #[arg(long)]
        state: Option<String>,
        #[command(flatten)]
        target: Target,
    },
    /// A change that was asked for, with what would be different.
    Show {
        /// Its id.
        id: String,
        #[command(flatten)]
        target: Target,
    },
    /// Approve a change that somebody else asked for: it is carried out.
    Approve(Decide),
    /// Reject a change that somebody else asked for.
    Reject(Decide),
    /// Take back a change that one has asked for oneself.
    Withdraw(Decide),
}

#[derive(Args)]
struct Decide {
    /// Its id.
    id: String,
    /// Why, for the record: 1 to 500 characters.
    #[arg(long)]
    reason: String,
    #[command(flatten)]
    target: Target,
}

impl ApprovalArguments {
    pub(super) fn wants_json(&self) -> bool {
        match &self.command {
            ApprovalCommand::List { target, .. } | ApprovalCommand::Show { target, .. } => target.json,
            ApprovalCommand::Approve(decide)
            | ApprovalCommand::Reject(decide)
            | ApprovalCommand::Withdraw(decide) => decide.target.json,
        }
    }

    pub(super) async fn run(self) -> Result<(), CliError> {
        match self.command {
            ApprovalCommand::List { state, target } => list(state.as_deref(), &target).await,
            ApprovalCommand::Show { id, target } => {
                let shown = target.connect().await?.call(Method::GET, &path(&id)?, None).await?;
                print(target.json, &shown, |out| show(out, &shown));
                Ok(())
            }
            ApprovalCommand::Approve(decide) => decide.send("approve").await,
            ApprovalCommand::Reject(decide) => decide.send("reject").await,
            ApprovalCommand::Withdraw(decide) => decide.send("withdraw").await,
        }
    }
}

impl Decide {
    async fn send(self, verb: &str) -> Result<(), CliError> {
        let (path, body) = (format!("{}/{verb}", path(&self.id)?), json!({"reason": self.reason}));
        let answer = self.target.connect().await?.call(Method::POST, &path, Some(&body)).await?;
        print(self.target.json, &answer, |out| {
            let of = |member: &str| table::plain(&text(&answer[member]));
            let outcome = answer["outcome"].as_str().filter(|outcome| *outcome != "ok");
            let outcome = outcome.map(|outcome| format!(" ({outcome})")).unwrap_or_default();
            writeln!(out, "{} of {} is {}{outcome}", of("action"), of("subject"), of("state"))
        });
        Ok(())
    }
}

async fn list(state: Option<&str>, target: &Target) -> Result<(), CliError> {
    let query = match state {
        Some(state) if !state.is_empty() && state.bytes().all(|octet| octet.is_ascii_lowercase()) => {
            format!("?state={state}")
        }
        Some(state) => return Err(CliError::NotDone(format!("{state:?} is no state"))),
        None => String::new(),
    };
    let path = format!("/v1/admin/approvals{query}");
    let answer = target.connect().await?.call(Method::GET, &path, None).await?;
    print(target.json, &answer, |out| {
        let columns = [
            ("ID", false),
            ("STATE", false),
            ("ACTION", false),
            ("SUBJECT", false),
            ("ASKED BY", false),
            ("AT", false),
            ("DECIDED BY", false),
            ("REASON", false),
        ];
        const MEMBERS: [&str; 8] =
            ["id", "state", "action", "subject", "asked_by", "asked_at", "decided_by", "reason"];
        let row = |approval: &Value| MEMBERS.map(|member| text(&approval[member])).to_vec();
        table::print(out, &columns, answer["items"].as_array().into_iter().flatten().map(row))
    });
    Ok(())
}

fn show(out: &mut dyn std::io::Write, approval: &Value) -> std::io::Result<()> {
    for member in ["id", "action", "subject", "state", "asked_by", "asked_at", "expires_at", "reason"] {
        writeln!(out, "{member}: {}", table::plain(&text(&approval[member])))?;
    }
    for member in ["decided_by", "decided_at", "decision", "outcome"] {
        if let Some(value) = approval[member].as_str() {
            writeln!(out, "{member}: {}", table::plain(value))?;
        }
    }
    for (field, value) in approval["context"].as_object().into_iter().flatten() {
        writeln!(out, "  {}\n      {}", table::plain(field), table::plain(&value.to_string()))?;
    }
    for difference in approval["difference"].as_array().into_iter().flatten() {
        let field = table::plain(&text(&difference["field"]));
        writeln!(out, "  {field}")?;
        for (sign, member) in [("-", "before"), ("+", "after")] {
            if !difference[member].is_null() {
                writeln!(out, "    {sign} {}", table::plain(&difference[member].to_string()))?;
            }
        }
    }
    Ok(())
}

/// A change's path; what cannot be an id is the id of none.
fn path(id: &str) -> Result<String, CliError> {
    let plain = !id.is_empty() && id.len() <= 64 && id.bytes().all(|octet| octet.is_ascii_alphanumeric());
    if !plain {
        return Err(CliError::NotDone(format!("{id:?} is not the id of a change")));
    }
    Ok(format!("/v1/admin/approvals/{id}"))
}
