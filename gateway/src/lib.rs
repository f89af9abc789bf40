//! The license gateway: HTTP edge, authentication, policy and subcommands.

mod admin;
mod admission;
mod approvals;
mod apps;
mod audit;
mod auth;
mod batch;
mod behaviour;
#[doc(hidden)]
pub mod bodies;
mod body;
mod ceremonies;
mod ceremony_order;
mod cli;
mod client_certificate;
mod compat;
mod configuration;
mod console;
mod content;
mod custodians;
mod data_key;
mod database;
mod deadline;
mod devices;
mod edge;
mod error;
mod evidence;
mod faults;
mod history;
mod idempotency;
mod identifiers;
mod incidents;
#[cfg(feature = "sandbox")]
mod init;
mod input;
mod inspections;
mod judging;
mod key_register;
mod keys;
mod library;
mod licenses;
mod listen;
mod logging;
mod maintenance;
mod mandates;
mod material;
mod metrics;
mod offline;
mod oidc;
mod openapi;
mod operations;
mod pace;
mod pages;
mod people;
mod policies;
mod probe;
mod problem;
mod protection;
mod proxied;
mod query_certificates;
mod register;
mod reload;
mod rendition;
mod replace;
mod replicas;
mod request_id;
mod retentions;
mod routes;
#[cfg(feature = "sandbox")]
mod sandbox;
mod seals;
mod serve;
mod sessions;
mod signature_batch;
mod signatures;
#[cfg(feature = "sandbox")]
mod simulator;
mod stamp_jobs;
mod stamps;
mod state;
mod tally;
mod templates;
mod timestamps;
mod tls;
mod tls_device;
mod tokens;
mod traces;
mod trust;
mod usage;
mod verifications;
mod webhooks;
mod zipped;

use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use config::{Config, ConfigError};
use error::StartupError;
use logging::LogFormat;

/// Fronts PKCS#11 devices for license verification and signing over HTTPS.
#[derive(Parser)]
#[command(version, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve until SIGTERM or SIGINT.
    Serve {
        /// The site's configuration.
        #[arg(long)]
        config: PathBuf,
        /// Listen here instead of server.http (loopback only; port 0 takes a free one).
        #[arg(long)]
        http: Option<SocketAddr>,
        /// Listen here instead of server.https.
        #[arg(long)]
        https: Option<SocketAddr>,
        /// Log lines as text or JSON, on standard error.
        #[arg(long, value_enum, default_value_t = LogFormat::Text)]
        log: LogFormat,
        /// What to log, such as `info` or `debug,sqlx=warn`.
        #[arg(long, default_value = "info")]
        log_filter: String,
    },
    /// Report every mistake of a configuration with its line; exit code 1 if there is one.
    CheckConfig {
        /// The file.
        file: PathBuf,
    },
    /// Play the national service of registration statuses, for a sandbox and for tests.
    #[cfg(feature = "sandbox")]
    StatusSimulator(simulator::SimulatorArguments),
    /// Make a database for a configuration, or a whole sandbox; what exists is kept.
    Init {
        /// Make the database that this configuration names.
        #[arg(long, required_unless_present = "sandbox", conflicts_with = "sandbox")]
        config: Option<PathBuf>,
        /// Make a sandbox: nine simulated devices, test PKI, sample licenses, three apps.
        #[arg(long, requires = "module")]
        sandbox: bool,
        /// The sandbox's folder.
        #[arg(long, default_value = "data")]
        data: PathBuf,
        /// The simulator's PKCS#11 module (libhsm_sim.so).
        #[arg(long)]
        module: Option<PathBuf>,
        /// The sandbox's HTTP address.
        #[arg(long, default_value = "127.0.0.1:8080")]
        http: SocketAddr,
        /// The sandbox's HTTPS address.
        #[arg(long, default_value = "127.0.0.1:8443")]
        https: SocketAddr,
        /// The sandbox's database: an empty one of PostgreSQL (postgres://USER@HOST/DATABASE) instead of a file.
        #[arg(long, requires = "sandbox")]
        database: Option<String>,
        /// The file with the password for it.
        #[arg(long, requires = "database")]
        database_password_file: Option<PathBuf>,
    },
    /// Show where a sandbox is and how its people sign in: passwords, and the codes that count now.
    #[cfg(feature = "sandbox")]
    Sandbox(cli::SandboxArguments),
    /// See and operate the devices of a running gateway.
    Device(cli::DeviceArguments),
    /// See keys and hold key ceremonies at a running gateway.
    Key(Box<cli::KeyArguments>),
    /// See and change the accounts of people of a running gateway; review who may do what.
    Account(Box<cli::AccountArguments>),
    /// See and change the register of apps of a running gateway; freeze an app under attack.
    App(Box<cli::AppArguments>),
    /// See and decide what waits for a second person at a running gateway.
    Approval(Box<cli::ApprovalArguments>),
    /// See what is on its way from a running gateway to apps, and have it sent again.
    Delivery(cli::DeliveryArguments),
    /// See how far jobs of stamps are at a running gateway, and cancel them.
    StampJob(cli::StampJobArguments),
    /// Incidents (故障事件) of a running gateway: tell of one, take it further, see what came of what was promised.
    Incident(cli::IncidentArguments),
    /// Have a running gateway inspect the site (巡检); see what inspections found.
    Inspect(cli::InspectArguments),
    /// See how often who used what, by a running gateway (应用情况统计).
    Usage(Box<cli::UsageArguments>),
    /// Take the register of entities in from files, give it out, look into it.
    Library(Box<cli::LibraryArguments>),
    /// See and set what apps may sign at a running gateway.
    Policy(Box<cli::PolicyArguments>),
    /// See, make and take back electronic seals at a running gateway.
    Seal(Box<cli::SealArguments>),
    /// See, enter, put to use and end standing mandates of enterprises at a running gateway.
    Mandate(Box<cli::MandateArguments>),
    /// See and set what stamps look like and where they go, for orders that name a template, at a running gateway.
    Template(Box<cli::TemplateArguments>),
    /// See what a query certificate (打印查询证明) certified, at a running gateway.
    QueryCertificate(cli::QueryCertificateArguments),
    /// See how far jobs of query certificates are, and cancel them, at a running gateway.
    QueryCertificateJob(cli::QueryCertificateJobArguments),
    /// See licenses that apps keep as they were shown (执照留档), at a running gateway.
    Retention(cli::RetentionArguments),
    /// Verify, export and show the audit log, with or without a running gateway.
    Audit(cli::AuditArguments),
    /// Change the data key that what a running gateway stores is protected under.
    DataKey(cli::DataKeyArguments),
    /// Have a running gateway read its configuration anew; one with a mistake changes nothing.
    Reload(cli::Target),
    /// Show what a running gateway judges certificates by, and how its sources of revocations are doing.
    Trust(cli::Target),
    /// Judge files offline: exit code 0 all valid, 1 some not, 2 unreadable or wrong usage.
    Verify(offline::VerifyArguments),
    /// Check unified social credit codes (GB 32100), layer by layer.
    Uscc(offline::IdentifierArguments),
    /// Check identifiers of electronic certificates (GB/T 36904), layer by layer.
    CertId(offline::IdentifierArguments),
    /// Internal: one device's worker process.
    #[command(hide = true)]
    HsmWorker {
        /// The device's name, for whoever reads the process list.
        device: String,
    },
    /// Internal: sets up one token.
    #[command(hide = true)]
    HsmProvision,
    /// Internal: loads a library to examine a device.
    #[command(hide = true)]
    HsmProbe,
}

/// Does what the command line says.
pub fn run() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::HsmWorker { .. } => return hsm_driver::worker::run(),
        Command::HsmProvision => return hsm_driver::provision::run(),
        Command::Device(arguments) => return cli::device(arguments),
        Command::Key(arguments) => return cli::key(*arguments),
        Command::Account(arguments) => return cli::account(*arguments),
        Command::App(arguments) => return cli::app(*arguments),
        Command::Approval(arguments) => return cli::approval(*arguments),
        Command::Delivery(arguments) => return cli::delivery(arguments),
        Command::StampJob(arguments) => return cli::stamp_job(arguments),
        Command::Incident(arguments) => return cli::incident(arguments),
        Command::Inspect(arguments) => return cli::inspect(arguments),
        Command::Usage(arguments) => return cli::usage(*arguments),
        Command::Library(arguments) => return cli::library(*arguments),
        Command::Policy(arguments) => return cli::policy(*arguments),
        Command::Seal(arguments) => return cli::seal(*arguments),
        Command::Mandate(arguments) => return cli::mandate(*arguments),
        Command::Template(arguments) => return cli::template(*arguments),
        #[cfg(feature = "sandbox")]
        Command::Sandbox(arguments) => return cli::sandbox(arguments),
        Command::QueryCertificate(arguments) => return cli::query_certificate(arguments),
        Command::QueryCertificateJob(arguments) => return cli::query_certificate_job(arguments),
        Command::Retention(arguments) => return cli::retention(arguments),
        Command::Audit(arguments) => return cli::audit(arguments),
        Command::DataKey(arguments) => return cli::data_key(&arguments),
        Command::Reload(target) => return cli::reload(&target),
        Command::Trust(target) => return cli::trust(&target),
        Command::Verify(arguments) => return offline::verify(arguments),
        Command::Uscc(arguments) => return offline::uscc(arguments),
        Command::CertId(arguments) => return offline::cert_id(arguments),
        Command::HsmProbe => return hsm_driver::probe::run(),
        Command::CheckConfig { file } => {
            Config::load(&file).map(|config| warn_of(&config)).map_err(StartupError::from)
        }
        Command::Serve { config, http, https, log, log_filter } => {
            Config::load(&config).map_err(StartupError::from).and_then(|read| {
                let (slow, _exporting) = logging::start(log, &log_filter, &read)?;
                block_on(serve::serve(config, read, serve::Overrides { http, https }, slow))
            })
        }
        #[cfg(feature = "sandbox")]
        Command::StatusSimulator(arguments) => block_on(simulator::run(arguments)),
        Command::Init { config: Some(config), .. } => Config::load(&config)
            .map_err(StartupError::from)
            .and_then(|read| block_on(create_database(&config, read))),
        Command::Init { data, module, http, https, database, database_password_file, .. } => {
            let database = database.map(|url| (url, database_password_file));
            init_sandbox(data, module, (http, https), database)
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            report(&error);
            ExitCode::FAILURE
        }
    }
}

#[cfg(feature = "sandbox")]
fn init_sandbox(
    data: PathBuf,
    module: Option<PathBuf>,
    (http, https): (SocketAddr, SocketAddr),
    database: Option<(String, Option<PathBuf>)>,
) -> Result<(), StartupError> {
    let module = module.unwrap_or_default();
    let options = init::SandboxOptions { data, module, http, https, database };
    let done = block_on(init::sandbox(&options))?;
    let _ = writeln!(std::io::stdout(), "sandbox {done}: {}", options.data.display()); // a closed pipe is no failure
    Ok(())
}

#[cfg(not(feature = "sandbox"))]
fn init_sandbox(
    data: PathBuf,
    _module: Option<PathBuf>,
    _addresses: (SocketAddr, SocketAddr),
    _database: Option<(String, Option<PathBuf>)>,
) -> Result<(), StartupError> {
    Err(StartupError::file(data, "this build has no sandbox"))
}

/// Makes the database, or brings it up to date. Says on standard error what a gateway would come upon when it starts.
async fn create_database(path: &Path, config: Config) -> Result<(), StartupError> {
    let store = store::Store::create(database::access(&config.database)?).await?;
    let folder = config.folder.join(audit::GUARD);
    let former = store.log_of_another_database(&folder, &config.site.replica).await;
    store.close().await;
    if let Some(log) = former? {
        let _ = writeln!(
            std::io::stderr(),
            "warning: {} is of another database, the one with the audit log {log}. Until an operator says that this database is right \
             no checkpoint is signed, and rows are taken for put back: license-gateway audit adopt --config {} --reason REASON",
            folder.display(),
            path.display(),
        ); // nowhere else to say it
    }
    Ok(())
}

fn block_on<T>(work: impl Future<Output = Result<T, StartupError>>) -> Result<T, StartupError> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(work)
}

/// Says on standard error what a site should not do without.
fn warn_of(config: &Config) {
    if !config.administration.two_person {
        let _ = writeln!(std::io::stderr(), "warning: {}", serve::ONE_PERSON); // nowhere else to say it
    }
    if serve::takes_any_maker(config) {
        let _ = writeln!(std::io::stderr(), "warning: {}", serve::ANY_MAKER); // the same
    }
}

/// Says on standard error what went wrong: for a configuration every mistake, as `FILE:LINE: message`.
fn report(error: &StartupError) {
    let mut stderr = std::io::stderr().lock();
    let said = match error {
        StartupError::Config(ConfigError::Mistakes { path, mistakes }) => {
            mistakes.iter().try_for_each(|mistake| {
                writeln!(stderr, "{}:{}: {}", path.display(), mistake.line, mistake.message)
            })
        }
        StartupError::Unusable(files) => files.iter().try_for_each(|file| writeln!(stderr, "{file}")),
        other => writeln!(stderr, "license-gateway: {}", error::with_causes(other)),
    };
    let _ = said; // nowhere else to say it
}
