//! `license-gateway sandbox …`: how to sign in to a sandbox. Its people have no authenticator at hand, and the secrets of
//! theirs stand in `sandbox.json`, which whoever made the sandbox may read.

use std::io::Write;
use std::path::PathBuf;

use clap::{Args, Subcommand};

use serde_json::Value;

use super::CliError;
use crate::people::sandbox::sign_ins;

mod enterprise;

/// Show where a sandbox is and how its people sign in: passwords, and the codes that count now.
#[derive(Args)]
pub(crate) struct SandboxArguments {
    /// The sandbox's folder.
    #[arg(long, default_value = "data", global = true)]
    data: PathBuf,
    #[command(subcommand)]
    command: Option<SandboxCommand>,
}

#[derive(Subcommand)]
enum SandboxCommand {
    /// Make a test enterprise that can stamp at once, at a running sandbox.
    Enterprise(enterprise::EnterpriseArguments),
}

impl SandboxArguments {
    pub(super) fn wants_json(&self) -> bool {
        self.command.as_ref().is_some_and(|SandboxCommand::Enterprise(new)| new.wants_json())
    }

    pub(super) async fn run(self) -> Result<(), CliError> {
        if let Some(SandboxCommand::Enterprise(new)) = self.command {
            return new.run(self.data).await;
        }
        let description = enterprise::described(&self.data.join("sandbox.json"))?;
        let description = Value::Object(description);
        let people = sign_ins(&description.to_string());
        if people.is_empty() {
            return Err(CliError::NotDone(
                "this sandbox names nobody; init --sandbox names people".to_owned(),
            ));
        }
        let mut out = std::io::stdout().lock();
        let mut lines = || {
            writeln!(out, "console  {}/console/", description["base_url"].as_str().unwrap_or_default())?;
            for person in &people {
                let roles: Vec<_> = person.roles.iter().map(ToString::to_string).collect();
                let (code, left) = &person.code;
                writeln!(out, "\naccount  {} ({})", person.user, roles.join(", "))?;
                writeln!(out, "password {}", *person.password)?;
                writeln!(out, "code     {code} (for {left} s more)")?;
            }
            out.flush()
        };
        let _ = lines(); // a closed pipe is no failure
        Ok(())
    }
}
