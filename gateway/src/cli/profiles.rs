//! Profiles of client systems: files that say what a calling system is granted and what a site has to know of it, so
//! that it is entered by one command and held against what is in force by another.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use clap::Args;
use config::{AppId, Config};
use hyper::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use verify_front::{DecisionTable, Role};

use super::{CliError, Target, apps, print, table};
use crate::material::{Digests, read_decisions};

/// Hold an app, the configuration and the decision table against a profile; it fails where they differ.
#[derive(Args)]
pub(super) struct CheckArguments {
    /// The app's id.
    id: String,
    /// The profile.
    #[arg(long, value_name = "FILE")]
    profile: PathBuf,
    /// The site's configuration, as the next reload would read it [default: the one of --config].
    #[arg(long, value_name = "FILE")]
    site: Option<PathBuf>,
    #[command(flatten)]
    pub(super) target: Target,
}

/// A client system as a file says it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Profile {
    /// What the register of apps is to hold.
    app: ProfileApp,
    /// How it speaks the national front's protocol, if it does.
    national_front: Option<NationalFront>,
    /// Whether it has to say what it fetches license files for.
    #[serde(default)]
    require_purpose: bool,
    /// The items of business that it works with.
    #[serde(default)]
    item: Vec<ProfileItem>,
}

/// Members of an app, by the names of the interface. Keys, contacts and addresses are each site's own and not here.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ProfileApp {
    name: String,
    scopes: BTreeSet<String>,
    #[serde(default)]
    fields: BTreeSet<String>,
    rate: ProfileRate,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ProfileRate {
    per_second: u32,
    burst: u32,
}

/// What its `[[compat.system]]` says beside `syscode` and `app`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct NationalFront {
    item: String,
    #[serde(default)]
    fields: BTreeSet<String>,
}

/// A row of the decision table that it rests on.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ProfileItem {
    code: String,
    roles: Vec<Role>,
}

impl Profile {
    /// Reads a profile, whole or not at all.
    pub(super) fn read(path: &Path) -> Result<Self, CliError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| CliError::File { path: path.to_owned(), source })?;
        toml::from_str(&text)
            .map_err(|error| CliError::NotDone(format!("{} is no profile: {error}", path.display())))
    }

    /// The members of the app that it speaks of, as the interface takes and gives them.
    pub(super) fn members(&self) -> impl Iterator<Item = (String, Value)> {
        let members = match json!(self.app) {
            Value::Object(members) => members,
            _ => serde_json::Map::new(), // a struct is an object
        };
        members.into_iter()
    }

    /// Where the app, as the register has it, is not as the profile says.
    fn differs_from_app(&self, app: &Value, found: &mut Vec<String>) {
        if app["state"] != "enabled" {
            found.push(format!("state: it is {}", table::plain(&super::text(&app["state"]))));
        }
        for (member, wanted) in self.members() {
            if app[&member] != wanted {
                found.push(format!("{member}: it has {}, the profile says {wanted}", app[&member]));
            }
        }
        if app["contacts"].as_array().is_none_or(Vec::is_empty) {
            found.push("contacts: nobody is named".to_owned());
        }
        let credentials = app["credentials"].as_array().into_iter().flatten();
        if !credentials.into_iter().any(|credential| credential["in_force"] == true) {
            found.push("credentials: none is in force".to_owned());
        }
    }

    /// Where the site's configuration is not as the profile says.
    fn differs_from_site(
        &self,
        id: &AppId,
        config: &Config,
        decisions: &DecisionTable,
        found: &mut Vec<String>,
    ) {
        if self.require_purpose && !config.library.require_purpose {
            found.push("library.require_purpose: files are given without a purpose".to_owned());
        }
        let compat = &config.compat;
        if let Some(wanted) = &self.national_front {
            let named: Vec<_> = compat.systems.iter().filter(|system| system.app == *id).collect();
            if !compat.enabled {
                found.push("compat.enabled: the national front's protocol is not spoken".to_owned());
            }
            if named.is_empty() {
                found.push(format!("compat.system: none is of the app {id}"));
            }
            for system in named {
                let syscode = &system.syscode;
                if system.item != wanted.item {
                    let (has, says) = (&system.item, &wanted.item);
                    found.push(format!(
                        "compat.system {syscode}: its item is {has:?}, the profile says {says:?}"
                    ));
                }
                let has: BTreeSet<_> = system.fields.iter().cloned().collect();
                if has != wanted.fields {
                    let says = &wanted.fields;
                    found.push(format!(
                        "compat.system {syscode}: its fields are {has:?}, the profile says {says:?}"
                    ));
                }
            }
        }
        for item in &self.item {
            let names = |roles: &[Role]| {
                let names: BTreeSet<_> = roles.iter().map(|role| role.name()).collect();
                names.into_iter().collect::<Vec<_>>().join(", ")
            };
            let (code, version) = (&item.code, decisions.version());
            match decisions.roles_for(code) {
                None => found.push(format!("item {code}: table {version} does not speak of it")),
                Some(roles) if names(roles) != names(&item.roles) => {
                    let (has, says) = (names(roles), names(&item.roles));
                    found.push(format!("item {code}: table {version} takes {has}, the profile says {says}"));
                }
                Some(_) => {}
            }
        }
    }
}

/// `license-gateway app check`
pub(super) async fn check(arguments: CheckArguments) -> Result<(), CliError> {
    let CheckArguments { id, profile, site, target } = arguments;
    let profile = Profile::read(&profile)?;
    let known = apps::name(&id, "an app")?;
    let site = site.as_deref().or(target.config.as_deref()).ok_or_else(|| {
        CliError::NotDone("--site or --config must say which configuration is to be looked at".to_owned())
    })?;
    let config = Config::load(site).map_err(|error| CliError::NotDone(error.to_string()))?;
    let decisions = read_decisions(config.status.decisions.as_deref(), &mut Digests::default())
        .map_err(|error| CliError::NotDone(error.to_string()))?;
    let app = target.connect().await?.call(Method::GET, &apps::path(&id)?, None).await?;
    let mut found = Vec::new();
    profile.differs_from_app(&app, &mut found);
    profile.differs_from_site(&known, &config, &decisions, &mut found);
    let answer = json!({"app": id, "profile": profile.app.name, "differences": found});
    print(target.json, &answer, |out| {
        for difference in &found {
            writeln!(out, "{}", table::plain(difference))?;
        }
        let said = if found.is_empty() { "is as the profile says" } else { "differs from the profile" };
        writeln!(out, "app {id} {said}")
    });
    match found.len() {
        0 => Ok(()),
        number => Err(CliError::NotDone(format!("differences from the profile: {number}"))),
    }
}
