//! `/v1/audit`: entries, checkpoints and proofs, for reading only.

use std::time::Instant;

use axum::Json;
use axum::extract::State;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use formats::PublicKey;
use serde::{Deserialize, Serialize};
use store::{
    AuditEntry, AuditQuery, LogId, LogRecord, Note, StoreError, StoredCheckpoint, leaf_hash, proof_text,
};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use utoipa::ToSchema;

use super::proving::{hold_together, signed_tree, tree, tree_with};
use crate::auth::bucket::Pace;
use crate::auth::{Authenticated, Scope};
use crate::body::{Faults, QueryOf, Segment};
use crate::error::with_causes;
use crate::problem::{Problem, ProblemDocument};
use crate::state::Gateway;

/// Which entries.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct EntriesQuery {
    from: Option<String>,
    until: Option<String>,
    actor: Option<String>,
    action: Option<String>,
    key: Option<String>,
    outcome: Option<String>,
    subject: Option<String>,
    request_id: Option<String>,
    order: Option<String>,
    cursor: Option<String>,
    limit: Option<u32>,
    log: Option<String>,
}

/// An entry of the audit log.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct EntryItem {
    /// Its place in the log, from 0.
    index: u64,
    /// `{action, actor, at, outcome, request_id, …}`: docs/audit-format.md
    #[serde(flatten)]
    #[schema(value_type = Object)]
    entry: AuditEntry,
}

/// Entries of the audit log.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct EntriesResponse {
    /// The log's name in checkpoints.
    log: String,
    /// What was found; may be fewer than asked for although there are more.
    items: Vec<EntryItem>,
    /// The cursor of the next page; null when this was the last.
    next: Option<String>,
}

/// Entries of the audit log, the newest first. A call looks at 20,000 entries at most: follow `next` until it is null.
#[utoipa::path(
    get, path = "/v1/audit/entries", tag = "audit",
    params(
        ("from" = Option<String>, Query, description = "not before this time, RFC 3339"),
        ("until" = Option<String>, Query, description = "before this time, RFC 3339"),
        ("actor" = Option<String>, Query, description = "by whom"),
        ("action" = Option<String>, Query, description = "what was asked for, such as `signature.raw`; `device.` stands for all that begin so"),
        ("key" = Option<String>, Query, description = "with which key, whatever its version"),
        ("outcome" = Option<String>, Query, description = "`ok` or a problem's code"),
        ("subject" = Option<String>, Query, description = "what it was done to"),
        ("request_id" = Option<String>, Query, description = "under which request"),
        ("order" = Option<String>, Query, description = "`newest` (default) or `oldest` first"),
        ("cursor" = Option<String>, Query, description = "`next` of the page before"),
        ("limit" = Option<u32>, Query, description = "entries on a page, 1 to 1,000; 100 if absent"),
        ("log" = Option<String>, Query, description = "another gateway's log on the same database, by its name"),
    ),
    responses(
        (status = 200, description = "a page", body = EntriesResponse),
        (status = 403, description = "`scope_missing`: needs `audit`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 422, description = "a filter that is none", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn list_entries(
    caller: Authenticated,
    State(gateway): State<Gateway>,
    QueryOf(query): QueryOf<EntriesQuery>,
) -> Result<Json<EntriesResponse>, Problem> {
    caller.with(Scope::Audit)?;
    let log = log_of(&gateway, query.log.as_deref()).await?;
    let page = gateway.store.search_audit(log.id, &query.check()?).await;
    let page = page.map_err(|error| Problem::database(&error))?;
    let items = page.items.into_iter().map(|(index, entry)| EntryItem { index, entry }).collect();
    Ok(Json(EntriesResponse { log: log.origin, items, next: page.next.map(|next| next.to_string()) }))
}

impl EntriesQuery {
    fn check(self) -> Result<AuditQuery, Problem> {
        let mut faults = Faults::default();
        let mut time = |field: &str, text: &Option<String>| {
            let text = text.as_deref()?;
            faults.time(field, Some(text), OffsetDateTime::UNIX_EPOCH)
        };
        let (from, until) = (time("from", &self.from), time("until", &self.until));
        let orders = [("newest", false), ("oldest", true)];
        let oldest_first = faults.word("order", self.order.as_deref(), &orders, false);
        let cursor = self
            .cursor
            .as_deref()
            .and_then(|text| faults.parse("cursor", "invalid_value", text.parse::<u64>()));
        let limit = self.limit.unwrap_or(100);
        if !(1..=1000).contains(&limit) {
            faults.add("limit", "invalid_value", "must be 1 to 1000");
        }
        let oldest_first = faults.into_result(oldest_first)?;
        Ok(AuditQuery {
            from,
            until,
            actor: self.actor,
            action: self.action,
            key: self.key,
            outcome: self.outcome,
            subject: self.subject,
            request_id: self.request_id,
            oldest_first,
            cursor,
            limit,
        })
    }
}

/// The key that signed a checkpoint.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SignerItem {
    /// The key's name in the devices.
    name: String,
    /// PEM.
    public_key: String,
    /// PEM, signer first; empty when it has none.
    certificate_chain: String,
}

/// A signed head of the log.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CheckpointResponse {
    /// The log's name in checkpoints.
    log: String,
    /// Entries that it covers.
    size: u64,
    /// Root over them, base64.
    root: String,
    /// When it was made, RFC 3339.
    at: String,
    /// The signed note: docs/audit-format.md
    note: String,
    signer: SignerItem,
    /// Entries in the log now.
    entries: u64,
    /// Since when the end of the log cannot be signed, RFC 3339; null while it can.
    unsigned_since: Option<String>,
}

/// Which checkpoint.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CheckpointQuery {
    size: Option<u64>,
    log: Option<String>,
}

/// The newest checkpoint, or the first that covers `size` entries.
#[utoipa::path(
    get, path = "/v1/audit/checkpoint", tag = "audit",
    params(
        ("size" = Option<u64>, Query, description = "entries that it has to cover at least"),
        ("log" = Option<String>, Query, description = "another gateway's log on the same database, by its name"),
    ),
    responses(
        (status = 200, description = "the checkpoint with its key", body = CheckpointResponse),
        (status = 404, description = "`checkpoint_missing`: none covers so much yet", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn get_checkpoint(
    caller: Authenticated,
    State(gateway): State<Gateway>,
    QueryOf(query): QueryOf<CheckpointQuery>,
) -> Result<Json<CheckpointResponse>, Problem> {
    caller.with(Scope::Audit)?;
    let log = log_of(&gateway, query.log.as_deref()).await?;
    let found = checkpoint(&gateway, &log, query.size)
        .await?
        .ok_or_else(|| Problem::checkpoint_missing(query.size))?;
    Ok(Json(found))
}

/// How often a caller without the scope `audit` may ask for entries for which a file of the archive has to be read.
const ARCHIVE_READS: Pace = Pace { rate: 0.2, burst: 10.0 };

/// How an entry is shown to be in the log.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct InclusionResponse {
    /// The log's name in checkpoints.
    log: String,
    /// The entry's place.
    index: u64,
    /// The size of the tree that the proof leads to.
    size: u64,
    /// The entry's canonical JSON, octet by octet; null when its time was over.
    entry: Option<String>,
    /// SM3(0x00 ‖ entry), base64.
    leaf_hash: String,
    /// The inclusion proof of RFC 9162, section 2.1.3, base64.
    path: Vec<String>,
    /// The checkpoint over `size` entries; null when another size was asked for.
    checkpoint: Option<CheckpointResponse>,
}

impl InclusionResponse {
    /// The log's name in checkpoints.
    pub(crate) fn log(&self) -> &str {
        &self.log
    }

    /// The entry's place.
    pub(crate) fn index(&self) -> u64 {
        self.index
    }

    /// With the entry that it is about; none if it is about another one.
    pub(crate) fn with_entry(self, entry: &[u8]) -> Option<Self> {
        let is_its = STANDARD.encode(leaf_hash(entry)) == self.leaf_hash;
        is_its.then(|| Self { entry: Some(String::from_utf8_lossy(entry).into_owned()), ..self })
    }
}

/// Show that an entry is in the log. An app without the scope `audit` gets this for entries of its own.
#[utoipa::path(
    get, path = "/v1/audit/proofs/{index}", tag = "audit",
    params(
        ("index" = u64, Path, description = "the entry's place, `audit_index` in answers"),
        ("size" = Option<u64>, Query, description = "the size of the tree to prove it in; that of the newest checkpoint if absent"),
        ("log" = Option<String>, Query, description = "another gateway's log on the same database, by its name"),
    ),
    responses(
        (status = 200, description = "the proof, and the checkpoint it leads to", body = InclusionResponse),
        (status = 429, description = "`rate_limited`: too many entries of the archive, without the scope `audit`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 403, description = "`scope_missing`: it is somebody else's", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 404, description = "`unknown_audit_entry`; `checkpoint_missing`: none covers it yet, which takes a second", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 500, description = "`audit_altered`: the log in the database is not the one that was signed", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn get_inclusion(
    caller: Authenticated,
    State(gateway): State<Gateway>,
    Segment(index): Segment,
    QueryOf(query): QueryOf<CheckpointQuery>,
) -> Result<Json<InclusionResponse>, Problem> {
    let unknown = || Problem::unknown_audit_entry(&index);
    let log = log_of(&gateway, query.log.as_deref()).await?;
    let place: u64 = index.parse().map_err(|_| unknown())?;
    let entry = entry_at(&gateway, &caller, &log, place).await?;
    let own = entry.as_ref().is_some_and(|entry| {
        let read: Option<AuditEntry> = serde_json::from_slice(entry).ok();
        read.is_some_and(|entry| entry.actor == caller.actor())
    });
    if !own {
        caller.using(Scope::Audit, &gateway)?;
    }
    Ok(Json(proved(&gateway, &log, place, query.size, entry).await?))
}

/// The proof, which holds, that the log has an entry, in the tree of `size` entries or of the newest checkpoint.
async fn proved(
    gateway: &Gateway,
    log: &LogRecord,
    place: u64,
    size: Option<u64>,
    entry: Option<Vec<u8>>,
) -> Result<InclusionResponse, Problem> {
    let entries = gateway.store.audit_size(log.id).await.map_err(|error| Problem::database(&error))?;
    if place >= entries {
        return Err(Problem::unknown_audit_entry(&place.to_string()));
    }
    let newest = checkpoint(gateway, log, None).await?;
    let size = match (size, &newest) {
        (Some(size), _) if size <= place || size > entries => return Err(Problem::tree_size(entries)),
        (Some(size), _) => size,
        (None, Some(newest)) if newest.size > place => newest.size,
        (None, _) => return Err(Problem::checkpoint_missing(Some(place + 1))),
    };
    let path = gateway.store.audit_inclusion(log.id, place, size).await;
    let path = path.map_err(|error| Problem::database(&error))?;
    let leaf = match entry.as_deref() {
        Some(entry) => leaf_hash(entry),
        None => gateway.store.audit_leaf(log.id, place).await.map_err(|error| Problem::database(&error))?,
    };
    let included = tree_with(log, &leaf, (place, size), &path)?;
    if let Some(newest) = &newest {
        signed_tree(gateway, log, newest.size, &newest.note).await?.agrees(gateway, log, included).await?;
    }
    Ok(InclusionResponse {
        log: log.origin.clone(),
        index: place,
        size,
        leaf_hash: STANDARD.encode(leaf),
        entry: entry.map(|entry| String::from_utf8_lossy(&entry).into_owned()),
        path: proof_text(&path),
        checkpoint: newest.filter(|newest| newest.size == size),
    })
}

/// The proof that an entry of any log on the database is there, for somebody who may not read it; none before a checkpoint
/// covers it.
pub(crate) async fn proof_of(
    gateway: &Gateway,
    log: LogId,
    place: u64,
) -> Result<Option<InclusionResponse>, Problem> {
    let logs = gateway.store.audit_logs().await.map_err(|error| Problem::database(&error))?;
    let log = logs.into_iter().find(|known| known.id == log);
    let log = log.ok_or_else(|| Problem::unknown_audit_entry(&place.to_string()))?;
    match proved(gateway, &log, place, None, None).await {
        Ok(proof) => Ok(Some(proof)),
        Err(problem) if problem.code() == "checkpoint_missing" => Ok(None),
        Err(problem) => Err(problem),
    }
}

/// Which two trees.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ConsistencyQuery {
    first: u64,
    second: Option<u64>,
    log: Option<String>,
}

/// How a later tree is shown to hold an earlier one unchanged.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ConsistencyResponse {
    /// The log's name in checkpoints.
    log: String,
    /// Size of the earlier tree.
    first: u64,
    /// Size of the later one.
    second: u64,
    /// The consistency proof of RFC 9162, section 2.1.4, base64.
    path: Vec<String>,
    /// The checkpoint over `second` entries; null when another size was asked for.
    checkpoint: Option<CheckpointResponse>,
}

/// Show that the log grew out of what it was.
#[utoipa::path(
    get, path = "/v1/audit/proofs:consistency", tag = "audit",
    params(
        ("first" = u64, Query, description = "the earlier size"),
        ("second" = Option<u64>, Query, description = "the later size; that of the newest checkpoint if absent"),
        ("log" = Option<String>, Query, description = "another gateway's log on the same database, by its name"),
    ),
    responses(
        (status = 200, description = "the proof, and the checkpoint it leads to", body = ConsistencyResponse),
        (status = 404, description = "`checkpoint_missing`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 422, description = "`tree_size`: sizes that do not follow one another or exceed the log", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 500, description = "`audit_altered`: the log in the database is not the one that was signed", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn get_consistency(
    caller: Authenticated,
    State(gateway): State<Gateway>,
    QueryOf(query): QueryOf<ConsistencyQuery>,
) -> Result<Json<ConsistencyResponse>, Problem> {
    caller.with(Scope::Audit)?;
    let log = log_of(&gateway, query.log.as_deref()).await?;
    let newest = checkpoint(&gateway, &log, None).await?;
    let covered = newest.as_ref().map(|newest| newest.size);
    let second = query.second.or(covered).ok_or_else(|| Problem::checkpoint_missing(None))?;
    let entries = gateway.store.audit_size(log.id).await.map_err(|error| Problem::database(&error))?;
    if query.first > second || second > entries {
        return Err(Problem::tree_size(entries));
    }
    let unavailable = |error: StoreError| Problem::database(&error);
    let path = gateway.store.audit_consistency(log.id, query.first, second).await;
    let path = path.map_err(unavailable)?;
    let later = tree(&gateway, &log, second).await?;
    hold_together(&log, tree(&gateway, &log, query.first).await?, later, &path)?;
    if let Some(newest) = &newest {
        signed_tree(&gateway, &log, newest.size, &newest.note).await?.agrees(&gateway, &log, later).await?;
    }
    let path = proof_text(&path);
    let checkpoint = newest.filter(|newest| newest.size == second);
    Ok(Json(ConsistencyResponse { log: log.origin, first: query.first, second, path, checkpoint }))
}

/// This gateway's log, or the one of that name.
async fn log_of(gateway: &Gateway, name: Option<&str>) -> Result<LogRecord, Problem> {
    let Some(name) = name else { return Ok(gateway.audit.record().clone()) };
    let logs = gateway.store.audit_logs().await.map_err(|error| Problem::database(&error))?;
    let found = logs.into_iter().find(|log| log.replica == name || log.origin == name);
    found.ok_or_else(|| Problem::unknown_log(name))
}

/// An entry from the database or the archive. Whose an archived one is says only its file: who may not read all of the
/// log has such files read for him now and then.
async fn entry_at(
    gateway: &Gateway,
    caller: &Authenticated,
    log: &LogRecord,
    index: u64,
) -> Result<Option<Vec<u8>>, Problem> {
    let unavailable = |error: StoreError| Problem::database(&error);
    let found = gateway.store.audit_entry(log.id, index).await.map_err(unavailable)?;
    match (found, &gateway.auditing.archive) {
        (Some(found), _) => Ok(Some(found.entry)),
        (None, None) => Ok(None),
        (None, Some(archive)) => {
            if caller.with(Scope::Audit).is_err()
                && gateway.store.needs_archive_read(log.id, archive, index).await.map_err(unavailable)?
                && let Some(wait) =
                    gateway.callers.archive_reads.take(caller.actor(), ARCHIVE_READS, Instant::now())
            {
                return Err(Problem::too_many_archive_reads(wait));
            }
            let archived = gateway.store.archived_entry(log.id, archive, index).await;
            archived.map_err(|error| Problem::archive_unavailable(with_causes(&error)))
        }
    }
}

async fn checkpoint(
    gateway: &Gateway,
    log: &LogRecord,
    size: Option<u64>,
) -> Result<Option<CheckpointResponse>, Problem> {
    let unavailable = |error: StoreError| Problem::database(&error);
    let found = gateway.store.audit_checkpoint(log.id, size).await.map_err(unavailable)?;
    let Some(StoredCheckpoint { size, at, signer, note }) = found else { return Ok(None) };
    let signers = gateway.store.audit_signers(log.id).await.map_err(unavailable)?;
    let broken =
        |column| unavailable(StoreError::Corrupt { what: "checkpoint", id: size.to_string(), column });
    let signer = signers.into_iter().find(|known| known.number == signer).ok_or_else(|| broken("signer"))?;
    let public_key = PublicKey::from_spki_der(&signer.public_key).map_err(|_| broken("signer"))?;
    let root = Note::parse(&note).map_err(|_| broken("note"))?.root;
    let time = |at: OffsetDateTime| at.format(&Rfc3339).unwrap_or_default();
    let own = log.id == gateway.audit.record().id;
    let unsigned = gateway.auditing.signed.borrow().unsigned.clone().filter(|_| own);
    Ok(Some(CheckpointResponse {
        log: log.origin.clone(),
        size,
        root: STANDARD.encode(root),
        at: time(OffsetDateTime::from_unix_timestamp(at).unwrap_or(OffsetDateTime::UNIX_EPOCH)),
        note,
        signer: SignerItem {
            name: signer.name,
            public_key: public_key.to_pem(),
            certificate_chain: signer.certificate_chain,
        },
        entries: gateway.store.audit_size(log.id).await.map_err(unavailable)?,
        unsigned_since: unsigned.map(|unsigned| time(unsigned.since)),
    }))
}
