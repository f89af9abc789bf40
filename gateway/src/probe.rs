//! `license-gateway device probe`: examines a device that no configuration knows yet. Needs no gateway, no
//! database and no configuration.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use hsm_driver::WorkerCommand;
use hsm_driver::probe::{ProbeOrder, probe};
use zeroize::Zeroizing;

#[derive(Args)]
pub(crate) struct ProbeArguments {
    /// The vendor's PKCS#11 library.
    #[arg(long)]
    module: PathBuf,
    /// The token's label.
    #[arg(long)]
    token: String,
    /// The token's serial number, if several have that label.
    #[arg(long)]
    serial: Option<String>,
    /// File with the user PIN on its first line; it is tried once.
    #[arg(long)]
    pin_file: Option<PathBuf>,
    /// Try this key, named by its CKA_ID in hexadecimal, and make none; may be repeated.
    #[arg(long, value_name = "CKA_ID", value_parser = cka_id)]
    existing_key: Vec<CkaId>,
    /// Seconds to measure each rate; 0 measures none.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(0..=3600))]
    seconds: u64,
    /// Sessions to open at most: rates are measured with 1, 2, 4, … of them.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=256))]
    lanes: u16,
    /// Seconds a call may take before the library counts as hung.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=3600))]
    timeout: u64,
    /// Environment for the library, such as SOFTHSM2_CONF=/etc/softhsm2.conf; may be repeated.
    #[arg(long, value_name = "NAME=VALUE", value_parser = variable)]
    env: Vec<(String, String)>,
    /// Print the report as one JSON object.
    #[arg(long)]
    json: bool,
}

#[derive(Clone)]
struct CkaId(Vec<u8>);

fn cka_id(text: &str) -> Result<CkaId, String> {
    let id = hex::decode(text).map_err(|error| error.to_string())?;
    if id.is_empty() { Err("empty".to_owned()) } else { Ok(CkaId(id)) }
}

fn variable(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').filter(|(name, _)| !name.is_empty()).ok_or("not NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

/// Usable, not usable, wrong usage.
const EXITS: [u8; 3] = [0, 1, 2];

/// Runs the subcommand.
pub(crate) fn run(arguments: ProbeArguments) -> ExitCode {
    let [usable, unusable, usage] = EXITS.map(ExitCode::from);
    match examine(arguments) {
        Ok(true) => usable,
        Ok(false) => unusable,
        Err(reason) => {
            let _ = writeln!(std::io::stderr(), "license-gateway: {reason}"); // nowhere else to say it
            usage
        }
    }
}

fn examine(arguments: ProbeArguments) -> Result<bool, String> {
    // The library is loaded from another process's folder; a name without a slash would be searched for.
    let module = std::path::absolute(&arguments.module).ok().filter(|path| path.is_file());
    let module = module.ok_or_else(|| format!("no module {}", arguments.module.display()))?;
    let order = ProbeOrder {
        module: module.display().to_string(),
        token: arguments.token,
        serial: arguments.serial,
        pin: arguments.pin_file.as_deref().map(pin).transpose()?,
        existing_keys: arguments.existing_key.into_iter().map(|id| id.0).collect(),
        lanes: usize::from(arguments.lanes),
        measure: Duration::from_secs(arguments.seconds),
    };
    let command = WorkerCommand {
        program: "/proc/self/exe".into(),
        arguments: vec!["hsm-probe".to_owned()],
        provision: Vec::new(),
    };
    let env: BTreeMap<String, String> = arguments.env.into_iter().collect();
    let say = |step: &str| {
        let _ = writeln!(std::io::stderr(), "{step} …"); // progress only
    };
    let report = probe(&command, &env, &order, Duration::from_secs(arguments.timeout), say)
        .map_err(|error| format!("probing process: {error}"))?;
    let text = match arguments.json {
        true => serde_json::to_string_pretty(&report).map_err(|error| error.to_string())?,
        false => report.to_string(),
    };
    let _ = writeln!(std::io::stdout(), "{text}"); // a closed pipe is no failure: the exit code says it too
    Ok(report.usable)
}

fn pin(path: &Path) -> Result<Zeroizing<String>, String> {
    let text = std::fs::read_to_string(path).map(Zeroizing::new);
    let text = text.map_err(|error| format!("cannot use {}: {error}", path.display()))?;
    match text.lines().next() {
        Some(pin) if !pin.is_empty() => Ok(Zeroizing::new(pin.to_owned())),
        _ => Err(format!("cannot use {}: no PIN on its first line", path.display())),
    }
}
