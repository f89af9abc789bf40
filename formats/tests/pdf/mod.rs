//! PDFs put together object by object, every offset in the test's hand.
#![allow(dead_code)] // each test file uses its part
#![allow(clippy::unwrap_used)] // a helper that fails fails its test

use std::collections::BTreeMap;

/// A revision being written: the first one, or an update of what is there.
#[derive(Clone)]
pub(crate) struct Maker {
    pub(crate) octets: Vec<u8>,
    /// None for a freed object; within an object stream: its number and index.
    entries: BTreeMap<u32, Entry>,
    previous: Option<usize>,
    size: u32,
}

#[derive(Clone, Copy)]
pub(crate) enum Entry {
    Free,
    At(usize),
    Within(u32, usize),
}

impl Maker {
    pub(crate) fn new() -> Self {
        let octets = b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n".to_vec();
        Self { octets, entries: BTreeMap::from([(0, Entry::Free)]), previous: None, size: 1 }
    }

    /// An update of a document that ends with its `%%EOF`.
    pub(crate) fn update(document: &[u8]) -> Self {
        let text = String::from_utf8_lossy(document);
        let startxref = text.rfind("startxref").unwrap();
        let previous = text[startxref + 9..].split_whitespace().next().unwrap().parse().unwrap();
        let mut octets = document.to_vec();
        if !octets.ends_with(b"\n") {
            octets.push(b'\n');
        }
        Self { octets, entries: BTreeMap::new(), previous: Some(previous), size: 100 }
    }

    pub(crate) fn entry(mut self, number: u32, entry: Entry) -> Self {
        self.size = self.size.max(number + 1);
        self.entries.insert(number, entry);
        self
    }

    pub(crate) fn object(mut self, number: u32, value: impl AsRef<str>) -> Self {
        let offset = self.octets.len();
        let text = format!("{number} 0 obj\n{}\nendobj\n", value.as_ref());
        self.octets.extend_from_slice(text.as_bytes());
        self.entry(number, Entry::At(offset))
    }

    pub(crate) fn stream(mut self, number: u32, dictionary: &str, data: &[u8]) -> Self {
        let offset = self.octets.len();
        let head = format!("{number} 0 obj\n<< {dictionary} /Length {} >>\nstream\n", data.len());
        self.octets.extend_from_slice(head.as_bytes());
        self.octets.extend_from_slice(data);
        self.octets.extend_from_slice(b"\nendstream\nendobj\n");
        self.entry(number, Entry::At(offset))
    }

    /// An object stream with these members.
    pub(crate) fn members(mut self, number: u32, members: &[(u32, &str)]) -> Self {
        let (mut head, mut body) = (String::new(), String::new());
        for (index, (member, value)) in members.iter().enumerate() {
            head += &format!("{member} {} ", body.len());
            body += &format!("{value}\n");
            self = self.entry(*member, Entry::Within(number, index));
        }
        let dictionary = format!("/Type /ObjStm /N {} /First {}", members.len(), head.len());
        self.stream(number, &dictionary, (head + &body).as_bytes())
    }

    /// Octets that no section speaks of.
    pub(crate) fn raw(mut self, octets: &[u8]) -> Self {
        self.octets.extend_from_slice(octets);
        self
    }

    fn trailer(&self, more: &str) -> String {
        let previous = self.previous.map(|offset| format!(" /Prev {offset}")).unwrap_or_default();
        format!("/Size {}{previous} {more}", self.size)
    }

    /// Ends with a cross-reference table; `more` stands in the trailer.
    pub(crate) fn table(mut self, more: &str) -> Vec<u8> {
        let offset = self.octets.len();
        let mut text = "xref\n".to_owned();
        for (number, entry) in &self.entries {
            let row = match entry {
                Entry::Free => "0000000000 65535 f".to_owned(),
                Entry::At(offset) => format!("{offset:010} 00000 n"),
                Entry::Within(..) => "0000000000 00000 f".to_owned(),
            };
            text += &format!("{number} 1\n{row} \n");
        }
        text += &format!("trailer\n<< {} >>\nstartxref\n{offset}\n%%EOF\n", self.trailer(more));
        self.octets.extend_from_slice(text.as_bytes());
        self.octets
    }

    /// The rows of a cross-reference stream and its Index.
    fn rows(&self) -> (Vec<u8>, String) {
        let (mut rows, mut index) = (Vec::new(), String::new());
        for (number, entry) in &self.entries {
            let (kind, second, third) = match entry {
                Entry::Free => (0, 0, 0),
                Entry::At(offset) => (1, *offset, 0),
                Entry::Within(container, position) => (2, *container as usize, *position),
            };
            rows.push(kind);
            rows.extend_from_slice(&u32::try_from(second).unwrap().to_be_bytes());
            rows.extend_from_slice(&u16::try_from(third).unwrap().to_be_bytes());
            index += &format!("{number} 1 ");
        }
        (rows, index)
    }

    /// Ends with a cross-reference stream of this number.
    pub(crate) fn xref_stream(self, number: u32, more: &str) -> Vec<u8> {
        let offset = self.octets.len();
        let this = self.entry(number, Entry::At(offset));
        let (rows, index) = this.rows();
        let dictionary = format!("/Type /XRef /W [1 4 2] /Index [{index}] {}", this.trailer(more));
        let mut octets = this.stream(number, &dictionary, &rows).octets;
        octets.extend_from_slice(format!("startxref\n{offset}\n%%EOF\n").as_bytes());
        octets
    }

    /// Ends with a table that names a stream for what is within object streams.
    pub(crate) fn hybrid(self, number: u32, more: &str) -> Vec<u8> {
        let offset = self.octets.len();
        let within = self.entries.iter().filter(|(_, entry)| matches!(entry, Entry::Within(..)));
        let inner = Self { entries: within.map(|(n, e)| (*n, *e)).collect(), ..self.clone() };
        let (rows, index) = inner.rows();
        let dictionary = format!("/Type /XRef /W [1 4 2] /Index [{index}] /Size {}", self.size);
        let mut this = self;
        this = this.stream(number, &dictionary, &rows);
        this.entries.remove(&number);
        this.table(&format!("/XRefStm {offset} {more}"))
    }
}

/// The objects of a one-page document: catalog 1, pages 2, page 3, contents 4, font 5.
pub(crate) fn page(text: &str) -> Maker {
    page_with(text, "", "")
}

/// The same with more in the catalog and in the page.
pub(crate) fn page_with(text: &str, catalog: &str, page: &str) -> Maker {
    Maker::new()
        .object(1, format!("<< /Type /Catalog /Pages 2 0 R {catalog} >>"))
        .object(2, "<< /Type /Pages /Kids [3 0 R] /Count 1 >>")
        .object(
            3,
            format!(
                "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents 4 0 R \
                 /Resources << /Font << /F1 5 0 R >> >> {page} >>"
            ),
        )
        .stream(4, "", format!("BT /F1 24 Tf 72 720 Td ({text}) Tj ET").as_bytes())
        .object(5, "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>")
}

/// What every trailer says.
pub(crate) const ROOT: &str = "/Root 1 0 R";

/// Room for a signature, hexadecimal digits.
const ROOM: usize = 8_000;
pub(crate) const RANGE: &str = "/ByteRange [0 0000000000 0000000000 0000000000]";

pub(crate) fn empty_contents() -> String {
    format!("/Contents <{}>", "0".repeat(ROOM))
}

/// Writes range and signature into the last placeholder.
pub(crate) fn fill(mut octets: Vec<u8>, sign: impl FnOnce(&[u8]) -> Vec<u8>) -> Vec<u8> {
    let find =
        |octets: &[u8], text: &[u8]| octets.windows(text.len()).rposition(|found| found == text).unwrap();
    let start = find(&octets, empty_contents().as_bytes()) + "/Contents ".len();
    let end = start + ROOM + 2;
    let range = format!("/ByteRange [0 {start:010} {end:010} {:010}]", octets.len() - end);
    let place = find(&octets, RANGE.as_bytes());
    octets[place..place + range.len()].copy_from_slice(range.as_bytes());
    let signature = hex::encode(sign(&[&octets[..start], &octets[end..]].concat()));
    octets[start + 1..start + 1 + signature.len()].copy_from_slice(signature.as_bytes());
    octets
}

/// A page with a text field (21), its appearance (22) and a link (23); the form is 20.
pub(crate) fn base() -> Maker {
    page_with("Hello", "/AcroForm 20 0 R", "/Annots [21 0 R 23 0 R]")
        .object(20, form(&[]))
        .object(21, text_field("(Peking)"))
        .stream(22, "/Type /XObject /Subtype /Form /BBox [0 0 100 20]", b"BT (Peking) Tj ET")
        .object(23, "<< /Type /Annot /Subtype /Link /Rect [0 0 10 10] >>")
}

pub(crate) fn text_field(value: &str) -> String {
    format!(
        "<< /T (town) /FT /Tx /V {value} /Type /Annot /Subtype /Widget /Rect [10 10 110 30] /P 3 0 R \
         /AP << /N 22 0 R >> >>"
    )
}

pub(crate) fn form(fields: &[u32]) -> String {
    let fields: String = fields.iter().map(|number| format!(" {number} 0 R")).collect();
    format!("<< /Fields [21 0 R{fields}] /SigFlags 3 >>")
}

pub(crate) fn page_object(annotations: &str) -> String {
    format!(
        "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents 4 0 R \
         /Resources << /Font << /F1 5 0 R >> >> /Annots [21 0 R 23 0 R{annotations}] >>"
    )
}

pub(crate) fn field(number: u32, more: &str) -> String {
    let place = if more.contains("/Rect") { "" } else { "/Rect [200 10 300 60]" };
    format!(
        "<< /T (signature {number}) /FT /Sig /Type /Annot /Subtype /Widget {place} /P 3 0 R \
         /V {} 0 R {more} >>",
        number + 1
    )
}

pub(crate) fn value(more: &str) -> String {
    let sub_filter = if more.contains("/SubFilter") { "" } else { "/SubFilter /ETSI.CAdES.detached" };
    format!("<< /Type /Sig /Filter /Adobe.PPKLite {sub_filter} {RANGE} {} {more} >>", empty_contents())
}

/// Form, page, field and an empty signature value.
pub(crate) fn placeholder(
    maker: Maker,
    number: u32,
    fields: &[u32],
    of_value: &str,
    of_field: &str,
) -> Maker {
    let annotations: String = fields.iter().map(|number| format!(" {number} 0 R")).collect();
    maker
        .object(20, form(fields))
        .object(3, page_object(&annotations))
        .object(number, field(number, of_field))
        .object(number + 1, value(of_value))
}
