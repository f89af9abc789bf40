//! `license-gateway init --sandbox`: a whole site on one machine, made of nine simulated devices, a test PKI,
//! sample enterprises and three apps. Made beside its place and moved there in one step, so that a sandbox is
//! whole or absent; an existing one is kept.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use certs_test::{LicenseKind, PrivateParts, SampleLicense, Sandbox, ServiceKey};
use config::{AppId, Config, GroupId, KeyId};
use formats::uscc::Uscc;
use formats::{Certificate, license};
use hsm_driver::provision::{ImportKey, KeyParts, ProvisionError, ProvisionOrder, provision};
use hsm_driver::{Dialect, SecretKind, WorkerCommand};
use serde_json::{Value, json};
use store::{
    App, Contents, EntityRecord, ExistingKey, KeyPurpose, LicenseFile, LicenseFiles, LicenseRecord, Material,
    NewCredential, Store,
};
use thiserror::Error;
use time::OffsetDateTime;
use zeroize::Zeroizing;

use crate::error::StartupError;
use crate::serve::write_whole;
use crate::{database, people};

/// Why there is no sandbox.
#[derive(Debug, Error)]
pub(crate) enum InitError {
    #[error("{} is not empty and holds no sandbox; choose another folder", .0.display())]
    Occupied(PathBuf),
    #[error("no random numbers: {0}")]
    Random(getrandom::Error),
    #[error("test PKI: {0}")]
    Pki(#[from] certs_test::CertsTestError),
    #[error("{0}")]
    Provision(#[from] ProvisionError),
    #[error("sample data: {0}")]
    Sample(#[from] formats::FormatError),
    #[error("name: {0}")]
    Name(#[from] config::NameError),
    #[error("app {0}")]
    App(#[from] config::AppIdError),
}

/// What is wanted.
pub(crate) struct SandboxOptions {
    pub(crate) data: PathBuf,
    /// The simulator's module; copied into the data folder.
    pub(crate) module: PathBuf,
    pub(crate) http: SocketAddr,
    pub(crate) https: SocketAddr,
    /// An empty PostgreSQL database and the file with its password, instead of a SQLite file in the data folder.
    pub(crate) database: Option<(String, Option<PathBuf>)>,
}

/// Seven devices at the bureau and two at the portal, as the real site has.
const DEVICES: [(&str, &str); 9] = [
    ("d1", "bureau"),
    ("d2", "bureau"),
    ("d3", "bureau"),
    ("d4", "bureau"),
    ("d5", "bureau"),
    ("d6", "bureau"),
    ("d7", "bureau"),
    ("d8", "portal"),
    ("d9", "portal"),
];

const KEYS: [(&str, &str, &str, KeyPurpose); 10] = [
    ("demo-sm2", "bureau", "sm2", KeyPurpose::Service),
    ("demo-p256", "bureau", "p256", KeyPurpose::Service),
    ("demo-rsa2048", "bureau", "rsa2048", KeyPurpose::Service),
    ("portal-sm2", "portal", "sm2", KeyPurpose::Service),
    ("front-sm2", "portal", "sm2", KeyPurpose::Front),
    ("sys-audit", "bureau", "sm2", KeyPurpose::Audit),
    ("sys-token", "bureau", "p256", KeyPurpose::Token),
    ("sys-seal", "bureau", "sm2", KeyPurpose::Seal),
    ("sys-tsa", "bureau", "sm2", KeyPurpose::Tsa),
    ("sys-tsa-p256", "bureau", "p256", KeyPurpose::Tsa),
];

/// Makes the sandbox unless it is there; says which.
pub(crate) async fn sandbox(options: &SandboxOptions) -> Result<&'static str, StartupError> {
    let data = std::path::absolute(&options.data)?;
    if data.join("sandbox.json").is_file() {
        // A newer build's simulator replaces the old one; everything else stays.
        copy_module(&options.module, &data)?;
        name_people(&data.join("sandbox.json"))?;
        return Ok("kept");
    }
    if fs::read_dir(&data).is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(InitError::Occupied(data).into());
    }
    let mut name = data.file_name().unwrap_or_default().to_owned();
    name.push(".partial");
    let partial = data.with_file_name(name);
    if partial.exists() {
        fs::remove_dir_all(&partial)?;
    }
    fs::create_dir_all(&partial)?;
    fs::set_permissions(&partial, fs::Permissions::from_mode(0o700))?;
    fill(&partial, &data, options).await?;
    fs::rename(&partial, &data)?;
    Ok("created")
}

/// The secret keys of each group's devices, under which keys travel between them: id, group, algorithm.
const SECRETS: [(&str, &str, &str, SecretKind); 4] = [
    ("sys-kek", "bureau", "aes256", SecretKind::Wrapping),
    ("sys-mac", "bureau", "hmac-sha256", SecretKind::Mac),
    ("portal-kek", "portal", "aes256", SecretKind::Wrapping),
    ("portal-mac", "portal", "hmac-sha256", SecretKind::Mac),
];

/// The secret keys, made in software as everything in a sandbox.
fn secrets() -> Result<Vec<(&'static str, ImportKey)>, InitError> {
    let secret = |(id, group, _, kind): (&str, &'static str, &str, SecretKind)| {
        let mut value = Zeroizing::new(vec![0; 32]);
        getrandom::fill(&mut value).map_err(InitError::Random)?;
        let parts = KeyParts::Secret { value, kind };
        let key =
            ImportKey { label: id.to_owned(), cka_id: id.as_bytes().to_vec(), parts, extractable: true };
        Ok((group, key))
    };
    SECRETS.into_iter().map(secret).collect()
}

async fn fill(folder: &Path, data: &Path, options: &SandboxOptions) -> Result<(), StartupError> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(InitError::Random)?;
    let at = OffsetDateTime::now_utc();
    let sandbox = certs_test::generate(&certs_test::Options { seed, at }).map_err(InitError::from)?;
    sandbox.write_to(&folder.join("pki")).map_err(InitError::from)?;
    fs::create_dir(folder.join("hsm"))?;
    copy_module(&options.module, folder)?;
    let secrets = secrets()?;
    for (number, (device, group)) in DEVICES.iter().enumerate() {
        device_folder(folder, number + 1, (device, group), &sandbox, &secrets)?;
    }
    let file = folder.join("gateway.toml");
    fs::write(&file, configuration(options)?)?;
    let store = Store::create(database::access(&Config::load(&file)?.database)?).await?;
    let apps = register(&store, &sandbox, at).await?;
    add_license_files(&store, &folder.join("license-files"), &sandbox, at).await?;
    let custodians = custodians(&store, at).await?;
    store.close().await;
    let mut description = description(data, options, &sandbox, &apps);
    description["custodians"] = custodians;
    people::sandbox::describe(&mut description).map_err(InitError::Random)?;
    write_whole(&folder.join("sandbox.json"), &description)
}

/// A sandbox of an older build gets its people; the rest of its description stays.
fn name_people(path: &Path) -> Result<(), StartupError> {
    let text = fs::read_to_string(path).map_err(|error| StartupError::file(path, error))?;
    let described = serde_json::from_str(&text).map_err(|error| StartupError::file(path, error));
    let mut description: Value = described?;
    if description.get("console").is_none() {
        people::sandbox::describe(&mut description).map_err(InitError::Random)?;
        write_whole(path, &description)?;
    }
    Ok(())
}

fn copy_module(module: &Path, folder: &Path) -> Result<(), StartupError> {
    let (target, temporary) = (folder.join("hsm/libhsm_sim.so"), folder.join("hsm/libhsm_sim.so.tmp"));
    // Renamed into place: a running worker keeps the file it has mapped.
    fs::copy(module, &temporary).map_err(|error| StartupError::file(module, error))?;
    fs::rename(&temporary, &target).map_err(|error| StartupError::file(&target, error))
}

fn device_folder(
    folder: &Path,
    number: usize,
    (device, group): (&str, &str),
    sandbox: &Sandbox,
    secrets: &[(&str, ImportKey)],
) -> Result<(), StartupError> {
    let home = folder.join("hsm").join(device);
    fs::create_dir(&home)?;
    let serial = format!("SIM{number:06}");
    let simulator = format!(
        "# A simulated device. Breakdowns are commanded by writing fault.toml beside this file.\n\
         store = \"tokens\"\nfault_file = \"fault.toml\"\ndialect = \"standard\"\nsession_limit = 256\n\n\
         [[slot]]\nid = 0\nserial = \"{serial}\"\nmodel = \"SIM-SM2\"\n"
    );
    fs::write(home.join("hsm-sim.toml"), simulator)?;
    let (pin, so_pin) = (digits()?, digits()?);
    write_private(&home.join("pin"), &pin)?;
    write_private(&home.join("so-pin"), &so_pin)?;
    let keys = KEYS.iter().filter(|(_, of, ..)| *of == group);
    let keys =
        keys.filter_map(|(id, ..)| sandbox.services.iter().find(|service| service.id == *id)).map(import);
    let secrets = secrets.iter().filter(|(of, _)| *of == group).map(|(_, key)| key.clone());
    let order = ProvisionOrder {
        module: folder.join("hsm/libhsm_sim.so").display().to_string(),
        serial: Some(serial),
        label: device.to_owned(),
        so_pin: so_pin.to_string(),
        pin: pin.to_string(),
        dialect: Dialect::shipped("standard")?,
        keys: keys.chain(secrets).collect(),
    };
    let command = WorkerCommand {
        program: "/proc/self/exe".into(),
        arguments: vec!["hsm-provision".to_owned()],
        provision: Vec::new(),
    };
    let env = [("HSM_SIM_CONFIG".to_owned(), format!("hsm/{device}/hsm-sim.toml"))].into();
    provision(&command, &env, folder, &order).map_err(InitError::from)?;
    Ok(())
}

fn digits() -> Result<Zeroizing<String>, InitError> {
    let mut octets = [0; 12];
    getrandom::fill(&mut octets).map_err(InitError::Random)?;
    Ok(Zeroizing::new(octets.iter().map(|octet| char::from(b'0' + octet % 10)).collect()))
}

fn write_private(path: &Path, text: &str) -> Result<(), StartupError> {
    use std::io::Write;
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())?;
    Ok(())
}

fn import(service: &ServiceKey) -> ImportKey {
    let curve =
        |scalar: &Zeroizing<[u8; 32]>, public: &[u8; 65]| (Zeroizing::new(scalar.to_vec()), public.to_vec());
    let parts = match &service.private {
        PrivateParts::Sm2 { scalar, public } => {
            let (scalar, point) = curve(scalar, public);
            KeyParts::Sm2 { scalar, point }
        }
        PrivateParts::P256 { scalar, public } => {
            let (scalar, point) = curve(scalar, public);
            KeyParts::P256 { scalar, point }
        }
        PrivateParts::Rsa { n, e, d, p, q, dp, dq, qinv } => KeyParts::Rsa {
            modulus: n.clone(),
            exponent: e.clone(),
            private_exponent: Zeroizing::new(d.clone()),
            crt: Zeroizing::new(vec![p.clone(), q.clone(), dp.clone(), dq.clone(), qinv.clone()]),
        },
    };
    // A device that is replaced gets its keys from the others.
    let extractable = true;
    ImportKey { label: service.id.clone(), cka_id: service.id.clone().into_bytes(), parts, extractable }
}

fn configuration(options: &SandboxOptions) -> std::io::Result<String> {
    let database = match &options.database {
        None => "url = \"sqlite://gateway.db\"\n".to_owned(),
        Some((url, None)) => format!("url = {url:?}\n"),
        Some((url, Some(file))) => {
            format!("url = {url:?}\npassword_file = {:?}\n", std::path::absolute(file)?)
        }
    };
    let mut text = format!(
        "# A sandbox made by `license-gateway init --sandbox`. Test only: its keys are in software, its roots in\n\
         # pki/ are trusted by nobody, and x-api-key is admitted. Paths are relative to this file.\n\n\
         [site]\nname = \"sandbox\"\nsandbox = true\n\n\
         [server]\nhttp = \"{}\"\nhttps = \"{}\"\n\
         tls_certificate = \"pki/tls/chain.pem\"\ntls_key = \"pki/private/tls.pem\"\n\n\
         [database]\n{database}\n\
         [trust]\nanchors = [\"pki/roots/sm2.pem\", \"pki/roots/p256.pem\", \"pki/roots/rsa.pem\", \"pki/roots/license.pem\"]\n\
         license_anchors = [\"pki/roots/license.pem\"]\n\
         intermediates = [\"pki/issuing/sm2.pem\", \"pki/issuing/p256.pem\", \"pki/issuing/rsa.pem\", \"pki/issuing/license.pem\"]\n\
         seal_makers = [\"pki/seals/makers.pem\"]\n\
         crls = [\"pki/crls/sm2.pem\", \"pki/crls/p256.pem\", \"pki/crls/rsa.pem\", \"pki/crls/license.pem\"]\n\n\
         [callers]\nissuer = \"https://{}\"\n\n\
         [compat]\nenabled = true\n\n\
         [[compat.system]]\nsyscode = \"SAIC_YWXT_000001\"\napp = \"sandbox-registration\"\nitem = \"annual-report\"\n\n\
         [[compat.system]]\nsyscode = \"SAIC_YWXT_000002\"\napp = \"sandbox-portal\"\nitem = \"annual-report\"\n\
         fields = [\"name\", \"legal_representative\", \"registration_authority\"]\n\n\
         [query_certificates]\nkey = \"demo-p256\"\nagency = \"沙箱市场监督管理局\"\n\n\
         [archive_packages]\nkey = \"demo-p256\"\n\n\
         [timestamps]\npolicies = [\"1.2.3.4.1\"]\npublic = true\n\n\
         [timestamps.clock]\nrequired = false\n\n\
         [fleet]\noutput_check = \"always\"\n",
        options.http, options.https, options.https,
    );
    for (number, (device, group)) in DEVICES.iter().enumerate() {
        text.push_str(&format!(
            "\n[[device]]\nid = \"{device}\"\ngroup = \"{group}\"\nmodule = \"hsm/libhsm_sim.so\"\n\
             token = \"{device}\"\nserial = \"SIM{:06}\"\npin_file = \"hsm/{device}/pin\"\n\
             so_pin_file = \"hsm/{device}/so-pin\"\ndialect = \"standard\"\n\
             lanes = 4\nenv = {{ HSM_SIM_CONFIG = \"hsm/{device}/hsm-sim.toml\" }}\n",
            number + 1,
        ));
    }
    Ok(text)
}

/// An app and its API key, which only `sandbox.json` knows.
struct SandboxApp {
    id: AppId,
    api_key: Zeroizing<String>,
}

async fn register(
    store: &Store,
    sandbox: &Sandbox,
    at: OffsetDateTime,
) -> Result<Vec<SandboxApp>, StartupError> {
    for (id, group, algorithm, purpose) in KEYS {
        let Some(service) = sandbox.services.iter().find(|service| service.id == id) else { continue };
        let chain = service.chain.iter().map(|der| Certificate::from_der(der).map(|c| c.to_pem()));
        let record = ExistingKey {
            id: KeyId::parse(id).map_err(InitError::from)?,
            group: GroupId::parse(group).map_err(InitError::from)?,
            algorithm: algorithm.to_owned(),
            purpose,
            cka_id: id.as_bytes().to_vec(),
            label: id.to_owned(),
            certificate_chain: chain.collect::<Result<_, _>>().map_err(InitError::from)?,
        };
        store.insert_key(&record, at).await?;
    }
    for (id, group, algorithm, _) in SECRETS {
        let record = ExistingKey {
            id: KeyId::parse(id).map_err(InitError::from)?,
            group: GroupId::parse(group).map_err(InitError::from)?,
            algorithm: algorithm.to_owned(),
            purpose: KeyPurpose::Kek,
            cka_id: id.as_bytes().to_vec(),
            label: id.to_owned(),
            certificate_chain: String::new(),
        };
        store.insert_key(&record, at).await?;
    }
    for sample in &sandbox.licenses {
        register_license(store, sample, at).await?;
    }
    let business = [
        "signatures",
        "verifications",
        "licenses",
        "keys",
        "devices",
        "timestamps",
        "query-certificates",
        "sessions",
    ]
    .as_slice();
    let masked = ["uscc", "name", "legal_representative", "registration_authority", "established"].as_slice();
    let mut apps = Vec::new();
    for (id, name, scopes, fields) in [
        ("sandbox-registration", "网上登记平台（沙箱）", business, ["*"].as_slice()),
        ("sandbox-portal", "政务服务网（沙箱）", business, masked),
        (
            "sandbox-operations",
            "运维（沙箱）",
            ["devices", "audit", "keys", "maintenance", "apps", "accounts", "rights", "policies", "seals"]
                .as_slice(),
            [].as_slice(),
        ),
    ] {
        let is_business = scopes.contains(&"signatures");
        let keys = KEYS.iter().filter(|(.., purpose)| is_business && *purpose == KeyPurpose::Service);
        let mut app = App::new(AppId::parse_registered(id).map_err(InitError::from)?, name);
        app.scopes = scopes.iter().map(|scope| (*scope).to_owned()).collect();
        app.keys =
            keys.map(|(id, ..)| KeyId::parse(id)).collect::<Result<_, _>>().map_err(InitError::from)?;
        app.fields = fields.iter().map(|field| (*field).to_owned()).collect();
        let mut octets = [0; 24];
        getrandom::fill(&mut octets).map_err(InitError::Random)?;
        let api_key = Zeroizing::new(hex::encode(octets));
        let credential = NewCredential {
            id: format!("{id}.api-key"),
            material: Material::of_api_key(&api_key),
            label: "made with the sandbox".to_owned(),
            not_before: at,
            not_after: None,
        };
        store.insert_app(&app, &[credential], at).await?;
        apps.push(SandboxApp { id: app.id, api_key });
    }
    Ok(apps)
}

/// Enters three custodians, of whom two confirm a key ceremony; only `sandbox.json` knows their secrets.
async fn custodians(store: &Store, at: OffsetDateTime) -> Result<Value, StartupError> {
    let mut entered = Vec::new();
    for number in 1..=3 {
        let (name, mut octets) = (format!("custodian-{number}"), [0; 16]);
        getrandom::fill(&mut octets).map_err(InitError::Random)?;
        let secret = Zeroizing::new(hex::encode(octets));
        store.add_custodian(&name, &secret, at).await?;
        entered.push(json!({"name": name, "secret": *secret}));
    }
    Ok(Value::Array(entered))
}

/// Puts the good license files into the library.
async fn add_license_files(
    store: &Store,
    folder: &Path,
    sandbox: &Sandbox,
    at: OffsetDateTime,
) -> Result<(), StartupError> {
    let contents_in = LicenseFiles::folder(folder)?;
    for file in sandbox.license_files.iter().filter(|file| file.defect.is_none()) {
        let Ok(uscc) = Uscc::parse_sandbox(&file.uscc) else { continue };
        let contents = Contents::of(&file.octets);
        contents_in.put(&contents, file.octets.clone()).await?;
        let (form, source) = (file.form, file.file_name());
        let file = LicenseFile { uscc, form, contents, source, added_at: at, removed_at: None };
        store.add_license_files(&[file]).await?;
    }
    Ok(())
}

/// Puts an enterprise and its license into the library. What was tampered with or carries a wrong code never
/// was in any register.
async fn register_license(
    store: &Store,
    sample: &SampleLicense,
    at: OffsetDateTime,
) -> Result<(), StartupError> {
    if matches!(sample.kind, LicenseKind::Tampered | LicenseKind::WrongUscc) {
        return Ok(());
    }
    let certificate = Certificate::from_der(&sample.der).map_err(InitError::from)?;
    let (face, _) = license::face(&certificate).map_err(InitError::from)?;
    let Ok(uscc) = Uscc::parse_sandbox(&sample.uscc) else { return Ok(()) };
    let Ok(Value::Object(mut fields)) = serde_json::to_value(&face) else { return Ok(()) };
    fields.retain(|_, value| !value.is_null());
    let text = |name: &str| fields.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let entity = EntityRecord {
        name: text("name"),
        entity_type: template_name(sample.template).to_owned(),
        status: i64::from(sample.status),
        flags: Vec::new(),
        status_as_of: at,
        face: fields,
        uscc,
    };
    store.upsert_entity(&entity).await?;
    let license = LicenseRecord {
        serial: sample.license_serial.clone(),
        uscc,
        not_before: certificate.not_before(),
        not_after: certificate.not_after(),
        certificate: sample.der.clone(),
        current: true,
    };
    store.insert_license(&license).await?;
    Ok(())
}

/// What the template letters of the samples stand for (attribute 90 of a license).
fn template_name(template: char) -> &'static str {
    match template {
        'A' => "内资公司",
        'B' => "内资非公司企业",
        'C' => "合伙企业",
        _ => "其他",
    }
}

fn description(data: &Path, options: &SandboxOptions, sandbox: &Sandbox, apps: &[SandboxApp]) -> Value {
    let good = sandbox.licenses.iter().filter(|sample| sample.kind == LicenseKind::Good);
    let samples = sandbox.licenses.iter().map(|sample| {
        let file = data.join("pki/licenses").join(format!("{}.pem", sample.file_stem()));
        json!({
            "template": sample.template,
            "kind": sample.kind.name().replace('-', "_"),
            "uscc": sample.uscc,
            "file": file,
        })
    });
    json!({
        "base_url": format!("http://{}", options.http),
        "tls_url": format!("https://{}", options.https),
        "ca_file": data.join("pki/trust/bundle.pem"),
        "apps": apps.iter().map(|app| json!({"id": app.id, "api_key": *app.api_key})).collect::<Vec<_>>(),
        "keys": KEYS.iter().filter(|(.., p)| *p == KeyPurpose::Service).map(|(id, ..)| *id).collect::<Vec<_>>(),
        "licenses": good.map(|sample| sample.uscc.clone()).collect::<Vec<_>>(),
        "samples": samples.collect::<Vec<_>>(),
    })
}
