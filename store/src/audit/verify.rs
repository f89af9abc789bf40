//! Verification of a whole log, from a database with its archive or from an export: the tree is computed anew from the
//! entries, and what is signed decides. Pure apart from where the entries come from.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use formats::PublicKey;
use serde::Serialize;
use time::format_description::well_known::Rfc3339;
use time::{Duration, OffsetDateTime};

use super::export::{FORMAT, Line, VERSION, parse_line};
use super::tree::{Edge, Hash, TILE, Tile, leaf_hash, root_from_inclusion};
use super::witness::GATEWAY;
use super::{AuditEntry, Note};

/// The action under which the removal of archived ranges is on record.
pub const REMOVAL: &str = "audit.remove";
/// Records of what a gateway did are kept for six months (`audit.retention_days` outside a sandbox).
const SHORTEST_KEPT: Duration = Duration::days(183);

/// What is wrong with a log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Broken {
    /// Stable word: `entry_missing`, `entry_changed`, `entries_differ_from_checkpoint`, `checkpoint_invalid`,
    /// `checkpoint_unreadable`, `signer_not_trusted`, `tile_changed`, `removal_not_recorded`, `removal_too_early`, `archive_changed`,
    /// `archive_missing`, `malformed`.
    pub code: &'static str,
    /// The first entry that is broken, or may be: the one where the trouble begins.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entry: Option<u64>,
    /// The last entry that may be the broken one, where it is not known which of several it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<u64>,
    /// For people.
    pub detail: String,
}

/// A key that signed, and what it is worth.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct JudgedKey {
    /// The key, as the log names it.
    pub name: String,
    /// Whether it is one that the verifier trusts; nothing when he named none.
    pub trusted: Option<bool>,
    /// Why, or whose it is.
    pub detail: String,
}

/// What came out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Verification {
    /// The log's name.
    pub origin: String,
    /// Whether nothing is wrong with it.
    pub intact: bool,
    /// The first entry that was looked at, and the first that was not any more.
    pub from: u64,
    /// See `from`.
    pub until: u64,
    /// Entries whose time was over: known by their hashes.
    pub removed: u64,
    /// Checkpoints with a good signature.
    pub checkpoints: u64,
    /// Heads of this log that other logs of the database have.
    pub witnesses: u64,
    /// Entries that the newest good checkpoint covers.
    pub signed: u64,
    /// Entries after that, which no signature covers.
    pub unsigned: u64,
    /// The first entry that is broken or may be.
    pub first_broken: Option<u64>,
    /// Everything that is wrong, the first broken entry's trouble first.
    pub findings: Vec<Broken>,
    /// Who signed.
    pub keys: Vec<JudgedKey>,
}

/// A key that may sign checkpoints of the log.
pub(crate) struct VerifierKey {
    /// Its number in the log, by which checkpoints name it.
    pub(crate) number: u64,
    /// The key.
    pub(crate) key: PublicKey,
    /// What it is worth.
    pub(crate) judged: JudgedKey,
}

/// Goes through a log entry by entry.
pub(crate) struct Replay {
    origin: String,
    keys: BTreeMap<u64, VerifierKey>,
    edge: Edge,
    /// Good checkpoints that are ahead, the smallest first.
    ahead: VecDeque<(u64, Hash)>,
    /// The tile that the database has for the entries that are being read.
    tile: Option<Vec<Hash>>,
    /// The first entry whose hash is not the one in its tile: which of the two is wrong, a checkpoint says.
    suspect: Option<u64>,
    /// Entries up to here are covered by a checkpoint that held.
    held: u64,
    /// Nothing after a broken entry can be told any more.
    ended: bool,
    removed: u64,
    /// The ranges whose time is said to have been over.
    removed_ranges: BTreeSet<(u64, u64)>,
    /// The ranges that the gateway recorded it was going to remove, and how old their last entries were by then.
    recorded_ranges: BTreeMap<(u64, u64), Option<Duration>>,
    checkpoints: u64,
    witnesses: u64,
    signed: u64,
    findings: Vec<Broken>,
}

impl Replay {
    /// A verification of the log with this name.
    #[must_use]
    pub(crate) fn new(origin: &str, keys: Vec<VerifierKey>) -> Self {
        let mut replay = Self {
            origin: origin.to_owned(),
            keys: BTreeMap::new(),
            edge: Edge::default(),
            ahead: VecDeque::new(),
            tile: None,
            suspect: None,
            held: 0,
            ended: false,
            removed: 0,
            removed_ranges: BTreeSet::new(),
            recorded_ranges: BTreeMap::new(),
            checkpoints: 0,
            witnesses: 0,
            signed: 0,
            findings: Vec::new(),
        };
        for key in keys {
            if key.judged.trusted == Some(false) {
                let detail = format!("key {}: {}", key.judged.name, key.judged.detail);
                replay.find("signer_not_trusted", None, None, detail);
            }
            replay.keys.insert(key.number, key);
        }
        replay
    }

    fn find(&mut self, code: &'static str, entry: Option<u64>, to: Option<u64>, detail: String) {
        self.findings.push(Broken { code, entry, to, detail });
    }

    /// Takes a checkpoint in that covers more entries than the last one; all have to come before the entries they cover.
    /// `signer` is the key that is said to have signed it; a checkpoint that is known from elsewhere may be signed by any
    /// of the log's keys.
    pub(crate) fn checkpoint(&mut self, size: Option<u64>, signer: Option<u64>, note: &str) {
        let note = match Note::parse(note) {
            Ok(note) => note,
            Err(error) => {
                let which =
                    size.map_or_else(|| "a checkpoint".to_owned(), |size| format!("checkpoint {size}"));
                return self.find("checkpoint_unreadable", None, None, format!("{which}: {error}"));
            }
        };
        let named = |number: &u64| signer.is_none_or(|signer| signer == *number);
        let signed = self.keys.iter().any(|(number, key)| named(number) && note.is_signed_by(&key.key));
        if note.origin != self.origin || size.is_some_and(|size| size != note.size) || !signed {
            let why = if note.origin != self.origin {
                "it is another log's"
            } else {
                "its signature does not hold"
            };
            let said = size.unwrap_or(note.size);
            return self.find("checkpoint_invalid", None, None, format!("checkpoint {said}: {why}"));
        }
        self.checkpoints += 1;
        self.signed = self.signed.max(note.size);
        self.expect(note.size, note.root);
    }

    /// Takes a head in that another log has of this one.
    pub(crate) fn witnessed(&mut self, size: u64, root: Hash) {
        self.witnesses += 1;
        self.expect(size, root);
    }

    fn expect(&mut self, size: u64, root: Hash) {
        let place = self.ahead.partition_point(|(ahead, _)| *ahead < size);
        let same = self.ahead.get(place).filter(|(ahead, _)| *ahead == size);
        match same {
            Some((_, other)) if *other != root => {
                let detail = format!("two checkpoints over {size} entries have different roots");
                self.find("checkpoint_invalid", None, None, detail);
            }
            Some(_) => {}
            None => self.ahead.insert(place, (size, root)),
        }
    }

    /// The next entry's place.
    #[must_use]
    pub(crate) fn next(&self) -> u64 {
        self.edge.size()
    }

    /// Whether more entries can tell anything.
    #[must_use]
    pub(crate) fn ended(&self) -> bool {
        self.ended
    }

    /// Whether an entry or its tile is wrong, and it is not known yet which.
    #[must_use]
    pub(crate) fn suspects(&self) -> bool {
        self.suspect.is_some()
    }

    /// A file of the archive was changed. When an entry in it was, the tree has said or will say so.
    pub(crate) fn archive_changed(&mut self, name: &str) {
        if self.suspect.is_none() && !self.ended {
            let detail = format!("{name} in the archive is not as it was written; its entries are");
            self.find("archive_changed", None, None, detail);
        }
    }

    /// What the database has as the tile that begins with the next entry; before every 256th entry.
    pub(crate) fn tile(&mut self, hashes: Option<Vec<Hash>>) {
        self.tile = hashes;
    }

    /// A range whose time is said to have been over; its tiles follow.
    pub(crate) fn removed_range(&mut self, from: u64, until: u64) {
        self.removed_ranges.insert((from, until));
    }

    /// A tile of such a range: only its hashes are left.
    pub(crate) fn removed_tile(&mut self, hashes: &[Hash]) -> Vec<Tile> {
        self.removed += hashes.len() as u64;
        let mut full = Vec::new();
        for hash in hashes {
            full.extend(self.push(*hash));
        }
        full
    }

    /// An entry, in order, with the hash stored beside it if there is one. Answers the tiles that are full now, to be
    /// compared with the database's.
    pub(crate) fn entry(&mut self, index: u64, entry: &[u8], stored_hash: Option<&Hash>) -> Vec<Tile> {
        let expected = self.edge.size();
        if index != expected {
            self.ended = true;
            let what = if index > expected { "is missing" } else { "comes a second time" };
            self.find(
                "entry_missing",
                Some(expected.min(index)),
                None,
                format!("entry {} {what}", expected.min(index)),
            );
            return Vec::new();
        }
        let hash = leaf_hash(entry);
        if stored_hash.is_some_and(|stored| *stored != hash) {
            let tile_agrees = self.in_tile(index).is_none_or(|in_tile| in_tile != hash);
            if tile_agrees {
                self.ended = true;
                let detail = format!("entry {index} was changed: it is not what its hash was made of");
                self.find("entry_changed", Some(index), None, detail);
                return Vec::new();
            }
            let detail = format!("the hash beside entry {index} was changed; the entry was not");
            self.find("entry_changed", Some(index), None, detail);
        } else if self.suspect.is_none() && self.in_tile(index).is_some_and(|in_tile| in_tile != hash) {
            self.suspect = Some(index);
        }
        match serde_json::from_slice::<AuditEntry>(entry) {
            Ok(entry) => self.recorded_ranges.extend(recorded_removal(&entry)),
            Err(_) => {
                self.find("malformed", Some(index), None, format!("entry {index} is not an entry's JSON"))
            }
        }
        self.push(hash)
    }

    fn in_tile(&self, index: u64) -> Option<Hash> {
        let place = usize::try_from(index % TILE).ok()?;
        self.tile.as_ref()?.get(place).copied()
    }

    fn push(&mut self, leaf: Hash) -> Vec<Tile> {
        let mut full = Vec::new();
        self.edge.push(leaf, &mut full);
        while let Some((size, root)) =
            self.ahead.front().copied().filter(|(size, _)| *size <= self.edge.size())
        {
            self.ahead.pop_front();
            if size < self.edge.size() {
                continue;
            }
            if root == self.edge.root() {
                self.held = size;
                if let Some(entry) = self.suspect.take() {
                    let detail = format!(
                        "the tile that holds the hash of entry {entry} was changed; the entry was not"
                    );
                    self.find("tile_changed", None, None, detail);
                    self.tile = None; // it has been named
                }
            } else {
                self.differs_from_checkpoint(size);
                break;
            }
        }
        full
    }

    fn differs_from_checkpoint(&mut self, size: u64) {
        self.ended = true;
        let (first, last) = match self.suspect.take() {
            Some(entry) => (entry, entry),
            None => (self.held, size - 1),
        };
        let which = if first == last {
            format!("entry {first} is")
        } else {
            format!("one of the entries {first} to {last} is")
        };
        let detail = format!("{which} not what the checkpoint over {size} entries was made of");
        let to = (first != last).then_some(last);
        self.find("entries_differ_from_checkpoint", Some(first), to, detail);
    }

    /// Something else that is wrong, such as a file of the archive that was changed.
    pub(crate) fn broken(&mut self, code: &'static str, entry: Option<u64>, detail: String) {
        self.ended |= entry.is_some();
        self.find(code, entry, None, detail);
    }

    /// No more entries come. `known` is how many there have been at some time, by whatever else the database holds.
    #[must_use]
    pub(crate) fn finish(mut self, known: u64) -> Verification {
        let until = self.edge.size();
        let covered = self.signed.max(known);
        if !self.ended {
            if let Some(entry) = self.suspect {
                let detail = format!("entry {entry} is not what its tile was made of");
                self.find("entry_changed", Some(entry), None, detail);
            }
            if covered > until {
                let detail = format!("entries {until} to {} are missing at the end", covered - 1);
                self.find("entry_missing", Some(until), Some(covered - 1), detail);
            }
        }
        if !self.ended {
            for (from, until) in std::mem::take(&mut self.removed_ranges) {
                let last = until - 1;
                match self.recorded_ranges.get(&(from, until)) {
                    None => {
                        let detail = format!("entries {from} to {last} are gone and no entry says why");
                        self.find("removal_not_recorded", Some(from), Some(last), detail);
                    }
                    Some(Some(age)) if *age >= SHORTEST_KEPT => {}
                    Some(age) => {
                        let old = age.map_or_else(
                            || "and no entry says how old they were".to_owned(),
                            |age| format!("and the last was {} days old", age.whole_days()),
                        );
                        let detail = format!("entries {from} to {last} were removed, {old}");
                        self.find("removal_too_early", Some(from), Some(last), detail);
                    }
                }
            }
        }
        // What only another log vouches for, no device of this one's gateway has signed here.
        let signed = self.held.min(self.signed);
        self.findings.sort_by_key(|finding| finding.entry.unwrap_or(u64::MAX));
        Verification {
            origin: self.origin,
            intact: self.findings.is_empty(),
            from: 0,
            until,
            removed: self.removed,
            checkpoints: self.checkpoints,
            witnesses: self.witnesses,
            signed,
            unsigned: until - signed.min(until),
            first_broken: self.findings.iter().find_map(|finding| finding.entry),
            findings: self.findings,
            keys: self.keys.into_values().map(|key| key.judged).collect(),
        }
    }
}

/// What the record says of the removal of entries from one on and before another, the last of which was of a time.
#[must_use]
pub fn removal_subject(from: u64, until: u64, last: OffsetDateTime) -> String {
    format!("{from} before {until}{LAST_OF}{}", last.format(&Rfc3339).unwrap_or_default())
}

const LAST_OF: &str = ", the last of ";

/// The range that an entry says the gateway is going to remove, and how old its last entry was.
fn recorded_removal(entry: &AuditEntry) -> Option<((u64, u64), Option<Duration>)> {
    let intended = entry.action == REMOVAL && entry.outcome == "intended" && entry.actor == GATEWAY;
    let subject = entry.subject.as_deref().filter(|_| intended)?;
    let (range, last) = subject.split_once(LAST_OF).unwrap_or((subject, ""));
    let (from, until) = range.split_once(" before ")?;
    let age = OffsetDateTime::parse(last, &Rfc3339).ok().map(|last| entry.at - last);
    Some(((from.parse().ok()?, until.parse().ok()?), age))
}

/// Verifies an export line by line; `judge` says what a signer's key is worth.
///
/// # Errors
/// The text cannot be read, or is no export of this version.
pub fn verify_export(
    lines: impl Iterator<Item = std::io::Result<String>>,
    judge: &dyn Fn(&str, &PublicKey, &str) -> JudgedKey,
    mut done: impl FnMut(u64, u64),
) -> Result<Verification, ExportUnreadable> {
    let mut lines = (1_u64..).zip(lines).map(|(number, line)| {
        let line = line.map_err(ExportUnreadable::Read)?;
        parse_line(&line).map_err(|error| ExportUnreadable::Line { number, reason: error.to_string() })
    });
    let (origin, from, until, size) = match lines.next().transpose()? {
        Some(Line::Log { format, version: VERSION, origin, from, until, size })
            if format == FORMAT && from <= until && until <= size =>
        {
            (origin, from, until, size)
        }
        _ => return Err(ExportUnreadable::NotAnExport),
    };
    let (mut keys, mut notes, mut entries) =
        (Vec::new(), Vec::new(), Export { from, next: from, ..Export::default() });
    let mut replay: Option<Replay> = None;
    let mut end = None;
    for line in lines {
        match line? {
            Line::Log { .. } => return Err(ExportUnreadable::NotAnExport),
            Line::Signer { number, name, public_key, certificate_chain } => {
                let key =
                    PublicKey::from_pem(&public_key).map_err(|_| ExportUnreadable::Key(name.clone()))?;
                let judged = judge(&name, &key, &certificate_chain);
                keys.push(VerifierKey { number, key, judged });
            }
            Line::Checkpoint { size, signer, note } => notes.push((size, signer, note)),
            Line::Entry { index, entry, proof } => {
                let replay = replay.get_or_insert_with(|| started(&origin, &mut keys, &notes));
                if replay.ended() {
                    continue;
                }
                entries.take(replay, index, &entry, proof.as_deref(), size);
                if entries.next.is_multiple_of(1000) {
                    done(entries.next - from, until - from);
                }
            }
            Line::End { entries } => end = Some(entries),
        }
    }
    let mut replay = replay.unwrap_or_else(|| started(&origin, &mut keys, &notes));
    let found = entries.next - from;
    if !replay.ended() && (end != Some(found) || entries.next != until) {
        replay.broken(
            "entry_missing",
            Some(entries.next),
            format!("entry {} is missing: the file ends early", entries.next),
        );
    }
    Ok(entries.finish(replay, until))
}

fn started(origin: &str, keys: &mut Vec<VerifierKey>, notes: &[(u64, u64, String)]) -> Replay {
    let mut replay = Replay::new(origin, std::mem::take(keys));
    for (size, signer, note) in notes {
        replay.checkpoint(Some(*size), Some(*signer), note);
    }
    replay
}

/// Why a file is no export.
#[derive(Debug, thiserror::Error)]
pub enum ExportUnreadable {
    /// Reading failed.
    #[error("it cannot be read: {0}")]
    Read(std::io::Error),
    /// A line that is none of the format's.
    #[error("line {number}: {reason}")]
    Line {
        /// The line, from 1.
        number: u64,
        /// What is wrong.
        reason: String,
    },
    /// The first line does not say so, or says so again.
    #[error("it is no export of an audit log in version 1")]
    NotAnExport,
    /// A signer's public key.
    #[error("the public key {0} cannot be read")]
    Key(String),
}

/// The entries of an export: replayed from the first entry on, or each by its own proof.
#[derive(Default)]
struct Export {
    from: u64,
    next: u64,
    proved: u64,
}

impl Export {
    fn take(&mut self, replay: &mut Replay, index: u64, entry: &str, proof: Option<&[String]>, size: u64) {
        if index != self.next {
            let missing = self.next.min(index);
            let detail = format!("entry {missing} is missing or not in its place");
            return replay.broken("entry_missing", Some(missing), detail);
        }
        if let Some(proof) = proof {
            let path = proof.iter().map(|hash| decode(hash)).collect::<Option<Vec<_>>>();
            let root =
                path.and_then(|path| root_from_inclusion(&leaf_hash(entry.as_bytes()), index, size, &path));
            let signed = replay.ahead.iter().find(|(covered, _)| *covered == size).map(|(_, root)| *root);
            match (root, signed) {
                (Some(root), Some(signed)) if root == signed => self.proved += 1,
                (_, None) => {
                    let detail =
                        format!("no good checkpoint covers {size} entries, to which the proofs lead");
                    return replay.broken("checkpoint_invalid", Some(index), detail);
                }
                _ => {
                    let detail =
                        format!("entry {index} is not what its proof and the checkpoint were made of");
                    return replay.broken("entry_changed", Some(index), detail);
                }
            }
        } else if self.from == 0 {
            replay.entry(index, entry.as_bytes(), None);
        } else {
            let detail = format!("entry {index} has no proof, and the export does not begin with the log");
            return replay.broken("malformed", Some(index), detail);
        }
        self.next = index + 1;
    }

    /// A range that was proved entry by entry, or replayed to the end.
    fn finish(self, mut replay: Replay, until: u64) -> Verification {
        let all_proved = self.proved > 0 && self.proved == self.next - self.from;
        // Whoever leaves checkpoints and proofs out of an export has proved nothing.
        let reached = all_proved || self.from > 0 || replay.held.min(replay.signed) >= until;
        if !replay.ended && (replay.checkpoints == 0 || !reached) {
            let entry = replay.held.max(self.from);
            let detail = format!("no good checkpoint covers entry {entry} and what follows");
            replay.broken("checkpoint_missing", Some(entry), detail);
        }
        if all_proved || self.from > 0 {
            let signed = replay.signed;
            replay.signed = 0;
            let mut verification = replay.finish(0);
            (verification.from, verification.until) = (self.from, self.next);
            (verification.signed, verification.unsigned) = (signed, 0);
            return verification;
        }
        // Without proofs the checkpoint has to be reached.
        replay.finish(until)
    }
}

fn decode(hash: &str) -> Option<Hash> {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.decode(hash).ok()?.try_into().ok()
}
