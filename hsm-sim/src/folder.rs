//! A token on disk: one folder with `token.toml` and one file per object.
//!
//! Every file is replaced whole: written beside its place, synced, renamed. A crash leaves the old state or the new.

use std::{
    ffi::OsStr,
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
    time::SystemTime,
};

use serde::{Deserialize, Serialize};

use crate::{
    attributes::Attributes,
    error::{Error, Result},
    seal::{PinLock, random},
};

const RECORD: &str = "token.toml";
const EXTENSION: &str = "object";
const MAGIC: &[u8; 8] = b"HSMSIM\x00\x01";

/// What a token knows about itself.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TokenRecord {
    /// The label, without the padding.
    pub(crate) label: String,
    /// Wrong PINs in a row.
    pub(crate) so_failures: u32,
    pub(crate) user_failures: u32,
    pub(crate) so: PinLock,
    pub(crate) user: Option<PinLock>,
}

/// The name of an object's file: 32 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ObjectName(String);

/// An object as stored: attributes anyone may see, and those under the token key.
pub(crate) struct StoredObject {
    pub(crate) clear: Attributes,
    /// Empty when there is nothing to hide.
    pub(crate) sealed: Vec<u8>,
}

/// The folder of one token.
#[derive(Debug)]
pub(crate) struct Folder {
    path: PathBuf,
}

impl ObjectName {
    pub(crate) fn random() -> Result<Self> {
        Ok(Self(hex::encode(random::<16>()?)))
    }

    /// What binds the sealed part to its file.
    pub(crate) fn context(&self) -> &[u8] {
        self.0.as_bytes()
    }

    fn from_path(path: &Path) -> Option<Self> {
        let stem = path.file_stem()?.to_str()?;
        let named = path.extension() == Some(OsStr::new(EXTENSION)) && stem.len() == 32;
        (named && stem.bytes().all(|b| b.is_ascii_hexdigit())).then(|| Self(stem.into()))
    }
}

impl Folder {
    /// Opens the folder, which is made if need be.
    pub(crate) fn open(store: &Path, serial: &str) -> io::Result<Self> {
        let path = store.join(serial);
        fs::create_dir_all(&path)?;
        Ok(Self { path })
    }

    /// The token's record; `None` before initialisation.
    pub(crate) fn record(&self) -> Result<Option<TokenRecord>> {
        match fs::read_to_string(self.path.join(RECORD)) {
            Ok(text) => toml::from_str(&text).map(Some).map_err(|_| Error::DeviceError),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(_) => Err(Error::DeviceError),
        }
    }

    pub(crate) fn write_record(&self, record: &TokenRecord) -> Result<()> {
        let text = toml::to_string(record).map_err(|_| Error::GeneralError)?;
        self.replace(RECORD, text.as_bytes())
    }

    /// When objects last came or went; `None` if the system does not say.
    pub(crate) fn changed(&self) -> Option<SystemTime> {
        fs::metadata(&self.path).and_then(|folder| folder.modified()).ok()
    }

    pub(crate) fn objects(&self) -> Result<Vec<ObjectName>> {
        let entries = fs::read_dir(&self.path).map_err(|_| Error::DeviceError)?;
        let mut names: Vec<_> =
            entries.filter_map(|entry| ObjectName::from_path(&entry.ok()?.path())).collect();
        names.sort();
        Ok(names)
    }

    /// Reads an object; `None` if it is gone or is no object.
    pub(crate) fn read_object(&self, name: &ObjectName) -> Option<StoredObject> {
        let octets = fs::read(self.object_path(name)).ok()?;
        let (len, rest) = octets.strip_prefix(MAGIC)?.split_first_chunk::<4>()?;
        let (clear, sealed) = rest.split_at_checked(u32::from_le_bytes(*len) as usize)?;
        Some(StoredObject { clear: Attributes::decode(clear)?, sealed: sealed.to_vec() })
    }

    pub(crate) fn write_object(&self, name: &ObjectName, object: &StoredObject) -> Result<()> {
        let clear = object.clear.encode();
        let len = u32::try_from(clear.len()).map_err(|_| Error::DataLenRange)?;
        let octets = [MAGIC.as_slice(), &len.to_le_bytes(), &clear, &object.sealed].concat();
        self.replace(&format!("{}.{EXTENSION}", name.0), &octets)
    }

    pub(crate) fn remove_object(&self, name: &ObjectName) -> Result<()> {
        match fs::remove_file(self.object_path(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::DeviceError),
            _ => Ok(()),
        }
    }

    fn object_path(&self, name: &ObjectName) -> PathBuf {
        self.path.join(format!("{}.{EXTENSION}", name.0))
    }

    fn replace(&self, name: &str, octets: &[u8]) -> Result<()> {
        let write = || -> io::Result<()> {
            let beside = self.path.join(format!(".{name}.{}", std::process::id()));
            let mut file = File::create(&beside)?;
            file.write_all(octets)?;
            file.sync_all()?;
            fs::rename(&beside, self.path.join(name))?;
            File::open(&self.path)?.sync_all()
        };
        write().map_err(|_| Error::DeviceError)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_comes_back_as_it_was_stored_and_a_damaged_file_does_not() {
        let store = tempfile::tempdir().unwrap();
        let folder = Folder::open(store.path(), "SIM1").unwrap();
        let name = ObjectName::random().unwrap();
        let mut clear = Attributes::default();
        clear.set(cryptoki_sys::CKA_LABEL, b"label");
        folder.write_object(&name, &StoredObject { clear: clear.clone(), sealed: vec![1, 2, 3] }).unwrap();
        assert_eq!(folder.objects().unwrap(), std::slice::from_ref(&name));
        let again = folder.read_object(&name).unwrap();
        assert!(again.clear == clear && again.sealed == [1, 2, 3]);

        fs::write(folder.object_path(&name), b"HSMSIM\x00\x01\xff\xff\xff\xff").unwrap();
        assert!(folder.read_object(&name).is_none());
        folder.remove_object(&name).unwrap();
        assert_eq!(folder.objects().unwrap(), []);
    }
}
