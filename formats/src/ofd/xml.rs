//! XML as OFD needs it: without document types and entities, bounded in depth and size, by local names. What is read
//! here is never written again: digests are over the octets that came.

use std::borrow::Cow;
use std::sync::Arc;

use encoding_rs::{Encoding, GB18030, GBK, UTF_8};
use quick_xml::XmlVersion;
use quick_xml::events::{BytesStart, Event};
use quick_xml::name::ResolveResult;
use quick_xml::reader::{NsReader, Reader};

use super::error::OfdError;

/// The deepest nesting.
pub const MAX_DEPTH: usize = 64;
/// The most elements of a part that is read as a tree.
const MAX_ELEMENTS: usize = 200_000;
/// The most attributes of an element; the objects of OFD have some twenty.
const MAX_ATTRIBUTES: usize = 1_024;
/// The most octets of a namespace: one that stands in the text once is that of every element below it.
const MAX_NAMESPACE: usize = 256;

/// The namespace of GB/T 33190-2016.
pub const NAMESPACE: &str = "http://www.ofdspec.org/2016";

/// An element with all that is in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Element {
    /// Without its prefix.
    pub(super) name: String,
    pub(super) namespace: Option<Arc<str>>,
    /// Names without their prefixes.
    pub(super) attributes: Vec<(String, String)>,
    pub(super) children: Vec<Element>,
    /// Its own text, trimmed.
    pub(super) text: String,
}

impl Element {
    pub(super) fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub(super) fn children<'e>(&'e self, name: &str) -> impl Iterator<Item = &'e Element> {
        self.children.iter().filter(move |child| child.name == name)
    }

    /// The one child of a name; `Err` if there are several, of which another reader may take another.
    pub(super) fn child(&self, name: &str) -> Result<Option<&Element>, String> {
        let mut found = self.children(name);
        let first = found.next();
        match found.next() {
            Some(_) => Err(format!("{} has several {name}", self.name)),
            None => Ok(first),
        }
    }

    /// The text of the one child of a name.
    pub(super) fn text_of(&self, name: &str) -> Result<Option<&str>, String> {
        Ok(self.child(name)?.map(|child| child.text.as_str()).filter(|text| !text.is_empty()))
    }

    /// An attribute, or the text of a child: producers write either.
    pub(super) fn value(&self, name: &str) -> Result<Option<&str>, String> {
        match self.attribute(name) {
            Some(value) => Ok(Some(value)),
            None => self.text_of(name),
        }
    }
}

/// What happens in a part, in its order.
pub(super) enum Step<'e> {
    Open { name: &'e str, namespace: Option<&'e str>, attributes: Vec<(String, String)> },
    Text(&'e str),
    Close,
}

/// The octets by which a text says that it is UTF-8.
const UTF_8_MARK: &[u8] = b"\xef\xbb\xbf";
/// How far the declaration is looked for.
const MAX_DECLARATION: usize = 256;

/// The encodings that are read: the standard's, and those that older producers in China declare.
fn known(name: &str) -> Option<&'static Encoding> {
    match name {
        _ if name.eq_ignore_ascii_case("utf-8") => Some(UTF_8),
        _ if name.eq_ignore_ascii_case("gbk") => Some(GBK),
        _ if name.eq_ignore_ascii_case("gb18030") => Some(GB18030),
        _ => None,
    }
}

fn unknown(name: &str) -> String {
    format!("its encoding is {name}, only UTF-8, GBK and GB18030 are read")
}

/// The encoding that the declaration names; it stands in ASCII whichever of them that is.
pub(super) fn declared(octets: &[u8]) -> Result<&'static Encoding, String> {
    let head = octets.strip_prefix(UTF_8_MARK).unwrap_or(octets);
    let head = &head[..head.len().min(MAX_DECLARATION)];
    let end = head.windows(2).position(|end| end == b"?>").filter(|_| head.starts_with(b"<?xml"));
    let Some(head) = end.and_then(|end| std::str::from_utf8(&head[..end + 2]).ok()) else { return Ok(UTF_8) };
    let Ok(Event::Decl(declaration)) = Reader::from_str(head).read_event() else { return Ok(UTF_8) };
    match declaration.encoding().transpose().map_err(|error| error.to_string())? {
        Some(name) => known(&name).ok_or_else(|| unknown(&name)),
        None => Ok(UTF_8),
    }
}

fn decoded(octets: &[u8]) -> Result<(Cow<'_, str>, &'static Encoding), String> {
    let encoding = declared(octets)?;
    let octets = match octets.strip_prefix(UTF_8_MARK) {
        Some(_) if encoding != UTF_8 => {
            return Err(format!("it is marked as UTF-8 and declared as {}", encoding.name()));
        }
        Some(rest) => rest,
        None => octets,
    };
    let text = encoding.decode_without_bom_handling_and_without_replacement(octets);
    Ok((text.ok_or_else(|| format!("it is not {}", encoding.name()))?, encoding))
}

/// Reads a part and tells each step; gives the encoding that it was written in.
pub(super) fn walk(
    part: &str,
    octets: &[u8],
    mut tell: impl FnMut(Step<'_>) -> Result<(), String>,
) -> Result<&'static Encoding, OfdError> {
    let failed = |reason: String| OfdError::part(part, reason);
    let (text, encoding) = decoded(octets).map_err(&failed)?;
    let mut reader = NsReader::from_str(&text);
    let mut depth = 0usize;
    let mut roots = 0usize;
    loop {
        let (resolved, event) = reader.read_resolved_event().map_err(|error| failed(error.to_string()))?;
        let namespace = match &resolved {
            ResolveResult::Bound(namespace) if namespace.as_ref().len() > MAX_NAMESPACE => {
                return Err(failed(format!("a namespace has more than {MAX_NAMESPACE} octets")));
            }
            ResolveResult::Bound(namespace) => Some(namespace.as_ref()),
            ResolveResult::Unbound => None,
            ResolveResult::Unknown(_) => return Err(failed("a prefix has no namespace".to_owned())),
        };
        let step = match &event {
            Event::Start(start) | Event::Empty(start) => {
                if depth == 0 {
                    roots += 1;
                }
                if depth >= MAX_DEPTH {
                    return Err(failed("it is nested too deep".to_owned()));
                }
                let name = start.local_name();
                let attributes = attributes(start).map_err(&failed)?;
                tell(Step::Open { name: name.as_ref(), namespace, attributes }).map_err(&failed)?;
                if matches!(event, Event::Empty(_)) {
                    tell(Step::Close)
                } else {
                    depth += 1;
                    Ok(())
                }
            }
            Event::End(_) => {
                depth = depth.saturating_sub(1);
                tell(Step::Close)
            }
            Event::Text(text) => match text.xml10_content() {
                text if depth == 0 && !text.trim().is_empty() => Err("text stands outside".to_owned()),
                text if depth > 0 => tell(Step::Text(&text)),
                _ => Ok(()),
            },
            Event::CData(text) if depth > 0 => tell(Step::Text(&text.xml10_content())),
            Event::CData(_) => Err("text stands outside".to_owned()),
            Event::GeneralRef(reference) => {
                let character = reference.resolve_char_ref().map_err(|error| failed(error.to_string()))?;
                let name = reference.xml10_content();
                match (character, quick_xml::escape::resolve_predefined_entity(&name)) {
                    (Some(character), _) => tell(Step::Text(character.encode_utf8(&mut [0; 4]))),
                    (None, Some(text)) => tell(Step::Text(text)),
                    (None, None) => Err(format!("the entity {name} is not known")),
                }
            }
            Event::DocType(_) => Err("it has a document type".to_owned()),
            Event::Decl(declaration) => {
                let named = declaration.encoding().transpose().map_err(|error| failed(error.to_string()))?;
                match named {
                    // One that was not found at the beginning has not been followed.
                    Some(name) if known(&name) != Some(encoding) => Err(unknown(&name)),
                    _ => Ok(()),
                }
            }
            Event::Comment(_) | Event::PI(_) => Ok(()),
            Event::Eof => break,
        };
        step.map_err(&failed)?;
    }
    match (depth, roots) {
        (0, 1) => Ok(encoding),
        (0, _) => Err(failed("it has not one root".to_owned())),
        _ => Err(failed("it breaks off".to_owned())),
    }
}

fn attributes(start: &BytesStart<'_>) -> Result<Vec<(String, String)>, String> {
    let mut all = Vec::new();
    for attribute in start.attributes() {
        let attribute = attribute.map_err(|error| error.to_string())?;
        if all.len() == MAX_ATTRIBUTES {
            return Err(format!("an element has more than {MAX_ATTRIBUTES} attributes"));
        }
        let name = attribute.key.as_ref();
        if name == "xmlns" || name.starts_with("xmlns:") {
            continue;
        }
        let value = attribute.normalized_value(XmlVersion::Implicit1_0).map_err(|error| error.to_string())?;
        all.push((attribute.key.local_name().as_ref().to_owned(), value.into_owned()));
    }
    Ok(all)
}

/// Reads a part as a tree; gives the encoding that it was written in, too.
pub(super) fn tree(part: &str, octets: &[u8]) -> Result<(Element, &'static Encoding), OfdError> {
    let (mut open, mut count) = (vec![Element::default()], 0usize);
    let encoding = walk(part, octets, |step| {
        match step {
            Step::Open { name, namespace, attributes } => {
                count += 1;
                if count > MAX_ELEMENTS {
                    return Err("it has too many elements".to_owned());
                }
                // Most have the namespace of what they stand in, and share it.
                let above = open.last().and_then(|above: &Element| above.namespace.clone());
                let namespace = match (above, namespace) {
                    (Some(above), Some(namespace)) if *above == *namespace => Some(above),
                    (_, namespace) => namespace.map(Arc::from),
                };
                open.push(Element { name: name.to_owned(), namespace, attributes, ..Element::default() });
            }
            Step::Text(text) => {
                if let Some(element) = open.last_mut() {
                    element.text.push_str(text);
                }
            }
            Step::Close => {
                if let (Some(mut element), Some(parent)) = (open.pop(), open.last_mut()) {
                    element.text = element.text.trim().to_owned();
                    parent.children.push(element);
                }
            }
        }
        Ok(())
    })?;
    let root = open.pop().and_then(|mut above| above.children.pop());
    Ok((root.ok_or_else(|| OfdError::part(part, "it has no root"))?, encoding))
}

/// Text for content or attributes.
pub(super) fn escape(text: &str) -> Cow<'_, str> {
    quick_xml::escape::escape(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Element, OfdError> {
        tree("Part.xml", text.as_bytes()).map(|(root, _)| root)
    }

    #[test]
    fn texts_are_read_in_the_encoding_that_they_declare_if_it_is_a_known_one() {
        let written = |encoding: &'static Encoding, name: &str| {
            let text = format!("<?xml version='1.0' encoding='{name}'?><A B='西安'>€㐀</A>");
            encoding.encode(&text).0.into_owned()
        };
        for (encoding, name) in
            [(UTF_8, "UTF-8"), (GBK, "GBK"), (GBK, "gbk"), (GB18030, "GB18030"), (GB18030, "gb18030")]
        {
            let (root, found) =
                tree("Part.xml", &written(encoding, name)).unwrap_or((Element::default(), UTF_8));
            assert_eq!(root.attribute("B"), Some("西安"), "{name}");
            assert_eq!(found, encoding, "{name}");
            // GBK has no place for this one: it is written as a character reference.
            assert_eq!(root.text, "€㐀", "{name}");
        }
        let marked = [UTF_8_MARK, &written(GBK, "GBK")].concat();
        let late = [&*b" ".repeat(MAX_DECLARATION), &*written(GBK, "GBK")].concat();
        let twice = b"<?xml version='1.0'?><?xml version='1.0' encoding='GBK'?><A/>".to_vec();
        let cut = written(GBK, "GBK").iter().copied().filter(|octet| *octet != b'<').collect();
        let undeclared = GBK.encode("<A>西安</A>").0.into_owned();
        for refused in [marked, late, twice, cut, undeclared, written(GBK, "Big5")] {
            let text = String::from_utf8_lossy(&refused);
            assert!(tree("Part.xml", &refused).is_err(), "{text}");
        }
    }

    #[test]
    fn trees_are_read_by_local_names_with_text_and_character_references() {
        let root = read(
            "\u{feff}<?xml version=\"1.0\" encoding=\"UTF-8\"?><!-- c --><ofd:A xmlns:ofd=\"http://www.ofdspec.org/2016\" \
             ID=\"1&amp;2\"><ofd:B> x&#x4e2d;&lt;<![CDATA[y]]> </ofd:B><C/></ofd:A>",
        )
        .unwrap_or_default();
        assert_eq!((root.name.as_str(), root.namespace.as_deref()), ("A", Some(NAMESPACE)));
        assert_eq!(root.attribute("ID"), Some("1&2"));
        assert_eq!(root.text_of("B"), Ok(Some("x中<y")));
        assert_eq!(root.child("C").map(|c| c.map(|c| c.namespace.clone())), Ok(Some(None)));
    }

    #[test]
    fn namespaces_and_attributes_that_would_be_copied_again_and_again_are_refused() {
        // Three mebibytes that every element has: as copies some 30 GiB.
        let long = "n".repeat(3 << 20);
        let elements = "<b/>".repeat(10_000);
        for bomb in [
            format!("<a xmlns='{long}'>{elements}</a>"),
            format!("<a xmlns:p='{long}'>{}</a>", "<p:b/>".repeat(10_000)),
            format!("<a xmlns='{}'/>", "n".repeat(MAX_NAMESPACE + 1)),
            format!("<a {}/>", (0..=MAX_ATTRIBUTES).map(|n| format!("a{n}='' ")).collect::<String>()),
        ] {
            assert!(read(&bomb).is_err(), "{}", &bomb[..40]);
        }
        let many: String = (0..MAX_ATTRIBUTES).map(|n| format!("a{n}='' ")).collect();
        let at_most = format!("<a xmlns='{}' {many}><b/><b xmlns=''/></a>", "n".repeat(MAX_NAMESPACE));
        let root = read(&at_most).unwrap_or_default();
        assert_eq!((root.attributes.len(), root.children.len()), (MAX_ATTRIBUTES, 2));
        let shared = |element: &Element| element.namespace.clone().map(|namespace| namespace.as_ptr());
        assert_eq!(shared(&root.children[0]), shared(&root));
        assert_eq!(root.children[1].namespace, None);
    }

    #[test]
    fn document_types_entities_depth_and_fragments_are_refused() {
        let deep = "<a>".repeat(MAX_DEPTH + 1) + &"</a>".repeat(MAX_DEPTH + 1);
        for refused in [
            "<!DOCTYPE a [<!ENTITY x \"y\">]><a>&x;</a>",
            "<a>&x;</a>",
            deep.as_str(),
            "<a></b>",
            "<a>",
            "<a/><b/>",
            "",
            "text",
            "<a b='1' b='2'/>",
            "<p:a/>",
            "<?xml version=\"1.0\" encoding=\"Big5\"?><a/>",
            "<?xml version=\"1.0\" encoding=\"UTF-16\"?><a/>",
        ] {
            assert!(read(refused).is_err(), "{refused}");
        }
    }
}
