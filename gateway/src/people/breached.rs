//! Passwords that are known from breaches: a site's own file of SHA-1 hashes, in the form in which they are published,
//! hexadecimal, one on a line, in order, each with `:` and a count behind it or nothing. It is searched where it lies,
//! because such a list has tens of gigabytes.

use std::cmp::Ordering;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom};
use std::path::Path;

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use zeroize::Zeroizing;

/// Characters of a hash.
const HASH: usize = 40;
/// No line is longer.
const LINE: u64 = 80;

/// Whether the list in a file has a password.
///
/// # Errors
/// The file cannot be read, or is no such list where it was looked at.
pub(super) fn lists(path: &Path, password: &str) -> io::Result<bool> {
    let wanted = digest(&SHA1_FOR_LEGACY_USE_ONLY, password.as_bytes());
    let wanted = Zeroizing::new(hex::encode_upper(wanted.as_ref()));
    let mut file = BufReader::with_capacity(256, File::open(path)?);
    let (mut low, mut high) = (0, file.seek(SeekFrom::End(0))?);
    // What is looked for begins at `low` or behind it, and before `high`; a line begins at `low`.
    while low < high {
        let middle = low + (high - low) / 2;
        let start = if middle == low { low } else { line_after(&mut file, middle - 1)? };
        if start >= high {
            high = middle;
            continue;
        }
        let (hash, next) = line(&mut file, start)?;
        match hash.as_str().cmp(&wanted) {
            Ordering::Equal => return Ok(true),
            Ordering::Less => low = next,
            Ordering::Greater => high = middle,
        }
    }
    Ok(false)
}

/// Where the first line begins behind an octet.
fn line_after(file: &mut BufReader<File>, octet: u64) -> io::Result<u64> {
    file.seek(SeekFrom::Start(octet))?;
    let mut rest = Vec::new();
    let read = file.take(LINE).read_until(b'\n', &mut rest)?;
    Ok(octet + read as u64)
}

/// The hash on the line that begins here, in capitals, and where the next one begins.
fn line(file: &mut BufReader<File>, start: u64) -> io::Result<(String, u64)> {
    file.seek(SeekFrom::Start(start))?;
    let mut text = String::new();
    let read = file.take(LINE).read_line(&mut text)?;
    let line = text.trim_end();
    let hash = line.split_once(':').map_or(line, |(hash, _)| hash);
    if hash.len() == HASH && hash.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return Ok((hash.to_ascii_uppercase(), start + read as u64));
    }
    Err(io::Error::other(format!("no SHA-1 hash in hexadecimal at octet {start}")))
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;

    fn list(passwords: &[String], line: impl Fn(&str) -> String) -> tempfile::NamedTempFile {
        let mut hashes: Vec<_> = passwords
            .iter()
            .map(|password| hex::encode_upper(digest(&SHA1_FOR_LEGACY_USE_ONLY, password.as_bytes())))
            .collect();
        hashes.sort();
        let text = hashes.iter().fold(String::new(), |mut text, hash| {
            let _ = write!(text, "{}", line(hash));
            text
        });
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), text).expect("it is written");
        file
    }

    fn passwords(n: usize) -> Vec<String> {
        (0..n).map(|number| format!("password {number}")).collect()
    }

    #[test]
    fn each_that_is_on_a_list_is_found_and_no_other() {
        for n in [0, 1, 2, 3, 50, 257] {
            let all = passwords(2 * n + 1);
            let (on, off) = all.split_at(n);
            let counted = |hash: &str| format!("{hash}:{}\r\n", hash.len() * usize::from(hash.as_bytes()[3]));
            let files = [
                list(on, |hash| format!("{hash}\n")),
                list(on, counted),
                list(on, |hash| format!("{}\n", hash.to_lowercase())),
            ];
            for file in &files {
                assert!(on.iter().all(|password| lists(file.path(), password).expect("it is a list")), "{n}");
                assert!(
                    !off.iter().any(|password| lists(file.path(), password).expect("it is a list")),
                    "{n}"
                );
            }
        }
        let open_end = list(&passwords(1), str::to_owned);
        assert!(lists(open_end.path(), "password 0").expect("it is a list"), "the last line may have no end");
    }

    #[test]
    fn what_is_no_list_is_an_error() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        for text in ["password\n", "\n\n\n", "5BAA61E4C9B93F3F0682250B6CF8331B7EE68F\n", &"A".repeat(4096)] {
            std::fs::write(file.path(), text).expect("it is written");
            lists(file.path(), "password").expect_err(text);
        }
        lists(Path::new("/nowhere"), "password").expect_err("there is none");
    }
}
