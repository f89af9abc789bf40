//! Test enterprises: made, changed and taken away at a running sandbox. Each has a license by the sandbox's own authority, an entry in the
//! library and public editions, so that all of the API works with it at once. Their keys lie beside those of the samples.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use certs_test::{CertsTestError, LEGAL_REPRESENTATIVE, LicenseDesk, LicenseTemplate, MadeLicense};
use config::OwnName;
use formats::license_file::FileForm;
use formats::uscc::Uscc;
use formats::{Certificate, license};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use store::{AuditEntry, Contents, EntityRecord, LicenseFile, LicenseRecord};
use time::{Duration, OffsetDateTime};
use tokio::sync::Mutex;

use super::enterprise_form::{Code, EnterpriseRequest, Founding, LicenseState, StandingRequest};
use super::wallet::{admit, certificate_path, key_path};
use crate::auth::Peer;
use crate::body::{JsonBody, Segment};
use crate::pages;
use crate::problem::Problem;
use crate::serve::replace_file;
use crate::state::Gateway;

/// Test enterprises that there are at most at a time.
const MOST: usize = 1000;
/// 注销: what the library says of one that was taken away.
const DEREGISTERED: i64 = 4;

/// Who acts for each of them, by role.
const PEOPLE: [Person; 3] = [
    Person { role: "legal_representative", name: LEGAL_REPRESENTATIVE },
    Person { role: "administrator", name: "测试乙" },
    Person { role: "agent", name: "测试丙" },
];

/// The test enterprises of a folder.
pub(super) struct Enterprises {
    pki: PathBuf,
    /// They are changed one after the other.
    turn: Mutex<()>,
}

/// Somebody who acts for an enterprise.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct Person {
    role: &'static str,
    name: &'static str,
}

/// What is kept of a test enterprise, beside what the library says of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) uscc: String,
    name: String,
    template: char,
    pub(super) license: LicenseState,
    /// Of its current license.
    serial: String,
    #[serde(with = "time::serde::rfc3339")]
    made_at: OffsetDateTime,
    /// Taken away: the library forgets nobody, so its code stays known.
    deleted: bool,
}

/// A test enterprise.
#[derive(Serialize)]
pub(super) struct EnterpriseItem {
    uscc: String,
    name: String,
    template: char,
    template_name: &'static str,
    /// Registration status, as the library has it.
    status: i64,
    flags: Vec<String>,
    license: LicenseItem,
    /// Who acts for it, by role.
    people: [Person; 3],
    files: Vec<FileItem>,
    /// The phone, with this license chosen.
    phone: String,
    #[serde(with = "time::serde::rfc3339")]
    made_at: OffsetDateTime,
}

/// Its license.
#[derive(Serialize)]
struct LicenseItem {
    state: LicenseState,
    serial: String,
    #[serde(with = "time::serde::rfc3339")]
    not_before: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339")]
    not_after: OffsetDateTime,
    /// PEM.
    certificate: String,
}

/// A public edition.
#[derive(Serialize)]
struct FileItem {
    kind: &'static str,
    digest: String,
    octets: u64,
    /// Where apps fetch it.
    path: String,
}

/// All of them.
#[derive(Serialize)]
pub(super) struct EnterpriseList {
    items: Vec<EnterpriseItem>,
}

/// A license and its public editions, not yet anywhere.
struct Issued {
    license: MadeLicense,
    editions: [(FileForm, Vec<u8>); 2],
}

/// Who there is in a folder, the oldest first.
pub(super) fn records(pki: &Path) -> Vec<Record> {
    let Ok(entries) = fs::read_dir(folder(pki)) else { return Vec::new() };
    let texts = entries.flatten().filter_map(|entry| {
        let path = entry.path();
        (path.extension()? == "json").then(|| fs::read(path).ok())?
    });
    let records = texts.filter_map(|text| serde_json::from_slice::<Record>(&text).ok());
    let mut records: Vec<_> = records.filter(|record| !record.deleted).collect();
    records.sort_by(|one, other| (one.made_at, &one.uscc).cmp(&(other.made_at, &other.uscc)));
    records
}

/// Who acts for a test enterprise.
pub(super) fn people() -> [Person; 3] {
    PEOPLE
}

fn folder(pki: &Path) -> PathBuf {
    pki.join("enterprises")
}

/// A sandbox's files that cannot be read or written.
fn unkept(error: &std::io::Error) -> Problem {
    Problem::test_enterprise_broken(error.to_string())
}

/// Why nothing is issued.
fn not_issued(error: &CertsTestError) -> Problem {
    match error {
        CertsTestError::Read { source, .. } if source.kind() == ErrorKind::NotFound => {
            Problem::sandbox_outdated()
        }
        error => Problem::test_enterprise_broken(crate::error::with_causes(error)),
    }
}

/// Does what takes its time beside the threads that serve.
async fn beside<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Problem> + Send + 'static,
) -> Result<T, Problem> {
    tokio::task::spawn_blocking(work).await.map_err(|_| Problem::panicked())?
}

impl Enterprises {
    pub(super) fn of(pki: PathBuf) -> Self {
        Self { pki, turn: Mutex::new(()) }
    }

    fn record_path(&self, uscc: &str) -> PathBuf {
        folder(&self.pki).join(format!("{uscc}.json"))
    }

    /// What is kept of a code, taken away or not.
    fn record(&self, uscc: &Uscc) -> Option<Record> {
        let text = fs::read(self.record_path(uscc.as_str())).ok()?;
        serde_json::from_slice(&text).ok()
    }

    fn known(&self, uscc: &str) -> Result<(Uscc, Record), Problem> {
        let uscc = Uscc::parse_sandbox(uscc).map_err(|_| Problem::unknown_enterprise())?;
        let record = self.record(&uscc).filter(|record| !record.deleted);
        record.map(|record| (uscc, record)).ok_or_else(Problem::unknown_enterprise)
    }

    fn keep(&self, record: &Record) -> Result<(), Problem> {
        let text = serde_json::to_vec_pretty(record).map_err(|_| Problem::panicked())?;
        fs::create_dir_all(folder(&self.pki))
            .and_then(|()| replace_file(&self.record_path(&record.uscc), &text))
            .map_err(|error| unkept(&error))
    }

    /// Makes a license in a state; a revoked one is on the list in force when this is done.
    async fn issue(
        &self,
        gateway: &Gateway,
        (uscc, name): (Uscc, String),
        template: &'static LicenseTemplate,
        state: LicenseState,
    ) -> Result<Issued, Problem> {
        let pki = self.pki.clone();
        let now = OffsetDateTime::now_utc();
        let issued = match state {
            LicenseState::Expired => now - Duration::days(6 * 365),
            LicenseState::Good | LicenseState::Revoked => now - Duration::days(1),
        };
        let made = beside(move || {
            let desk = LicenseDesk::open(&pki).map_err(|error| not_issued(&error))?;
            let made = desk.issue(template, &uscc, &name, issued).and_then(|license| {
                let editions = desk.editions(&license.der, now)?;
                Ok(Issued { license, editions })
            });
            made.map_err(|error| not_issued(&error))
        });
        let made = made.await?;
        if state == LicenseState::Revoked {
            self.revoke(gateway, made.license.serial.clone()).await?;
        }
        Ok(made)
    }

    /// Puts a license on the list and has the list taken over.
    async fn revoke(&self, gateway: &Gateway, serial: String) -> Result<(), Problem> {
        let pki = self.pki.clone();
        beside(move || {
            let revoked =
                LicenseDesk::open(&pki).and_then(|desk| desk.revoke(&serial, OffsetDateTime::now_utc()));
            revoked.map_err(|error| not_issued(&error))
        })
        .await?;
        let actor = OwnName::Gateway.as_str().to_owned();
        gateway.reloads.ask(actor, crate::request_id::current()).await?;
        Ok(())
    }

    /// Puts a license where phones, the library and those who fetch files find it.
    async fn put(
        &self,
        gateway: &Gateway,
        record: &Record,
        issued: Issued,
        (status, flags): (i64, Vec<String>),
    ) -> Result<(), Problem> {
        let at = OffsetDateTime::now_utc();
        let Issued { license: made, editions } = issued;
        // First, so that whatever fails after it can be taken away.
        self.keep(record)?;
        replace_file(&key_path(&self.pki, &record.uscc), made.key.as_bytes())
            .and_then(|()| replace_file(&certificate_path(&self.pki, &record.uscc), &made.der))
            .map_err(|error| unkept(&error))?;
        let uscc = Uscc::parse_sandbox(&record.uscc).map_err(|_| Problem::unknown_enterprise())?;
        let entity = EntityRecord {
            uscc,
            name: record.name.clone(),
            entity_type: template_of(record).name.to_owned(),
            status,
            flags,
            status_as_of: at,
            face: face(&made.der)?,
        };
        let license = LicenseRecord {
            serial: made.serial,
            uscc,
            certificate: made.der,
            not_before: made.not_before,
            not_after: made.not_after,
            current: true,
        };
        let store = &gateway.store;
        let failed = |error: store::StoreError| Problem::database(&error);
        store.upsert_entity(&entity).await.map_err(failed)?;
        store.insert_license(&license).await.map_err(failed)?;
        let mut files = Vec::new();
        for (form, octets) in editions {
            let contents = Contents::of(&octets);
            gateway.license_files.put(&contents, octets).await.map_err(failed)?;
            let source = format!("{uscc}.{}", form.name());
            files.push(LicenseFile { uscc, form, contents, source, added_at: at, removed_at: None });
        }
        store.add_license_files(&files).await.map(drop).map_err(failed)
    }

    async fn item(&self, gateway: &Gateway, record: Record) -> Result<EnterpriseItem, Problem> {
        let uscc = Uscc::parse_sandbox(&record.uscc).map_err(|_| Problem::unknown_enterprise())?;
        let failed = |error: store::StoreError| Problem::database(&error);
        let half = || Problem::test_enterprise_broken(format!("{uscc} was made by half: take it away"));
        let entity = gateway.store.entity(&uscc).await.map_err(failed)?.ok_or_else(half)?;
        let license = gateway.store.license_by_serial(&record.serial).await.map_err(failed)?;
        let license = license.ok_or_else(half)?;
        let certificate = Certificate::from_der(&license.certificate).map_err(|_| half())?;
        let mut files: Vec<FileItem> = Vec::new();
        for LicenseFile { form, contents, .. } in gateway.store.license_files(&uscc).await.map_err(failed)? {
            if files.iter().all(|known| known.kind != form.name()) {
                files.push(FileItem {
                    kind: form.name(),
                    digest: contents.name(),
                    octets: contents.octets,
                    path: format!("/v1/licenses/{uscc}/files/{}", form.name()),
                });
            }
        }
        Ok(EnterpriseItem {
            name: record.name.clone(),
            template: record.template,
            template_name: template_of(&record).name,
            status: entity.status,
            flags: entity.flags,
            license: LicenseItem {
                state: record.license,
                serial: record.serial,
                not_before: license.not_before,
                not_after: license.not_after,
                certificate: certificate.to_pem(),
            },
            people: PEOPLE,
            files,
            phone: format!("/sandbox/phone?license={uscc}"),
            made_at: record.made_at,
            uscc: record.uscc,
        })
    }
}

/// The template of a record; each was written with one.
fn template_of(record: &Record) -> &'static LicenseTemplate {
    LicenseTemplate::of(&record.template.to_string()).unwrap_or(&LicenseTemplate::ALL[0])
}

/// A license's face as the library has it.
fn face(der: &[u8]) -> Result<Map<String, Value>, Problem> {
    let face = Certificate::from_der(der).and_then(|certificate| license::face(&certificate));
    let (face, _) = face.map_err(|error| Problem::test_enterprise_broken(error.to_string()))?;
    match serde_json::to_value(&face) {
        Ok(Value::Object(mut fields)) => {
            fields.retain(|_, value| !value.is_null());
            Ok(fields)
        }
        _ => Err(Problem::panicked()),
    }
}

/// Puts on record what was done to an enterprise.
async fn record_act(gateway: &Gateway, action: &str, uscc: &str) -> Result<(), Problem> {
    let entry = AuditEntry {
        action: action.to_owned(),
        actor: OwnName::Gateway.as_str().to_owned(),
        at: OffsetDateTime::now_utc(),
        device: None,
        input_digest: None,
        key: None,
        outcome: "ok".to_owned(),
        request_id: crate::request_id::current(),
        result_digest: None,
        subject: Some(uscc.to_owned()),
    };
    gateway.audit.append(entry).await.map(drop).map_err(|error| Problem::database(&error))
}

/// The page for browsers, the list for programs.
pub(super) async fn list(
    Extension(desk): Extension<Arc<Enterprises>>,
    State(gateway): State<Gateway>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let accepted = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let mut response = match accepted.contains("text/html") {
        true => pages::file(super::FILES, super::POLICY, "enterprises.html", &headers),
        false => {
            // Nobody is half made meanwhile.
            let _turn = desk.turn.lock().await;
            let mut items = Vec::new();
            for record in records(&desk.pki) {
                let uscc = record.uscc.clone();
                match desk.item(&gateway, record).await {
                    Ok(item) => items.push(item),
                    // One that stayed half made keeps the others from nobody.
                    Err(problem) if problem.code() == "test_enterprise_broken" => {
                        tracing::warn!(uscc, "a test enterprise was made by half; take it away");
                    }
                    Err(problem) => return Err(problem),
                }
            }
            Json(EnterpriseList { items }).into_response()
        }
    };
    response.headers_mut().insert(header::VARY, HeaderValue::from_static("accept"));
    Ok(response)
}

pub(super) async fn get(
    Extension(desk): Extension<Arc<Enterprises>>,
    State(gateway): State<Gateway>,
    Segment(uscc): Segment,
) -> Result<Json<EnterpriseItem>, Problem> {
    let (_, record) = desk.known(&uscc)?;
    desk.item(&gateway, record).await.map(Json)
}

pub(super) async fn make(
    Extension(desk): Extension<Arc<Enterprises>>,
    Extension(peer): Extension<Peer>,
    State(gateway): State<Gateway>,
    JsonBody(request): JsonBody<EnterpriseRequest>,
) -> Result<Response, Problem> {
    admit(&peer)?;
    let Founding { code, name, template, status, flags, license } = request.check()?;
    let _turn = desk.turn.lock().await;
    if records(&desk.pki).len() >= MOST {
        return Err(Problem::too_many_enterprises(MOST));
    }
    let uscc = match code {
        Code::Given(uscc) => uscc,
        Code::DrawnValid => template.draw_code().map_err(|error| not_issued(&error))?,
        Code::DrawnTest => {
            let drawn = format!("ZZJGD{:013}", fastrand::u64(..10_000_000_000_000));
            Uscc::parse_sandbox(&drawn).map_err(|_| Problem::panicked())?
        }
    };
    // One of the library's own is nobody's to be made or taken away here.
    let is_known = match desk.record(&uscc) {
        Some(before) => !before.deleted,
        None => gateway.store.entity(&uscc).await.map_err(|error| Problem::database(&error))?.is_some(),
    };
    if is_known {
        return Err(Problem::enterprise_exists());
    }
    let name = name.unwrap_or_else(|| template.name_for(&uscc));
    let issued = desk.issue(&gateway, (uscc, name.clone()), template, license).await?;
    let record = Record {
        uscc: uscc.to_string(),
        name,
        template: template.letter,
        license,
        serial: issued.license.serial.clone(),
        made_at: OffsetDateTime::now_utc().replace_nanosecond(0).map_err(|_| Problem::panicked())?,
        deleted: false,
    };
    desk.put(&gateway, &record, issued, (status, flags)).await?;
    record_act(&gateway, "sandbox.enterprise.make", &record.uscc).await?;
    let item = desk.item(&gateway, record).await?;
    Ok((StatusCode::CREATED, Json(item)).into_response())
}

pub(super) async fn change(
    Extension(desk): Extension<Arc<Enterprises>>,
    Extension(peer): Extension<Peer>,
    State(gateway): State<Gateway>,
    Segment(uscc): Segment,
    JsonBody(request): JsonBody<StandingRequest>,
) -> Result<Json<EnterpriseItem>, Problem> {
    admit(&peer)?;
    let wanted = request.check()?;
    let _turn = desk.turn.lock().await;
    let (uscc, mut record) = desk.known(&uscc)?;
    let entity = gateway.store.entity(&uscc).await.map_err(|error| Problem::database(&error))?;
    let mut entity = entity.ok_or_else(Problem::unknown_enterprise)?;
    entity.status = wanted.status.unwrap_or(entity.status);
    entity.flags = wanted.flags.unwrap_or(entity.flags);
    match wanted.license.filter(|state| *state != record.license) {
        None => {
            entity.status_as_of = OffsetDateTime::now_utc();
            gateway.store.upsert_entity(&entity).await.map_err(|error| Problem::database(&error))?;
        }
        Some(LicenseState::Revoked) => {
            desk.revoke(&gateway, record.serial.clone()).await?;
            record.license = LicenseState::Revoked;
            desk.keep(&record)?;
            entity.status_as_of = OffsetDateTime::now_utc();
            gateway.store.upsert_entity(&entity).await.map_err(|error| Problem::database(&error))?;
        }
        Some(state) => {
            let whose = (uscc, record.name.clone());
            let issued = desk.issue(&gateway, whose, template_of(&record), state).await?;
            record.license = state;
            record.serial.clone_from(&issued.license.serial);
            desk.put(&gateway, &record, issued, (entity.status, entity.flags)).await?;
        }
    }
    record_act(&gateway, "sandbox.enterprise.change", &record.uscc).await?;
    desk.item(&gateway, record).await.map(Json)
}

/// Takes an enterprise away: its key is destroyed and its files are delivered no more. The library forgets nobody: there it is deregistered.
pub(super) async fn remove(
    Extension(desk): Extension<Arc<Enterprises>>,
    Extension(peer): Extension<Peer>,
    State(gateway): State<Gateway>,
    Segment(uscc): Segment,
) -> Result<StatusCode, Problem> {
    admit(&peer)?;
    let _turn = desk.turn.lock().await;
    let (uscc, record) = desk.known(&uscc)?;
    for path in [key_path(&desk.pki, &record.uscc), certificate_path(&desk.pki, &record.uscc)] {
        match fs::remove_file(path) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(unkept(&error)),
            _ => {}
        }
    }
    let now = OffsetDateTime::now_utc();
    let failed = |error: store::StoreError| Problem::database(&error);
    for file in gateway.store.license_files(&uscc).await.map_err(failed)? {
        gateway.store.remove_license_file(&file.contents.digest, now).await.map_err(failed)?;
    }
    if let Some(entity) = gateway.store.entity(&uscc).await.map_err(failed)? {
        let ended = EntityRecord { status: DEREGISTERED, flags: Vec::new(), status_as_of: now, ..entity };
        gateway.store.upsert_entity(&ended).await.map_err(failed)?;
    }
    desk.keep(&Record { deleted: true, ..record })?;
    record_act(&gateway, "sandbox.enterprise.remove", uscc.as_str()).await?;
    Ok(StatusCode::NO_CONTENT)
}
