//! One unambiguous text for a whole row, for the code over it.

/// A row as its code sees it: table, id, revision, then each column with its name and type in the order given. Two
/// rows that differ anywhere differ here.
#[derive(Clone)]
pub struct RowImage {
    table: &'static str,
    id: String,
    revision: i64,
    octets: Vec<u8>,
}

impl RowImage {
    /// Begins a row. The revision is a number in the row that grows whenever it is written.
    #[must_use]
    pub fn new(table: &'static str, id: &str, revision: i64) -> Self {
        let mut octets = Vec::with_capacity(256);
        push(&mut octets, table.as_bytes());
        push(&mut octets, id.as_bytes());
        octets.extend_from_slice(&revision.to_be_bytes());
        Self { table, id: id.to_owned(), revision, octets }
    }

    /// Adds a text.
    #[must_use]
    pub fn text(self, column: &'static str, value: &str) -> Self {
        self.column(column, b't', Some(value.as_bytes()))
    }

    /// Adds a text that may be NULL.
    #[must_use]
    pub fn text_or_null(self, column: &'static str, value: Option<&str>) -> Self {
        self.column(column, b't', value.map(str::as_bytes))
    }

    /// Adds octets that may be NULL.
    #[must_use]
    pub fn octets_or_null(self, column: &'static str, value: Option<&[u8]>) -> Self {
        self.column(column, b'o', value)
    }

    /// Adds a whole number.
    #[must_use]
    pub fn integer(self, column: &'static str, value: i64) -> Self {
        self.column(column, b'i', Some(&value.to_be_bytes()))
    }

    /// Adds a whole number that may be NULL.
    #[must_use]
    pub fn integer_or_null(self, column: &'static str, value: Option<i64>) -> Self {
        self.column(column, b'i', value.map(i64::to_be_bytes).as_ref().map(|octets| &octets[..]))
    }

    /// Adds a truth value.
    #[must_use]
    pub fn boolean(self, column: &'static str, value: bool) -> Self {
        self.column(column, b'b', Some(&[u8::from(value)]))
    }

    /// The table.
    #[must_use]
    pub fn table(&self) -> &'static str {
        self.table
    }

    /// The row's id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    pub(super) fn revision(&self) -> i64 {
        self.revision
    }

    pub(super) fn octets(&self) -> &[u8] {
        &self.octets
    }

    fn column(mut self, column: &'static str, kind: u8, value: Option<&[u8]>) -> Self {
        push(&mut self.octets, column.as_bytes());
        match value {
            Some(value) => {
                self.octets.push(kind);
                push(&mut self.octets, value);
            }
            None => self.octets.push(b'-'),
        }
        self
    }
}

impl std::fmt::Debug for RowImage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RowImage").field("table", &self.table).field("id", &self.id).finish_non_exhaustive()
    }
}

/// Adds a part with its length before it.
pub(super) fn push(octets: &mut Vec<u8>, part: &[u8]) {
    octets.extend_from_slice(&(part.len() as u64).to_be_bytes());
    octets.extend_from_slice(part);
}
