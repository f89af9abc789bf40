//! Which parts make up what a reader shows: those that OFD.xml leads to, its lists of signatures apart.

use std::collections::{BTreeSet, HashSet};

use encoding_rs::UTF_8;

use super::document::{Deviations, ROOT};
use super::error::OfdError;
use super::package::{MAX_LOCATION, Package, resolve};
use super::xml::{self, Step};

/// The parts that must be covered by every signature, and those in which places could not be looked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Shown {
    pub(super) parts: BTreeSet<String>,
    pub(super) unreadable: Vec<String>,
}

/// Follows every text and attribute that names a part of the package, whatever its element is called: vendors have
/// elements of their own, and one place too many does no harm.
pub(super) fn shown(
    package: &Package<'_>,
    signature_lists: &[String],
    deviations: &mut Deviations,
) -> Result<Shown, OfdError> {
    let mut shown = Shown::default();
    // Pages have much text: most of it ends in no file's name.
    let files: HashSet<&str> = package.names().filter_map(|name| name.rsplit('/').next()).collect();
    let mut open = vec![ROOT.to_owned()];
    while let Some(part) = open.pop() {
        if signature_lists.contains(&part) || !shown.parts.insert(part.clone()) {
            continue;
        }
        if !is_xml(package, &part)? {
            continue;
        }
        let octets = package.read(&part)?;
        match places(package, &files, &part, &octets, deviations) {
            Ok(places) => open.extend(places),
            Err(_) => shown.unreadable.push(part),
        }
    }
    Ok(shown)
}

/// By its name, or by what it begins with: also what is not read as XML here and might be elsewhere.
fn is_xml(package: &Package<'_>, part: &str) -> Result<bool, OfdError> {
    let named = part.get(part.len().saturating_sub(4)..).is_some_and(|end| end.eq_ignore_ascii_case(".xml"));
    let head = package.head(part)?;
    let utf_16 = [b"\xff\xfe<\0", b"\xfe\xff\0<", b"\0<\0?", b"\0<\0!"];
    let utf_16 = utf_16.iter().any(|begin| head.starts_with(&begin[..]));
    let bare = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&head).trim_ascii_start();
    Ok(named || utf_16 || bare.first().map_or(!head.is_empty(), |first| *first == b'<'))
}

/// The parts that `octets` name. Resources stand below the `BaseLoc` of their list (GB/T 33190, 7.9).
fn places(
    package: &Package<'_>,
    files: &HashSet<&str>,
    part: &str,
    octets: &[u8],
    deviations: &mut Deviations,
) -> Result<BTreeSet<String>, OfdError> {
    let mut found = BTreeSet::new();
    let mut base: Option<String> = None;
    let (mut depth, mut text) = (0usize, String::new());
    let mut look = |location: &str, base: Option<&str>| -> Result<(), String> {
        if !location.rsplit('/').next().is_some_and(|last| files.contains(last)) {
            return Ok(());
        }
        bounded(location)?;
        let below = base.and_then(|base| resolve(&format!("{base}/x"), location));
        for candidate in [resolve(part, location), resolve(ROOT, location), below].into_iter().flatten() {
            if package.has(&candidate) {
                found.insert(candidate);
            }
        }
        Ok(())
    };
    let encoding = xml::walk(part, octets, |step| {
        match step {
            Step::Open { attributes, .. } => {
                for (name, value) in &attributes {
                    if depth == 0 && name == "BaseLoc" {
                        bounded(value)?;
                        base = resolve(part, value);
                    }
                    look(value.trim(), base.as_deref())?;
                }
                look(text.trim(), base.as_deref())?;
                text.clear();
                depth += 1;
            }
            Step::Text(piece) => text.push_str(piece),
            Step::Close => {
                look(text.trim(), base.as_deref())?;
                text.clear();
                depth = depth.saturating_sub(1);
            }
        }
        Ok(())
    })?;
    // A reader that does not look at the declaration may be led elsewhere.
    if encoding != UTF_8 && !octets.is_ascii() && std::str::from_utf8(octets).is_ok() {
        return Err(OfdError::part(part, format!("it is UTF-8 as well as {}", encoding.name())));
    }
    deviations.add_encoding(encoding);
    Ok(found)
}

/// Where one that is not followed would lead is not known, and so the part that has it counts as not read.
fn bounded(location: &str) -> Result<(), String> {
    match location.len() > MAX_LOCATION {
        true => Err(format!("a location has more than {MAX_LOCATION} octets")),
        false => Ok(()),
    }
}
