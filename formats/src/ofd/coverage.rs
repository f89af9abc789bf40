//! Which parts make up what a reader shows: those that OFD.xml leads to, its lists of signatures apart.

use std::collections::{BTreeSet, HashMap, HashSet};

use encoding_rs::UTF_8;

use super::document::{Deviations, ROOT};
use super::error::OfdError;
use super::package::{MAX_LOCATION, Package, resolve};
use super::xml::{self, Step};

/// The parts that must be covered by every signature, and those in which places could not be looked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Shown {
    pub(super) parts: BTreeSet<String>,
    /// Those that only readers find which overlook how a name is written.
    pub(super) leniently: BTreeSet<String>,
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
    let names = Names::of(package);
    let (mut open, mut leniently) = (vec![ROOT.to_owned()], Vec::new());
    let mut meant = HashSet::new();
    // What everybody finds comes first; what is found from the rest is not what everybody finds.
    while let Some((part, is_exact)) =
        open.pop().map(|part| (part, true)).or_else(|| leniently.pop().map(|part| (part, false)))
    {
        if signature_lists.contains(&part) {
            continue;
        }
        let is_new = match is_exact {
            true => shown.parts.insert(part.clone()),
            false => !shown.parts.contains(&part) && shown.leniently.insert(part.clone()),
        };
        if !is_new || !is_xml(package, &part)? {
            continue;
        }
        let octets = package.read(&part)?;
        match places(package, &names, &part, &octets, deviations) {
            Ok(found) => {
                if is_exact { &mut open } else { &mut leniently }.extend(found.parts);
                // Many parts may be meant by one name, and many may mean it.
                for name in found.leniently.into_iter().filter(|name| meant.insert(name.clone())) {
                    leniently
                        .extend(names.folded.get(&name).into_iter().flatten().map(|part| (*part).to_owned()));
                }
            }
            Err(_) => shown.unreadable.push(part),
        }
    }
    Ok(shown)
}

/// The files of a package, as they are looked for.
struct Names<'p> {
    /// Pages have much text: most of it ends in no file's name.
    last: HashSet<String>,
    /// By what readers make of a name that overlook how it is written.
    folded: HashMap<String, Vec<&'p str>>,
}

impl<'p> Names<'p> {
    fn of(package: &'p Package<'_>) -> Self {
        let mut folded: HashMap<String, Vec<&str>> = HashMap::new();
        for name in package.names() {
            folded.entry(lenient("", name)).or_default().push(name);
        }
        let last = folded.keys().filter_map(|name| name.rsplit('/').next()).map(str::to_owned).collect();
        Self { last, folded }
    }

    /// Does a location end in the name of some file?
    fn may_be_meant(&self, location: &str) -> bool {
        let last = location.rsplit(SLASHES).next().filter(|last| last.len() <= MAX_LOCATION);
        last.is_some_and(|last| self.last.contains(&lenient("", last)))
    }
}

/// What parts steps from one another, to some system.
const SLASHES: [char; 2] = ['/', '\\'];

/// The name that a location below a folder has to readers that take a backslash for a slash, know no case, stay at the
/// root where a step leads above it, and drop blanks and stops at the end of a step, as file systems do.
fn lenient(folder: &str, location: &str) -> String {
    let mut steps: Vec<&str> = match location.starts_with(SLASHES) {
        true => Vec::new(),
        false => folder.split('/').filter(|step| !step.is_empty()).collect(),
    };
    for step in location.split(SLASHES) {
        match (step, step.trim_end_matches(['.', ' '])) {
            ("..", _) => drop(steps.pop()),
            (_, "") => {}
            (_, step) => steps.push(step),
        }
    }
    // Both ways, for letters that are one only in capitals.
    steps.join("/").to_uppercase().to_lowercase()
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

/// What a part names.
#[derive(Default)]
struct Found {
    parts: BTreeSet<String>,
    /// What [`lenient`] makes of those locations at which such readers find something.
    leniently: BTreeSet<String>,
}

/// The parts that `octets` name. Resources stand below the `BaseLoc` of their list (GB/T 33190, 7.9).
fn places(
    package: &Package<'_>,
    names: &Names<'_>,
    part: &str,
    octets: &[u8],
    deviations: &mut Deviations,
) -> Result<Found, OfdError> {
    let mut found = Found::default();
    let folder = part.rsplit_once('/').map_or("", |(folder, _)| folder);
    // As it is written, and as lenient readers take it.
    let (mut base, mut base_leniently): (Option<String>, Option<String>) = (None, None);
    let (mut depth, mut text) = (0usize, String::new());
    let mut look = |location: &str, [base, base_leniently]: [&Option<String>; 2]| -> Result<(), String> {
        let location = location.trim();
        if !names.may_be_meant(location) {
            return Ok(());
        }
        bounded(location)?;
        let below = base.as_ref().and_then(|base| resolve(&format!("{base}/x"), location));
        for candidate in [resolve(part, location), resolve(ROOT, location), below].into_iter().flatten() {
            if package.has(&candidate) {
                found.parts.insert(candidate);
            }
        }
        for folder in [Some(folder), Some(""), base_leniently.as_deref()].into_iter().flatten() {
            let name = lenient(folder, location);
            if names.folded.contains_key(&name) {
                found.leniently.insert(name);
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
                        base_leniently = Some(lenient(folder, value.trim()));
                    }
                    look(value, [&base, &base_leniently])?;
                }
                look(&text, [&base, &base_leniently])?;
                text.clear();
                depth += 1;
            }
            Step::Text(piece) => text.push_str(piece),
            Step::Close => {
                look(&text, [&base, &base_leniently])?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lenient_readers_make_of_a_location() {
        for (location, meant) in [
            ("Res/A.png", "doc_0/res/a.png"),
            ("Res\\a.png", "doc_0/res/a.png"),
            ("\\Res/A.png", "res/a.png"),
            ("Res/./..//a.png", "doc_0/a.png"),
            ("../../../a.png", "a.png"),
            ("Res. /a.png...", "doc_0/res/a.png"),
            ("Re\u{17f}/a.png", "doc_0/res/a.png"),
        ] {
            assert_eq!(lenient("Doc_0", location), meant, "{location}");
        }
    }
}
