//! `license-gateway incident …`: incidents (故障事件), step by step, and what came of what was promised.

use clap::{Args, Subcommand};
use hyper::Method;
use serde_json::{Map, Value, json};

use super::apps::name;
use super::{CliError, Target, print, table, text};

/// Tell of incidents (故障事件), take them further, and see what came of what was promised.
#[derive(Args)]
pub(crate) struct IncidentArguments {
    #[command(subcommand)]
    command: IncidentCommand,
}

#[derive(Subcommand)]
enum IncidentCommand {
    /// Tell of one (受理). Its clocks run from then on.
    Open {
        /// In a line: 1 to 100 characters.
        #[arg(long)]
        title: String,
        /// What happened.
        #[arg(long)]
        description: String,
        /// What it is of.
        #[arg(long, value_parser = ["e_license", "verification_front", "stamps", "library_front", "devices", "platform"])]
        system: String,
        /// What was promised.
        #[arg(long, value_parser = ["standard", "disaster_recovery", "urgent", "cloud"])]
        profile: Option<String>,
        /// What names those that are the same again.
        #[arg(long)]
        signature: Option<String>,
        /// Since when it is so, RFC 3339.
        #[arg(long, value_name = "TIME")]
        occurred_at: Option<String>,
        #[command(flatten)]
        target: Target,
    },
    /// The latest ones, the newest first, with their clocks.
    List {
        /// Only those that are open, or closed.
        #[arg(long, value_parser = ["open", "closed"])]
        state: Option<String>,
        /// Only those of a system.
        #[arg(long)]
        system: Option<String>,
        #[command(flatten)]
        target: Target,
    },
    /// One, with all that was done.
    Show {
        /// Its number.
        id: String,
        #[command(flatten)]
        target: Target,
    },
    /// Take one a step further; `show` says which comes next.
    Step(Box<StepArguments>),
    /// What came of what was promised (及时率).
    Figures {
        /// Of those accepted from then on, RFC 3339.
        #[arg(long, value_name = "TIME")]
        from: Option<String>,
        /// Of those accepted before, RFC 3339.
        #[arg(long, value_name = "TIME")]
        before: Option<String>,
        /// Only those of a system.
        #[arg(long)]
        system: Option<String>,
        #[command(flatten)]
        target: Target,
    },
}

/// A step, with what has to be said at it.
#[derive(Args)]
struct StepArguments {
    /// The incident's number.
    id: String,
    /// Which step.
    #[arg(value_parser = ["register", "grade", "respond", "investigate", "handle", "verify", "close", "travel", "note"])]
    step: String,
    /// register: whom it concerns.
    #[arg(long)]
    affected: Option<String>,
    /// grade: how much does not work.
    #[arg(long, value_parser = ["none", "degraded", "partial", "whole"])]
    extent: Option<String>,
    /// grade: what happens to data [default: safe].
    #[arg(long, value_parser = ["safe", "at_risk", "harmed"])]
    data: Option<String>,
    /// grade: people can do what they have to in another way.
    #[arg(long)]
    workaround: bool,
    /// grade: another level than the effect comes to.
    #[arg(long, requires = "override_reason")]
    level: Option<u8>,
    /// grade: why.
    #[arg(long)]
    override_reason: Option<String>,
    /// respond, investigate, handle: how.
    #[arg(long, value_parser = ["remote", "on_site"])]
    way: Option<String>,
    /// respond, note: what is told those who wait, or is worth knowing.
    #[arg(long)]
    note: Option<String>,
    /// investigate, close: why it happened.
    #[arg(long)]
    cause: Option<String>,
    /// handle, close: what was done.
    #[arg(long)]
    solution: Option<String>,
    /// verify: it is not mended.
    #[arg(long)]
    failed: bool,
    /// verify: by what that was seen.
    #[arg(long)]
    how: Option<String>,
    /// close: what happened.
    #[arg(long)]
    description: Option<String>,
    /// close: where it came from.
    #[arg(long)]
    origin: Option<String>,
    /// close: who answers for it, an account or a post.
    #[arg(long)]
    responsible: Option<String>,
    /// close: what will be otherwise.
    #[arg(long)]
    improvement: Option<String>,
    /// close: the release that keeps it from coming back.
    #[arg(long)]
    release: Option<String>,
    /// travel: from when, RFC 3339.
    #[arg(long, value_name = "TIME")]
    from: Option<String>,
    /// travel: until when.
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// travel: who, and where to.
    #[arg(long)]
    reason: Option<String>,
    #[command(flatten)]
    target: Target,
}

impl IncidentArguments {
    pub(super) fn wants_json(&self) -> bool {
        match &self.command {
            IncidentCommand::Open { target, .. }
            | IncidentCommand::List { target, .. }
            | IncidentCommand::Show { target, .. }
            | IncidentCommand::Figures { target, .. } => target.json,
            IncidentCommand::Step(step) => step.target.json,
        }
    }

    pub(super) async fn run(self) -> Result<(), CliError> {
        match self.command {
            IncidentCommand::Open { title, description, system, profile, signature, occurred_at, target } => {
                let order = said([
                    ("title", Some(title)),
                    ("description", Some(description)),
                    ("system", Some(system)),
                    ("profile", profile),
                    ("signature", signature),
                    ("occurred_at", occurred_at),
                ]);
                let mut client = target.connect().await?;
                let opened = client.call(Method::POST, "/v1/admin/incidents", Some(&order.into())).await?;
                print(target.json, &opened, |out| {
                    writeln!(out, "incident {} is open; register comes next", text(&opened["id"]))
                });
                Ok(())
            }
            IncidentCommand::List { state, system, target } => {
                let path = asked("/v1/admin/incidents", &[("state", state), ("system", system)]);
                let answer = target.connect().await?.call(Method::GET, &path, None).await?;
                print(target.json, &answer, |out| {
                    let columns = ["INCIDENT", "SYSTEM", "LEVEL", "STATE", "RESPONSE", "RESOLUTION", "TITLE"];
                    let row = |item: &Value| {
                        let mut cells =
                            ["id", "system", "level", "state"].map(|member| text(&item[member])).to_vec();
                        cells.push(text(&item["response"]["standing"]));
                        cells.push(text(&item["resolution"]["standing"]));
                        cells.push(text(&item["title"]));
                        cells
                    };
                    let rows = answer["items"].as_array().into_iter().flatten().map(row);
                    table::print(out, &columns.map(|column| (column, false)), rows)
                });
                Ok(())
            }
            IncidentCommand::Show { id, target } => {
                let found = target.connect().await?.call(Method::GET, &path(&id)?, None).await?;
                show(&target, &found, &found);
                Ok(())
            }
            IncidentCommand::Step(step) => {
                let path = path(&step.id)?;
                let mut client = step.target.connect().await?;
                let version = client.call(Method::GET, &path, None).await?["version"].clone();
                let order = step.order(version);
                let made = client.call(Method::POST, &format!("{path}/steps"), Some(&order)).await?;
                show(&step.target, &made, &made["incident"]);
                Ok(())
            }
            IncidentCommand::Figures { from, before, system, target } => {
                let query = [("from", from), ("before", before), ("system", system)];
                let path = asked("/v1/admin/service-levels", &query);
                let found = target.connect().await?.call(Method::GET, &path, None).await?;
                print(target.json, &found, |out| {
                    let columns = ["PROMISE", "MET", "MISSED", "OPEN", "RATE"];
                    let row = |promise: &&str| {
                        let rate = &found[*promise];
                        let share = rate["rate"].as_f64().map(|rate| format!("{:.1} %", rate * 100.0));
                        let mut cells = vec![(*promise).to_owned()];
                        cells.extend(["met", "missed", "open"].map(|member| text(&rate[member])));
                        cells.push(share.unwrap_or_else(|| "-".to_owned()));
                        cells
                    };
                    let rows = ["response", "resolution"];
                    table::print(out, &columns.map(|column| (column, false)), rows.iter().map(row))
                });
                Ok(())
            }
        }
    }
}

impl StepArguments {
    /// What the gateway is asked, from the version that was seen.
    fn order(&self, version: Value) -> Value {
        let mut order = said([
            ("affected", self.affected.clone()),
            ("override_reason", self.override_reason.clone()),
            ("way", self.way.clone()),
            ("note", self.note.clone()),
            ("how", self.how.clone()),
            ("release", self.release.clone()),
            ("from", self.from.clone()),
            ("until", self.until.clone()),
            ("reason", self.reason.clone()),
        ]);
        let told = said([("cause", self.cause.clone()), ("solution", self.solution.clone())]);
        match self.step.as_str() {
            "close" => {
                let mut report = told;
                report.extend(
                    [
                        ("description", &self.description),
                        ("origin", &self.origin),
                        ("cause", &self.cause),
                        ("solution", &self.solution),
                        ("responsible", &self.responsible),
                        ("improvement", &self.improvement),
                    ]
                    .map(|(field, text)| (field.to_owned(), text.clone().unwrap_or_default().into())),
                );
                order.insert("report".to_owned(), report.into());
            }
            "grade" => {
                let data = self.data.as_deref().unwrap_or("safe");
                let effect = json!({
                    "extent": self.extent.as_deref().unwrap_or_default(), "data": data, "workaround": self.workaround,
                });
                order.insert("effect".to_owned(), effect);
                order.extend(self.level.map(|level| ("level".to_owned(), level.into())));
            }
            "verify" => {
                order.insert("passed".to_owned(), (!self.failed).into());
            }
            _ => order.extend(told),
        }
        order.insert("step".to_owned(), self.step.clone().into());
        order.insert("version".to_owned(), version);
        order.into()
    }
}

/// The members that were given.
fn said<const N: usize>(members: [(&str, Option<String>); N]) -> Map<String, Value> {
    let given = members.into_iter().filter_map(|(member, text)| Some((member.to_owned(), text?.into())));
    given.collect()
}

/// A path with the parameters that were given.
fn asked(path: &str, parameters: &[(&str, Option<String>)]) -> String {
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    for (parameter, text) in parameters {
        if let Some(text) = text {
            query.append_pair(parameter, text);
        }
    }
    format!("{path}?{}", query.finish())
}

fn path(id: &str) -> Result<String, CliError> {
    Ok(format!("/v1/admin/incidents/{}", name(id, "an incident")?))
}

/// Prints an incident, which `answer` has in it.
fn show(target: &Target, answer: &Value, incident: &Value) {
    print(target.json, answer, |out| {
        let columns = ["STEP", "AT", "BY", "SAID"];
        let row = |step: &Value| {
            let known = ["number", "at", "actor", "step"];
            let more = step.as_object().into_iter().flatten();
            let more = more.filter(|(member, _)| !known.contains(&member.as_str()));
            let more: Vec<_> = more.map(|(member, value)| format!("{member}: {}", text(value))).collect();
            vec![text(&step["step"]), text(&step["at"]), text(&step["actor"]), more.join("; ")]
        };
        let steps = incident["steps"].as_array().into_iter().flatten();
        table::print(out, &columns.map(|column| (column, false)), steps.map(row))?;
        let next = incident["next"].as_str().map_or_else(String::new, |next| format!("; {next} comes next"));
        writeln!(
            out,
            "incident {}: {}, response {}, resolution {} (due {}){next}",
            text(&incident["id"]),
            text(&incident["state"]),
            text(&incident["response"]["standing"]),
            text(&incident["resolution"]["standing"]),
            text(&incident["resolution"]["due_at"])
        )
    });
}
