//! The container: a ZIP archive, opened only if every reader understands it alike.
//!
//! Memory: names and places of the entries, and one part at a time of at most [`MAX_PART`] octets; digests are made
//! streaming.

use std::collections::HashMap;
use std::io::{Cursor, Read};

use zip::result::ZipError;
use zip::{CompressionMethod, ZipArchive};

use super::error::OfdError;
use crate::scheme::{HashAlgorithm, Hasher};

/// The most entries.
pub const MAX_ENTRIES: usize = 20_000;
/// The most octets of one part, unpacked.
pub const MAX_PART: u64 = 128 << 20;
/// The most octets of all parts together, unpacked.
pub const MAX_TOTAL: u64 = 512 << 20;
/// How many times larger than packed a part may be, if it is larger than [`RATIO_FROM`].
pub const MAX_RATIO: u64 = 200;
/// Parts up to so many octets may have any ratio: a page of blanks packs well.
pub const RATIO_FROM: u64 = 4 << 20;
/// The most octets of a name.
const MAX_NAME: usize = 1_024;
/// The most octets of a location: a name with steps that lead to it.
pub(super) const MAX_LOCATION: usize = 4 * MAX_NAME;

type Archive<'a> = ZipArchive<Cursor<&'a [u8]>>;

/// An open package.
#[derive(Clone, Debug)]
pub struct Package<'a> {
    archive: Archive<'a>,
    /// Files by name, folders left out.
    places: HashMap<String, usize>,
    /// In the order of the archive.
    names: Vec<String>,
}

impl<'a> Package<'a> {
    /// Opens a package and looks at every entry's name, place, size and flags; nothing is unpacked yet.
    ///
    /// # Errors
    /// [`OfdError`], by what is wrong.
    pub fn open(octets: &'a [u8]) -> Result<Self, OfdError> {
        let mut archive = ZipArchive::new(Cursor::new(octets)).map_err(|error| package(&error))?;
        if archive.offset() != 0 {
            return Err(OfdError::Package("octets stand before the archive".to_owned()));
        }
        // What stands behind the end record may be another archive to another reader.
        let end = octets.len().checked_sub(22 + archive.comment().len());
        if !end.is_some_and(|end| octets[end..].starts_with(b"PK\x05\x06")) {
            return Err(OfdError::Package("octets stand behind the archive".to_owned()));
        }
        if archive.len() > MAX_ENTRIES {
            return Err(OfdError::TooLarge(format!("more than {MAX_ENTRIES} entries")));
        }
        if archive.has_duplicate_names() {
            return Err(OfdError::DuplicateEntry("(an entry of the directory)".to_owned()));
        }
        let (mut places, mut names, mut folded) = (HashMap::new(), Vec::new(), HashMap::new());
        let mut total = 0;
        for place in 0..archive.len() {
            let entry = archive.by_index_data(place).map_err(|error| package(&error))?;
            let name = name(entry.name_raw())?;
            if entry.encrypted() {
                return Err(OfdError::Encrypted(name));
            }
            if entry.is_symlink() {
                return Err(OfdError::UnsafePath(format!("{name} (a symbolic link)")));
            }
            if !matches!(entry.compression(), CompressionMethod::Stored | CompressionMethod::Deflated) {
                let reason = format!("{name} is packed by another method than deflate");
                return Err(OfdError::Package(reason));
            }
            let (size, packed) = (entry.size(), entry.compressed_size());
            total = bounded(&name, size, packed, total)?;
            let folder = name.ends_with('/');
            let bare = name.strip_suffix('/').unwrap_or(&name).to_owned();
            if let Some(other) = folded.insert(bare.to_lowercase(), bare.clone()) {
                return Err(OfdError::DuplicateEntry(other));
            }
            match folder {
                true if size > 0 => return Err(OfdError::Package(format!("the folder {name} has content"))),
                true => {}
                false => {
                    places.insert(bare.clone(), place);
                    names.push(bare);
                }
            }
        }
        // Local headers that say something else, entries over one another, entries outside of the directory.
        archive.validate_header_consistency().map_err(|error| package(&error))?;
        Ok(Self { archive, places, names })
    }

    /// The files in it, in the order of the archive.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(String::as_str)
    }

    /// How many entries it has, folders too.
    #[must_use]
    pub fn entries(&self) -> usize {
        self.archive.len()
    }

    /// Is there such a file?
    pub fn has(&self, name: &str) -> bool {
        self.places.contains_key(name)
    }

    /// A part, unpacked.
    ///
    /// # Errors
    /// [`OfdError::PartMissing`]; [`OfdError::Package`] if it does not unpack to what the directory says.
    pub fn read(&self, name: &str) -> Result<Vec<u8>, OfdError> {
        let mut octets = Vec::new();
        self.stream(name, |piece| octets.extend_from_slice(piece))?;
        Ok(octets)
    }

    /// How many octets a part has unpacked, as the directory says.
    #[must_use]
    pub fn octets(&self, name: &str) -> Option<u64> {
        let entry = self.archive.by_index_data(*self.places.get(name)?).ok()?;
        Some(entry.size())
    }

    /// A part of so many octets at most.
    ///
    /// # Errors
    /// [`OfdError::TooLarge`]; as [`read`](Self::read).
    pub fn read_up_to(&self, name: &str, most: u64) -> Result<Vec<u8>, OfdError> {
        let place = *self.places.get(name).ok_or_else(|| OfdError::PartMissing(name.to_owned()))?;
        let entry = self.archive.by_index_data(place).map_err(|error| OfdError::part(name, error))?;
        match entry.size() {
            size if size > most => Err(OfdError::TooLarge(format!("{name} has more than {most} octets"))),
            _ => self.read(name),
        }
    }

    /// The first octets of a part.
    pub(super) fn head(&self, name: &str) -> Result<Vec<u8>, OfdError> {
        const HEAD: u64 = 256;
        let place = *self.places.get(name).ok_or_else(|| OfdError::PartMissing(name.to_owned()))?;
        let mut archive = self.archive.clone();
        let entry = archive.by_index(place).map_err(|error| OfdError::part(name, error))?;
        let mut octets = Vec::new();
        entry.take(HEAD).read_to_end(&mut octets).map_err(|error| OfdError::part(name, error))?;
        Ok(octets)
    }

    /// The digest of a part, made streaming.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn digest(&self, name: &str, hash: HashAlgorithm) -> Result<Vec<u8>, OfdError> {
        let mut hasher = Hasher::new(hash);
        self.stream(name, |piece| hasher.update(piece))?;
        Ok(hasher.finish())
    }

    fn stream(&self, name: &str, mut take: impl FnMut(&[u8])) -> Result<(), OfdError> {
        let place = *self.places.get(name).ok_or_else(|| OfdError::PartMissing(name.to_owned()))?;
        let mut archive = self.archive.clone(); // shares the directory and has a position of its own
        let failed = |reason: &dyn std::fmt::Display| OfdError::part(name, reason);
        let entry = archive.by_index(place).map_err(|error| failed(&error))?;
        let size = entry.size();
        let mut rest = entry.take(size + 1);
        let (mut buffer, mut seen) = ([0; 16 << 10], 0);
        loop {
            let count = rest.read(&mut buffer).map_err(|error| failed(&error))?;
            if count == 0 {
                break;
            }
            seen += count as u64;
            if seen > size {
                return Err(failed(&"it unpacks to more than the directory says"));
            }
            take(&buffer[..count]);
        }
        if seen != size {
            return Err(failed(&"it unpacks to less than the directory says"));
        }
        Ok(())
    }

    pub(super) fn archive(&self) -> Archive<'a> {
        self.archive.clone()
    }
}

fn package(error: &ZipError) -> OfdError {
    match error {
        ZipError::InvalidArchive(reason) if reason.contains("duplicate file names") => {
            OfdError::DuplicateEntry("(an entry of the directory)".to_owned())
        }
        _ => OfdError::Package(error.to_string()),
    }
}

/// The sum of sizes with this one.
fn bounded(name: &str, size: u64, packed: u64, total: u64) -> Result<u64, OfdError> {
    if size > MAX_PART {
        return Err(OfdError::TooLarge(format!("{name} has more than {MAX_PART} octets")));
    }
    if size > RATIO_FROM && size / packed.max(1) > MAX_RATIO {
        return Err(OfdError::TooLarge(format!("{name} is packed more than {MAX_RATIO} times")));
    }
    match total + size {
        total if total > MAX_TOTAL => Err(OfdError::TooLarge(format!("more than {MAX_TOTAL} octets"))),
        total => Ok(total),
    }
}

/// UTF-8, relative, without steps up or on the spot, and nothing that a system reads as something else.
fn name(raw: &[u8]) -> Result<String, OfdError> {
    let refused = || OfdError::UnsafePath(String::from_utf8_lossy(raw).into_owned());
    let name = std::str::from_utf8(raw).map_err(|_| refused())?;
    let parts = name.strip_suffix('/').unwrap_or(name).split('/');
    let good = |part: &str| !part.is_empty() && part != "." && part != "..";
    let odd = |c: char| c.is_control() || c == '\\' || c == ':';
    if raw.len() > MAX_NAME || name.contains(odd) || !parts.clone().all(good) {
        return Err(refused());
    }
    Ok(name.to_owned())
}

/// Where a location (GB/T 33190, 7.3: `ST_Loc`) in the part `from` points: from the root if it begins with a slash,
/// from the folder of that part otherwise. None for what leads out of the package, and for what is longer than any
/// location.
pub fn resolve(from: &str, location: &str) -> Option<String> {
    let location = location.trim();
    if location.len() > MAX_LOCATION {
        return None;
    }
    let mut parts: Vec<&str> = match location.strip_prefix('/') {
        Some(_) => Vec::new(),
        None => {
            from.split('/').collect::<Vec<_>>().split_last().map_or(Vec::new(), |(_, folder)| folder.to_vec())
        }
    };
    for part in location.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    Some(parts.join("/")).filter(|path| !path.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations_are_resolved_within_the_package() {
        let resolved = |location: &str| resolve("Doc_0/Signs/Sign_0/Signature.xml", location);
        assert_eq!(resolved("/OFD.xml").as_deref(), Some("OFD.xml"));
        assert_eq!(resolved("Seal.esl").as_deref(), Some("Doc_0/Signs/Sign_0/Seal.esl"));
        assert_eq!(resolved("./Seal.esl").as_deref(), Some("Doc_0/Signs/Sign_0/Seal.esl"));
        assert_eq!(resolved("../../Document.xml").as_deref(), Some("Doc_0/Document.xml"));
        assert_eq!(resolved("../../../../etc/passwd"), None);
        assert_eq!(resolved("/../OFD.xml"), None);
        let steps = |count: usize| resolved(&format!("{}Seal.esl", "./".repeat(count)));
        assert_eq!(steps(2_000).as_deref(), Some("Doc_0/Signs/Sign_0/Seal.esl"));
        assert_eq!(steps(3_000), None);
        assert_eq!(resolved(""), Some("Doc_0/Signs/Sign_0".to_owned()));
    }

    #[test]
    fn names_that_readers_take_differently_are_refused() {
        for refused in ["", "/OFD.xml", "a//b", "a/../b", "./a", "a\\b", "C:a", "a\0", "\u{7f}"] {
            assert!(matches!(name(refused.as_bytes()), Err(OfdError::UnsafePath(_))), "{refused:?}");
        }
        assert!(name(&[0xce, 0xc4]).is_err());
        assert_eq!(name("Doc_0/公文.xml".as_bytes()).as_deref(), Ok("Doc_0/公文.xml"));
    }
}
