//! `license-gateway sandbox`: how to sign in to a sandbox. Its people have no authenticator at hand, and the secrets of
//! theirs stand in `sandbox.json`, which whoever made the sandbox may read.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use serde_json::Value;

use super::CliError;
use crate::people::sandbox::sign_ins;

/// Show where a sandbox is and how its people sign in: passwords, and the codes that count now.
#[derive(Args)]
pub(crate) struct SandboxArguments {
    /// The sandbox's folder.
    #[arg(long, default_value = "data")]
    data: PathBuf,
}

impl SandboxArguments {
    pub(super) fn run(&self) -> Result<(), CliError> {
        let path = self.data.join("sandbox.json");
        let text = std::fs::read_to_string(&path).map_err(|source| CliError::File { path, source })?;
        let description: Value =
            serde_json::from_str(&text).map_err(|error| CliError::NotDone(error.to_string()))?;
        let people = sign_ins(&text);
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
