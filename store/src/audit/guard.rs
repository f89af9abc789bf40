//! What a gateway knows of its own log outside the database: its name, a secret by which it tells its entries from those that
//! somebody else inserted, and the last checkpoint it signed. Whoever has the database alone can neither read nor change it,
//! nor have another file read in its place: files are named by the replica, which the configuration says.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use hmac::{Hmac, KeyInit, Mac};
use sm3::{Digest as _, Sm3};
use zeroize::Zeroizing;

use super::tree::Hash;
use super::writer::TreeHead;
use crate::StoreError;

/// Octets that name the key at the head of a code.
const NAME: usize = 4;

/// The memory of one log's writer.
pub(crate) struct Guard {
    /// The log that is written, as the database calls it.
    origin: String,
    /// The log that this memory is of.
    own: String,
    key_path: PathBuf,
    key: Zeroizing<[u8; 32]>,
    /// What codes begin with.
    name: [u8; NAME],
    head: PathBuf,
}

/// Whose an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Authorship {
    /// It has this writer's code.
    Own,
    /// It has no code.
    Unknown,
    /// Its code was not made with the key that is here.
    False,
}

impl Guard {
    /// The memory of a replica's log in a folder. Either is made if there is none.
    ///
    /// # Errors
    /// [`StoreError::AuditGuard`].
    pub(crate) fn open(folder: &Path, replica: &str, origin: &str) -> Result<Self, StoreError> {
        let stem = stem(replica);
        let path = folder.join(format!("{stem}.key"));
        let failed = |source| StoreError::AuditGuard { path: path.clone(), source };
        fs::create_dir_all(folder).map_err(failed)?;
        let key = match read_key(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => make_key(folder, &path, origin),
            read => read,
        };
        let (key, own) = key.map_err(failed)?;
        let [a, b, c, d, ..] = finished(mac(&key, &[b"name"]));
        let name = [a, b, c, d];
        let head = folder.join(format!("{stem}.checkpoint"));
        Ok(Self { origin: origin.to_owned(), own, key_path: path, key, name, head })
    }

    /// Why the log that the database names is not the one that this memory is of, if it is not.
    pub(crate) fn is_of_another(&self) -> Option<String> {
        let Self { origin, own, .. } = self;
        (origin != own).then(|| format!("the name {origin} is another log's: this gateway wrote {own}"))
    }

    /// The code of the entry with this place and hash.
    pub(crate) fn code(&self, index: u64, leaf: &Hash) -> Vec<u8> {
        [&self.name[..], &finished(self.over(index, leaf))].concat()
    }

    pub(crate) fn author(&self, index: u64, leaf: &Hash, code: Option<&[u8]>) -> Authorship {
        let Some(code) = code else { return Authorship::Unknown };
        match code.split_first_chunk::<NAME>() {
            Some((name, code)) if *name == self.name && self.over(index, leaf).verify_slice(code).is_ok() => {
                Authorship::Own
            }
            _ => Authorship::False,
        }
    }

    fn over(&self, index: u64, leaf: &Hash) -> Hmac<Sm3> {
        mac(&self.key, &[b"entry", self.origin.as_bytes(), b"\n", &index.to_be_bytes(), leaf])
    }

    /// The last checkpoint that was signed, as far as it was remembered.
    pub(crate) fn remembered(&self) -> Result<Option<String>, StoreError> {
        match fs::read_to_string(&self.head) {
            Ok(note) => Ok(Some(note)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(StoreError::AuditGuard { path: self.head.clone(), source }),
        }
    }

    /// Puts what is remembered of the database, the revisions of rows that were seen and then the checkpoint, into files of
    /// other names, and remembers nothing. Answers the checkpoint's.
    pub(crate) fn set_aside(&self, name: i64) -> Result<Option<PathBuf>, StoreError> {
        let mut aside = None;
        for kind in ["revisions.json", "checkpoint"] {
            let (path, to) =
                (self.head.with_extension(kind), self.head.with_extension(format!("{kind}.adopted-{name}")));
            aside = match fs::rename(&path, &to) {
                Ok(()) => Some(to),
                Err(error) if error.kind() == io::ErrorKind::NotFound => None,
                Err(source) => return Err(StoreError::AuditGuard { path, source }),
            };
        }
        if self.own != self.origin {
            let bound = write_key(&self.key_path, &self.key, &self.origin);
            bound.map_err(|source| StoreError::AuditGuard { path: self.key_path.clone(), source })?;
        }
        Ok(aside)
    }

    /// Remembers the tree that an operator took for this gateway's. It counts where no checkpoint is remembered.
    pub(crate) fn remember_adopted(&self, tree: TreeHead) -> Result<(), StoreError> {
        let path = self.head.with_extension("adopted");
        let text = format!("{} {}\n", tree.size, hex::encode(tree.root));
        write(&path, text.as_bytes()).map_err(|source| StoreError::AuditGuard { path, source })
    }

    /// The tree that an operator took for this gateway's, if one did.
    pub(crate) fn adopted(&self) -> Result<Option<TreeHead>, StoreError> {
        let path = self.head.with_extension("adopted");
        let text = match fs::read_to_string(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            read => read.map_err(|source| StoreError::AuditGuard { path: path.clone(), source })?,
        };
        let read = text.trim_end().split_once(' ').and_then(|(size, root)| {
            let mut tree = TreeHead { size: size.parse().ok()?, root: [0; 32] };
            hex::decode_to_slice(root, &mut tree.root).ok()?;
            Some(tree)
        });
        let source = io::Error::other("it names no tree");
        read.map(Some).ok_or(StoreError::AuditGuard { path, source })
    }

    /// Remembers a checkpoint in place of the one before.
    pub(crate) fn remember(&self, note: &str) -> Result<(), StoreError> {
        let written = write(&self.head.with_extension("new"), note.as_bytes())
            .and_then(|()| fs::rename(self.head.with_extension("new"), &self.head));
        written.map_err(|source| StoreError::AuditGuard { path: self.head.clone(), source })
    }
}

fn mac(key: &[u8; 32], parts: &[&[u8]]) -> Hmac<Sm3> {
    let mut mac =
        <Hmac<Sm3> as KeyInit>::new_from_slice(key).expect("HMAC takes a key of any length (RFC 2104)");
    for part in parts {
        mac.update(part);
    }
    mac
}

fn finished(mac: Hmac<Sm3>) -> Hash {
    mac.finalize().into_bytes().into()
}

/// The log that what is remembered for a replica in a folder is of, if anything is.
///
/// # Errors
/// [`StoreError::AuditGuard`].
pub(crate) fn remembered_log(folder: &Path, replica: &str) -> Result<Option<String>, StoreError> {
    let path = folder.join(format!("{}.key", stem(replica)));
    match read_key(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        read => {
            read.map(|(_, origin)| Some(origin)).map_err(|source| StoreError::AuditGuard { path, source })
        }
    }
}

/// What the files of a replica are called: names of files hold less than names of replicas.
pub(crate) fn stem(replica: &str) -> String {
    let plain = |letter: u8| letter.is_ascii_alphanumeric() || matches!(letter, b'-' | b'_' | b'.');
    if replica.bytes().all(plain) {
        return replica.to_owned();
    }
    format!("~{}", hex::encode(Sm3::digest(replica)))
}

/// The key, and the log that it was made for.
type Kept = (Zeroizing<[u8; 32]>, String);

fn read_key(path: &Path) -> io::Result<Kept> {
    let octets = Zeroizing::new(fs::read(path)?);
    let (key, origin) =
        octets.split_first_chunk::<32>().ok_or_else(|| io::Error::other("it is no key of 32 octets"))?;
    let origin = str::from_utf8(origin).ok().filter(|origin| !origin.is_empty());
    let origin = origin.ok_or_else(|| io::Error::other("it does not say whose key it is"))?;
    Ok((Zeroizing::new(*key), origin.to_owned()))
}

fn make_key(folder: &Path, path: &Path, origin: &str) -> io::Result<Kept> {
    let mut key = Zeroizing::new([0; 32]);
    getrandom::fill(&mut key[..]).map_err(|_| io::Error::other("the system gives no random numbers"))?;
    write_key(path, &key, origin)?;
    fs::File::open(folder)?.sync_all()?;
    Ok((key, origin.to_owned()))
}

/// Whole or not at all: entries are told apart by it from the first one on.
fn write_key(path: &Path, key: &[u8; 32], origin: &str) -> io::Result<()> {
    let new = path.with_extension("key.new");
    write(&new, &Zeroizing::new([&key[..], origin.as_bytes()].concat()))?;
    fs::rename(&new, path)
}

fn write(path: &Path, octets: &[u8]) -> io::Result<()> {
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(octets)?;
    file.sync_data()
}
