//! `license-gateway sandbox enterprise`: a test enterprise that can stamp. It is made as any enterprise's stamps are: a mandate is entered, a
//! device makes its key, an authority certifies it, the mandate is put to use, and a seal is made and registered; the running gateway
//! does each and has it on record. Only the authority is the sandbox's own, and on the seal's picture stands 测试.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use certs_test::{CertsTestError, EnterpriseAuthority};
use clap::Args;
use formats::font::Font;
use formats::seal::{Picture, SealDesign};
use formats::uscc::Uscc;
use hyper::Method;
use serde_json::{Map, Value, json};
use sm3::{Digest, Sm3};
use time::format_description::well_known::Rfc3339;
use time::{Duration, OffsetDateTime};

use crate::cli::client::Client;
use crate::cli::{CliError, Target, print};
use crate::error::with_causes;
use crate::serve::write_whole;

const REASON: &str = "a test enterprise of the sandbox";
const PURPOSE: &str = "测试";
/// How long a mandate and a seal are good, days; the certificate is a little longer.
const DAYS: i64 = 300;
/// Of the seal, millimetres.
const DIAMETER: u32 = 40;

/// Make a test enterprise that can stamp at once: a mandate that is in force, and a seal that says 测试.
#[derive(Args)]
pub(crate) struct EnterpriseArguments {
    /// Its name; it has to say 测试.
    #[arg(long)]
    name: Option<String>,
    /// Its code: ZZJGD and 13 digits, drawn if absent.
    #[arg(long)]
    code: Option<String>,
    /// Print what was made as JSON.
    #[arg(long)]
    json: bool,
}

/// Who is made.
struct Enterprise {
    name: String,
    code: Uscc,
    /// Of mandate and seal.
    number: String,
}

impl EnterpriseArguments {
    pub(super) fn wants_json(&self) -> bool {
        self.json
    }

    pub(super) async fn run(self, data: PathBuf) -> Result<(), CliError> {
        let path = data.join("sandbox.json");
        let description = described(&path)?;
        let enterprise = self.enterprise()?;
        // What may fail here does so before the gateway has half an enterprise.
        let authority = EnterpriseAuthority::open(&data.join("pki")).map_err(not_kept)?;
        let picture = enterprise.picture()?;
        let target = Target {
            config: Some(data.join("gateway.toml")),
            socket: None,
            token_file: None,
            json: self.json,
        };
        let mut client = target.connect().await?;
        let certificate = enterprise.mandated(&mut client, &authority, &description).await?;
        enterprise.sealed(&mut client, &certificate, &picture).await?;
        let made = enterprise.described();
        // As it is now: a gateway that started meanwhile, or another enterprise, has written to it.
        let mut description = described(&path)?;
        match description.get_mut("enterprises").and_then(Value::as_array_mut) {
            Some(enterprises) => enterprises.push(made.clone()),
            None => drop(description.insert("enterprises".to_owned(), json!([made]))),
        }
        write_whole(&path, &Value::Object(description))
            .map_err(|error| CliError::NotDone(error.to_string()))?;
        print(self.json, &made, |out| {
            writeln!(out, "enterprise {} ({})", enterprise.name, enterprise.code)?;
            writeln!(out, "signer     {}", made["signer"])?;
            writeln!(out, "seal       {}", enterprise.number)
        });
        Ok(())
    }

    fn enterprise(&self) -> Result<Enterprise, CliError> {
        let drawn = || format!("ZZJGD{:013}", fastrand::u64(..10_000_000_000_000));
        let code = self.code.clone().unwrap_or_else(drawn);
        let code = Uscc::parse_sandbox(&code).ok().filter(Uscc::is_test);
        let code = code.ok_or_else(|| {
            CliError::NotDone("--code must be that of a test enterprise: ZZJGD and 13 digits".to_owned())
        })?;
        let digits = &code.as_str()[5..];
        let name = self.name.clone().unwrap_or_else(|| format!("测试企业{}有限公司", &digits[9..]));
        if !name.contains(PURPOSE) {
            return Err(CliError::NotDone("--name must say 测试".to_owned()));
        }
        Ok(Enterprise { name, number: format!("TEST-{digits}"), code })
    }
}

/// What stands in `sandbox.json`.
pub(super) fn described(path: &Path) -> Result<Map<String, Value>, CliError> {
    let text =
        std::fs::read_to_string(path).map_err(|source| CliError::File { path: path.to_owned(), source })?;
    serde_json::from_str(&text)
        .map_err(|error| CliError::NotDone(format!("{} describes no sandbox: {error}", path.display())))
}

/// Why the sandbox has no authority for enterprises.
fn not_kept(error: CertsTestError) -> CliError {
    let is_missing =
        matches!(&error, CertsTestError::Read { source, .. } if source.kind() == ErrorKind::NotFound);
    CliError::NotDone(match is_missing {
        true => format!("{error}: a sandbox of an older build keeps no authority for enterprises"),
        false => with_causes(&error),
    })
}

fn moment(days: i64) -> String {
    let at = OffsetDateTime::now_utc().replace_nanosecond(0).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    (at + Duration::days(days)).format(&Rfc3339).unwrap_or_default()
}

/// One act; one that waits for a second person is not done.
async fn act(client: &mut Client, path: &str, mut body: Value) -> Result<Value, CliError> {
    body["reason"] = json!(REASON);
    let answer = client.call(Method::POST, path, Some(&body)).await?;
    match answer["approval"].as_str() {
        None => Ok(answer),
        Some(approval) => Err(CliError::NotDone(format!(
            "{path} waits for a second person (approval {approval}): test enterprises take [administration] two_person = false"
        ))),
    }
}

impl Enterprise {
    /// Brings a mandate into force; answers its certificate.
    async fn mandated(
        &self,
        client: &mut Client,
        authority: &EnterpriseAuthority,
        description: &Map<String, Value>,
    ) -> Result<String, CliError> {
        let apps = description.get("apps").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        // The two that stamp; the third one operates the site.
        let apps: Vec<&Value> = apps.iter().take(2).map(|app| &app["id"]).collect();
        let mandate = json!({
            "number": self.number,
            "enterprise": {"name": self.name, "uscc": self.code.as_str()},
            "granted_by": {"name": "测试甲", "id_kind": "other", "id_number": "TEST-0000001"},
            "evidence_sm3": hex::encode(Sm3::digest(REASON)),
            "apps": apps, "formats": ["pdf", "ofd", "digest"], "purposes": [PURPOSE],
            "per_day": 10_000, "in_all": 1_000_000, "largest_octets": 67_108_864,
            "valid_from": moment(0), "valid_until": moment(DAYS),
            "group": "bureau", "algorithm": "sm2",
        });
        act(client, "/v1/admin/mandates", json!({"mandate": mandate})).await?;
        let path = format!("/v1/admin/mandates/{}", self.number);
        let asked = act(client, &format!("{path}/csr"), json!({})).await?;
        let request = asked["csr"].as_str().unwrap_or_default();
        let chain = authority.certify(request, OffsetDateTime::now_utc());
        let chain = chain.map_err(|error| CliError::NotDone(with_causes(&error)))?;
        act(client, &format!("{path}/certificate"), json!({"certificate": chain})).await?;
        act(client, &format!("{path}/activate"), json!({})).await?;
        let end = "-----END CERTIFICATE-----\n";
        Ok(chain.find(end).map_or(chain.as_str(), |at| &chain[..at + end.len()]).to_owned())
    }

    /// The seal's picture.
    fn picture(&self) -> Result<Picture, CliError> {
        let design = SealDesign::Round {
            name: self.name.clone(),
            purpose: Some("测试专用".to_owned()),
            code: Some(self.code.as_str()[5..].to_owned()),
            diameter: DIAMETER,
        };
        design.draw(Font::built_in()).map_err(|error| CliError::NotDone(error.to_string()))
    }

    /// Has the seal made.
    async fn sealed(
        &self,
        client: &mut Client,
        certificate: &str,
        picture: &Picture,
    ) -> Result<(), CliError> {
        let seal = json!({
            "number": self.number, "kind": "enterprise", "name": format!("{}（测试专用）", self.name),
            "holder": {"name": self.name, "uscc": self.code.as_str()},
            "valid_from": moment(0), "valid_until": moment(DAYS),
            "picture": {"png": STANDARD.encode(&picture.octets), "width_mm": DIAMETER, "height_mm": DIAMETER},
            "certificates": [certificate],
        });
        act(client, "/v1/admin/seals", json!({"seal": seal})).await.map(drop)
    }

    /// As `sandbox.json` has it.
    fn described(&self) -> Value {
        json!({
            "name": self.name, "code": self.code.as_str(), "seal": self.number,
            "signer": {"enterprise": self.code.as_str(), "mandate": self.number, "purpose": PURPOSE},
        })
    }
}
