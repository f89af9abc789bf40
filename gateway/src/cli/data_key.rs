//! `license-gateway data-key rotate`.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use hyper::Method;
use serde_json::json;

use super::{Target, block_on, finish, print, text};

/// What to do with the data key.
#[derive(Args)]
pub(crate) struct DataKeyArguments {
    #[command(subcommand)]
    act: Act,
}

#[derive(Subcommand)]
enum Act {
    /// Make a new one, which is used from a minute later on.
    Rotate {
        /// For the record.
        #[arg(long)]
        reason: String,
        #[command(flatten)]
        target: Target,
    },
}

/// Does it.
pub(crate) fn data_key(arguments: &DataKeyArguments) -> ExitCode {
    let Act::Rotate { reason, target } = &arguments.act;
    let work = async {
        let body = json!({"reason": reason});
        let mut client = target.connect().await?;
        let answer = client.call(Method::POST, "/v1/admin/data-key:rotate", Some(&body)).await?;
        print(target.json, &answer, |out| {
            let (version, from) = (text(&answer["version"]), text(&answer["used_from"]));
            writeln!(out, "data key {version}, used from {from} (audit entry {})", answer["audit_index"])
        });
        Ok(())
    };
    finish(block_on(work), target.json)
}
