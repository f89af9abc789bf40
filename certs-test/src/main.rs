//! `certs-test OUT_DIR`: writes a sandbox's test material.

#![forbid(unsafe_code)]

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use certs_test::Options;
use clap::Parser;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Writes test authorities, keys, certificates and licenses. TEST ONLY.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// The folder to write to; made if need be.
    out_dir: PathBuf,
    /// 32 bytes in hexadecimal; the same seed and time make the same files. Random if absent.
    #[arg(long, value_name = "HEX64", value_parser = parse_seed)]
    seed: Option<[u8; 32]>,
    /// The time to make everything at. Now if absent.
    #[arg(long, value_name = "RFC3339", value_parser = parse_time)]
    at: Option<OffsetDateTime>,
}

fn parse_seed(text: &str) -> Result<[u8; 32], String> {
    let mut seed = [0; 32];
    hex::decode_to_slice(text, &mut seed).map_err(|error| error.to_string())?;
    Ok(seed)
}

fn parse_time(text: &str) -> Result<OffsetDateTime, String> {
    OffsetDateTime::parse(text, &Rfc3339).map_err(|error| error.to_string())
}

fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let mut cause = Some(error.as_ref() as &dyn std::error::Error);
            while let Some(error) = cause {
                let _ = writeln!(std::io::stderr(), "certs-test: {error}");
                cause = error.source();
            }
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> Result<(), Box<dyn std::error::Error>> {
    let seed = match arguments.seed {
        Some(seed) => seed,
        None => {
            let mut seed = [0; 32];
            getrandom::fill(&mut seed)?;
            seed
        }
    };
    let at = arguments.at.unwrap_or_else(OffsetDateTime::now_utc);
    certs_test::generate(&Options { seed, at })?.write_to(&arguments.out_dir)?;
    writeln!(
        std::io::stdout(),
        "{} written; again with --seed {} --at {}",
        arguments.out_dir.display(),
        hex::encode(seed),
        at.format(&Rfc3339)?
    )?;
    Ok(())
}
