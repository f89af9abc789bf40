//! A folder with license files: by their names, or by a manifest. Nothing outside of it is read, whatever it says.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Component, Path, PathBuf};

use formats::license_file::FileForm;
use formats::uscc::Uscc;
use serde::Deserialize;

use super::rows::{RowFault, Terms};

/// Octets of a line of a manifest.
const LONGEST_LINE: u64 = 16 * 1024;

/// A file that is to be taken in.
pub(super) struct Entry {
    /// How it is called in what is told: its path in the folder.
    pub(super) name: String,
    /// Where it is and what it is said to be; what is wrong with that.
    pub(super) said: Result<Said, RowFault>,
}

/// What a file is said to be.
pub(super) struct Said {
    pub(super) path: PathBuf,
    pub(super) uscc: Uscc,
    pub(super) form: FileForm,
}

/// The files of a folder, one after the other.
pub(super) enum Folder {
    /// By their names, folder by folder.
    Walk { root: PathBuf, waiting: VecDeque<PathBuf>, folders: Vec<PathBuf> },
    /// As a manifest lists them.
    Listed { root: PathBuf, reader: BufReader<File>, line: u64 },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    uscc: String,
    kind: String,
    path: String,
}

impl Folder {
    pub(super) fn open(root: &Path, manifest: Option<&Path>) -> io::Result<Self> {
        let root = root.canonicalize()?;
        Ok(match manifest {
            Some(path) => Self::Listed { root, reader: BufReader::new(File::open(path)?), line: 0 },
            None => Self::Walk { folders: vec![root.clone()], root, waiting: VecDeque::new() },
        })
    }

    /// The next file; none at the end.
    pub(super) fn next(&mut self, terms: Terms) -> io::Result<Option<Entry>> {
        match self {
            Self::Walk { root, waiting, folders } => {
                while waiting.is_empty() {
                    let Some(folder) = folders.pop() else { return Ok(None) };
                    read_folder(&folder, waiting, folders)?;
                }
                let Some(path) = waiting.pop_front() else { return Ok(None) };
                let name = path.strip_prefix(root).unwrap_or(&path).to_string_lossy().into_owned();
                let said = by_name(&path, terms);
                Ok(Some(Entry { name, said }))
            }
            Self::Listed { root, reader, line } => loop {
                let mut text = Vec::new();
                if reader.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut text)? == 0 {
                    return Ok(None);
                }
                *line += 1;
                if text.len() as u64 == LONGEST_LINE && text.last() != Some(&b'\n') {
                    let detail = format!("line {line} of the manifest is longer than any may be");
                    return Err(io::Error::new(io::ErrorKind::InvalidData, detail));
                }
                if !text.trim_ascii().is_empty() {
                    return Ok(Some(by_line(root, &text, *line, terms)));
                }
            },
        }
    }
}

/// Files in the order of their names, without hidden ones; folders for later. Links are not followed.
fn read_folder(folder: &Path, waiting: &mut VecDeque<PathBuf>, folders: &mut Vec<PathBuf>) -> io::Result<()> {
    let mut found: Vec<(PathBuf, bool)> = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if !entry.file_name().as_encoded_bytes().starts_with(b".") {
            found.push((entry.path(), entry.file_type()?.is_dir()));
        }
    }
    found.sort();
    for (path, is_folder) in found {
        if is_folder {
            folders.push(path);
        } else {
            waiting.push_back(path);
        }
    }
    Ok(())
}

/// `91350100M000100Y43.ofd`
fn by_name(path: &Path, terms: Terms) -> Result<Said, RowFault> {
    let form = FileForm::of_name(&text(path.extension()).to_ascii_lowercase());
    let form =
        form.ok_or_else(|| RowFault::new("name", "name_not_understood", "is neither CODE.ofd nor CODE.pdf"))?;
    let uscc = code(text(path.file_stem()), terms)?;
    is_file(path)?;
    Ok(Said { path: path.to_owned(), uscc, form })
}

/// A part of a name; one that is not UTF-8 says nothing.
fn text(part: Option<&OsStr>) -> &str {
    part.and_then(OsStr::to_str).unwrap_or_default()
}

fn by_line(root: &Path, text: &[u8], number: u64, terms: Terms) -> Entry {
    let line: Line = match serde_json::from_slice(text) {
        Ok(line) => line,
        Err(_) => {
            let detail = "is not {\"uscc\", \"kind\", \"path\"}";
            let said = Err(RowFault::new("", "not_understood", detail));
            return Entry { name: format!("line {number}"), said };
        }
    };
    let said = (|| {
        let uscc = code(&line.uscc, terms)?;
        let form = FileForm::of_name(&line.kind)
            .ok_or_else(|| RowFault::new("kind", "invalid_value", "is neither ofd nor pdf"))?;
        let path = inside(root, &line.path)?;
        Ok(Said { path, uscc, form })
    })();
    let shown = line.path.chars().filter(|character| !character.is_control()).take(200);
    Entry { name: shown.collect(), said }
}

fn code(text: &str, terms: Terms) -> Result<Uscc, RowFault> {
    match Uscc::parse_sandbox(text) {
        Ok(uscc) if terms.sandbox || !uscc.is_test() => Ok(uscc),
        Ok(_) => {
            let detail = "test enterprises exist in a sandbox only";
            Err(RowFault::new("uscc", "test_identity_in_production", detail))
        }
        Err(error) => Err(RowFault::new("uscc", "uscc_invalid", error.to_string())),
    }
}

/// A file that lies in the folder, not one that a way leads to from there.
fn inside(root: &Path, text: &str) -> Result<PathBuf, RowFault> {
    let outside = || RowFault::new("path", "path_outside", "does not stay in the folder");
    let path = Path::new(text);
    if text.is_empty() || !path.components().all(|part| matches!(part, Component::Normal(_))) {
        return Err(outside());
    }
    let path = root.join(path);
    let real = path.canonicalize().map_err(|error| unreadable(&error))?;
    if !real.starts_with(root) {
        return Err(outside());
    }
    is_file(&real)?;
    Ok(real)
}

/// Neither a link nor a pipe that nobody writes to.
fn is_file(path: &Path) -> Result<(), RowFault> {
    let found = std::fs::symlink_metadata(path).map_err(|error| unreadable(&error))?;
    if found.is_file() { Ok(()) } else { Err(RowFault::new("path", "not_a_file", "is no file")) }
}

pub(super) fn unreadable(error: &io::Error) -> RowFault {
    RowFault::new("path", "not_readable", error.kind().to_string())
}

#[cfg(test)]
mod tests {
    use time::OffsetDateTime;

    use super::*;

    #[test]
    fn a_manifest_names_files_of_its_folder_only() {
        let (outer, terms) =
            (tempfile::tempdir().unwrap(), Terms { sandbox: false, now: OffsetDateTime::UNIX_EPOCH });
        let root = outer.path().join("files");
        std::fs::create_dir_all(root.join("sub")).unwrap();
        for file in ["files/a.ofd", "files/sub/b.pdf", "secret.ofd"] {
            std::fs::write(outer.path().join(file), "x").unwrap();
        }
        std::os::unix::fs::symlink(outer.path().join("secret.ofd"), root.join("link.ofd")).unwrap();
        std::os::unix::fs::symlink(outer.path(), root.join("way")).unwrap();
        let absolute = outer.path().join("secret.ofd").display().to_string();
        let root = root.canonicalize().unwrap();
        for (path, code) in [
            ("a.ofd", None),
            ("sub/b.pdf", None),
            ("../secret.ofd", Some("path_outside")),
            ("sub/../../secret.ofd", Some("path_outside")),
            (absolute.as_str(), Some("path_outside")),
            ("link.ofd", Some("path_outside")),
            ("way/secret.ofd", Some("path_outside")),
            ("", Some("path_outside")),
            ("sub", Some("not_a_file")),
            ("c.ofd", Some("not_readable")),
            ("a\u{0}.ofd", Some("not_readable")),
        ] {
            let line = serde_json::json!({"uscc": "91350100M000100Y43", "kind": "ofd", "path": path});
            let entry = by_line(&root, line.to_string().as_bytes(), 1, terms);
            assert_eq!(entry.said.err().map(|fault| fault.code), code, "{path:?}");
        }
    }
}
