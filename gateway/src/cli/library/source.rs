//! Files with entities: JSON Lines, and CSV as spreadsheets write it (RFC 4180, with or without a byte order mark). Both are
//! read a row at a time, so that a file may be of any size; a row may not.

use std::cell::Cell;
use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::Path;
use std::rc::Rc;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use super::rows::{LISTS, MEMBERS, RowFault, clipped, is_registered};

/// Octets of a row at most.
const LARGEST_ROW: usize = 256 * 1024;
/// Octets that are looked at to tell an encoding.
const SAMPLE: usize = 64 * 1024;
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";
/// Parts the values of a column that is a list.
const BETWEEN: char = '|';

/// A row, before anybody asked what it means.
pub(super) struct RawRow {
    /// Its first line, from 1 on.
    pub(super) line: u64,
    /// Where it ends: octets, and lines.
    pub(super) end: (u64, u64),
    pub(super) fields: Result<Map<String, Value>, RowFault>,
}

/// A file that is being read.
pub(super) enum Source {
    Lines(Lines),
    Table(Box<Table>),
}

impl Source {
    /// Opens a file by its ending, `.csv` or anything else for JSON Lines, to go on at a place (octets, lines).
    pub(super) fn open(path: &Path, place: (u64, u64)) -> io::Result<Self> {
        let start = refuse_other_encodings(path)?;
        if path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("csv")) {
            return Table::open(path, start, place).map(|table| Self::Table(Box::new(table)));
        }
        let (position, line) = (place.0.max(start), place.1);
        let mut file = File::open(path)?;
        file.seek(SeekFrom::Start(position))?;
        Ok(Self::Lines(Lines { reader: BufReader::new(file), position, line }))
    }

    /// The next row; none at the end.
    pub(super) fn next(&mut self) -> io::Result<Option<RawRow>> {
        match self {
            Self::Lines(lines) => lines.next(),
            Self::Table(table) => table.next(),
        }
    }
}

/// Where the text begins: behind a byte order mark.
fn refuse_other_encodings(path: &Path) -> io::Result<u64> {
    let mut sample = Vec::new();
    File::open(path)?.take(SAMPLE as u64).read_to_end(&mut sample)?;
    let is_whole = sample.len() < SAMPLE;
    if sample.starts_with(b"\xff\xfe") || sample.starts_with(b"\xfe\xff") {
        return Err(invalid("the file is UTF-16; write it as UTF-8: iconv -f UTF-16 -t UTF-8"));
    }
    match std::str::from_utf8(&sample) {
        // A character that is cut in two at the sample's end is none that is wrong.
        Err(error) if is_whole || error.error_len().is_some() => {
            // One row of many may be damaged; a whole file in GBK has hardly a line that is right.
            let lines: Vec<_> = sample.trim_ascii_end().split(|octet| *octet == b'\n').collect();
            if lines.iter().filter(|line| std::str::from_utf8(line).is_err()).count() * 2 > lines.len() {
                return Err(invalid(
                    "the file is not UTF-8 (GBK?); write it as UTF-8: iconv -f GBK -t UTF-8",
                ));
            }
        }
        _ => {}
    }
    Ok(if sample.starts_with(BYTE_ORDER_MARK) { BYTE_ORDER_MARK.len() as u64 } else { 0 })
}

fn invalid(detail: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, detail)
}

fn too_large() -> RowFault {
    RowFault::new("", "row_too_large", format!("the row has more than {LARGEST_ROW} octets"))
}

/// JSON Lines.
pub(super) struct Lines {
    reader: BufReader<File>,
    position: u64,
    line: u64,
}

impl Lines {
    fn next(&mut self) -> io::Result<Option<RawRow>> {
        loop {
            let mut octets = Vec::new();
            let mut taken =
                self.reader.by_ref().take(LARGEST_ROW as u64 + 1).read_until(b'\n', &mut octets)?;
            if taken == 0 {
                return Ok(None);
            }
            let is_too_large = taken > LARGEST_ROW;
            if is_too_large && octets.last() != Some(&b'\n') {
                taken += self.skip_line()?;
            }
            self.position += taken as u64;
            self.line += 1;
            if octets.trim_ascii().is_empty() {
                continue;
            }
            let fields = if is_too_large { Err(too_large()) } else { object(&octets) };
            return Ok(Some(RawRow { line: self.line, end: (self.position, self.line), fields }));
        }
    }

    /// To the end of a line that nobody keeps.
    fn skip_line(&mut self) -> io::Result<usize> {
        let mut skipped = 0;
        loop {
            let buffer = self.reader.fill_buf()?;
            let end = buffer.iter().position(|octet| *octet == b'\n');
            let taken = end.map_or(buffer.len(), |end| end + 1);
            let is_end = end.is_some() || buffer.is_empty();
            self.reader.consume(taken);
            skipped += taken;
            if is_end {
                return Ok(skipped);
            }
        }
    }
}

fn object(octets: &[u8]) -> Result<Map<String, Value>, RowFault> {
    let repeated = Cell::new(None);
    let mut reader = serde_json::Deserializer::from_slice(octets);
    let read = Once { repeated: &repeated }.deserialize(&mut reader);
    let read = read.and_then(|value| reader.end().map(|()| value));
    match (read, repeated.take()) {
        // Two readers of such a line may go by different values.
        (_, Some(name)) => Err(RowFault::new(name, "repeated_field", "stands in the line twice")),
        (Ok(Value::Object(fields)), None) => Ok(fields),
        (Ok(_), None) => Err(RowFault::new("", "not_an_object", "the line is no JSON object")),
        // Of serde's words only the place: they can quote what stands there.
        (Err(error), None) => {
            let detail = format!("the line is not JSON (character {})", error.column());
            Err(RowFault::new("", "not_json", detail))
        }
    }
}

/// Reads a value in whose objects every name stands once, where [`Value`] itself takes the last of several.
#[derive(Clone, Copy)]
struct Once<'r> {
    /// The first name that stands in an object again.
    repeated: &'r Cell<Option<String>>,
}

impl<'de> DeserializeSeed<'de> for Once<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Once<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value of JSON")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut all = Vec::new();
        while let Some(item) = items.next_element_seed(self)? {
            all.push(item);
        }
        Ok(all.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut all = Map::new();
        while let Some(name) = members.next_key::<String>()? {
            if all.contains_key(&name) {
                self.repeated.set(Some(clipped(&name)));
                return Err(A::Error::custom("a name that stands there twice"));
            }
            let value = members.next_value_seed(self)?;
            all.insert(name, value);
        }
        Ok(all.into())
    }
}

/// CSV with a head: `uscc`, `name`, `entity_type`, `status`, `status_as_of`, and as wanted `flags` and the fields of a face.
pub(super) struct Table {
    reader: csv::Reader<Metered>,
    head: Vec<String>,
    /// What the reader's own counts begin at.
    base: (u64, u64),
    /// Lines that the reader has not counted where a row ends: of CR LF it leaves LF to the next row.
    uncounted: u64,
    room: Rc<Cell<usize>>,
}

impl Table {
    fn open(path: &Path, start: u64, place: (u64, u64)) -> io::Result<Self> {
        let (mut first, room) = reader(path, start)?;
        room.set(LARGEST_ROW);
        let mut head = csv::ByteRecord::new();
        first.read_byte_record(&mut head).map_err(io::Error::from)?;
        let named = |cell: &[u8]| String::from_utf8_lossy(cell).trim().to_owned();
        let head: Vec<String> = head.iter().map(named).collect();
        check_head(&head)?;
        let behind = (start + first.position().byte(), first.position().line() - 1);
        let mut follows = Vec::new();
        let mut file = File::open(path)?;
        file.seek(SeekFrom::Start(behind.0))?;
        file.take(1).read_to_end(&mut follows)?;
        let uncounted = u64::from(follows == b"\n");
        let base = if place.0 > behind.0 { (place.0, place.1.saturating_sub(uncounted)) } else { behind };
        let (reader, room) = reader(path, base.0)?;
        Ok(Self { reader, head, base, uncounted, room })
    }

    fn next(&mut self) -> io::Result<Option<RawRow>> {
        self.room.set(LARGEST_ROW);
        let mut record = csv::ByteRecord::new();
        if !self.reader.read_byte_record(&mut record).map_err(io::Error::from)? {
            return Ok(None);
        }
        let lines = self.base.1 + self.uncounted;
        let at = |position: &csv::Position| (self.base.0 + position.byte(), lines + position.line());
        let line = record.position().map_or(lines, |position| at(position).1);
        let end = at(self.reader.position());
        Ok(Some(RawRow { line, end: (end.0, end.1 - 1), fields: self.fields(&record) }))
    }

    fn fields(&self, record: &csv::ByteRecord) -> Result<Map<String, Value>, RowFault> {
        if record.len() != self.head.len() {
            let detail = format!("the row has {} columns, its head {}", record.len(), self.head.len());
            return Err(RowFault::new("", "columns_differ", detail));
        }
        let (mut row, mut face) = (Map::new(), Map::new());
        for (column, cell) in self.head.iter().zip(record) {
            let text = std::str::from_utf8(cell)
                .map_err(|_| RowFault::new(column.clone(), "not_utf8", "is not UTF-8"))?;
            match column.as_str() {
                "flags" => drop(row.insert(column.clone(), list(text).into())),
                // What is no number stays a text, and is a fault of its field.
                "status" => {
                    let status = text.parse::<i64>().map_or_else(|_| text.into(), Value::from);
                    row.insert(column.clone(), status);
                }
                member if MEMBERS.contains(&member) => drop(row.insert(column.clone(), text.into())),
                _ if text.is_empty() => {}
                field if LISTS.contains(&field) && text.contains(BETWEEN) => {
                    face.insert(column.clone(), list(text).into());
                }
                _ => drop(face.insert(column.clone(), text.into())),
            }
        }
        row.insert("face".to_owned(), face.into());
        Ok(row)
    }
}

fn list(text: &str) -> Vec<Value> {
    text.split(BETWEEN).map(str::trim).filter(|item| !item.is_empty()).map(Value::from).collect()
}

fn check_head(head: &[String]) -> io::Result<()> {
    for (number, column) in head.iter().enumerate() {
        let is_known = column != "face" && (MEMBERS.contains(&column.as_str()) || is_registered(column));
        if !is_known {
            let shown: String = column.chars().filter(|character| !character.is_control()).take(40).collect();
            return Err(invalid(&format!("column {} of the head, {shown:?}, is not known", number + 1)));
        }
        if head[..number].contains(column) {
            return Err(invalid(&format!("the head has {column} twice")));
        }
    }
    for needed in ["uscc", "name", "entity_type", "status", "status_as_of"] {
        if !head.iter().any(|column| column == needed) {
            return Err(invalid(&format!("the head has no column {needed}")));
        }
    }
    Ok(())
}

fn reader(path: &Path, from: u64) -> io::Result<(csv::Reader<Metered>, Rc<Cell<usize>>)> {
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(from))?;
    let room = Rc::new(Cell::new(LARGEST_ROW));
    let metered = Metered { file, room: Rc::clone(&room) };
    Ok((csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(metered), room))
}

/// A file of which a row can take so much and no more: a quote that is not closed would take all of it into memory.
pub(super) struct Metered {
    file: File,
    room: Rc<Cell<usize>>,
}

impl Read for Metered {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(buffer)?;
        match self.room.get().checked_sub(read) {
            Some(room) => self.room.set(room),
            None => return Err(invalid("a row is larger than any may be: is a quote not closed?")),
        }
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_with_a_name_that_stands_in_it_twice_is_no_row() {
        for (line, name) in [
            (r#"{"status":1,"name":"A","status":3}"#, "status"),
            (r#"{"status":1,"st\u0061tus":1}"#, "status"),
            (r#"{"face":{"domicile":"A","domicile":"B"}}"#, "domicile"),
            (r#"{"face":[{"a":1},{"b":1,"b":2}]}"#, "b"),
        ] {
            let fault = object(line.as_bytes()).unwrap_err();
            assert_eq!((&*fault.field, fault.code), (name, "repeated_field"), "{line}");
        }
        for (line, code) in [("[1]", "not_an_object"), ("{\"a\":", "not_json"), ("{} {}", "not_json")] {
            assert_eq!(object(line.as_bytes()).unwrap_err().code, code, "{line}");
        }
        let line = r#"{"a":[{"b":1},{"b":-2.5}],"b":{"a":null,"b":true},"c":"样例"}"#;
        let read: Value = serde_json::from_str(line).unwrap();
        assert_eq!(Value::Object(object(line.as_bytes()).unwrap()), read);
    }
}
