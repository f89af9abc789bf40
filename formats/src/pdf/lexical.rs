//! Where a value begins and ends in the octets (ISO 32000-2, 7.2). What it is, `lopdf` says.

use lopdf::{Dictionary, Object, ObjectStream, Stream};

use super::PdfError;

/// A lexical element, as far as it matters for finding ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Token<'a> {
    /// `[` or `<<`.
    Open,
    /// `]` or `>>`.
    Close,
    /// A name, string or hexadecimal string, with its delimiters.
    Other,
    /// Regular characters: a number or a keyword.
    Word(&'a [u8]),
}

/// Goes over octets element by element.
#[derive(Clone, Debug)]
pub(super) struct Lexer<'a> {
    octets: &'a [u8],
    pub(super) position: usize,
}

impl<'a> Lexer<'a> {
    pub(super) fn new(octets: &'a [u8], position: usize) -> Self {
        Self { octets, position }
    }

    fn rest(&self) -> &'a [u8] {
        self.octets.get(self.position..).unwrap_or_default()
    }

    /// Over white space and comments.
    pub(super) fn skip_space(&mut self) {
        loop {
            let blanks = self.rest().iter().take_while(|octet| is_white_space(**octet)).count();
            self.position += blanks;
            if self.rest().first() != Some(&b'%') {
                return;
            }
            self.position += self.rest().iter().take_while(|octet| !matches!(octet, b'\r' | b'\n')).count();
        }
    }

    /// The next element; none at the end, or where a string never ends.
    pub(super) fn next(&mut self) -> Option<Token<'a>> {
        self.skip_space();
        let rest = self.rest();
        let (length, token) = match rest {
            [] => return None,
            [b'<', b'<', ..] => (2, Token::Open),
            [b'>', b'>', ..] => (2, Token::Close),
            [b'[', ..] => (1, Token::Open),
            [b']', ..] => (1, Token::Close),
            [b'<', ..] => (rest.iter().position(|octet| *octet == b'>')? + 1, Token::Other),
            [b'(', ..] => (literal_string(rest)?, Token::Other),
            [b'/', name @ ..] => (1 + regular(name), Token::Other),
            [b')' | b'>' | b'{' | b'}', ..] => return None,
            _ => {
                let length = regular(rest);
                (length, Token::Word(&rest[..length]))
            }
        };
        self.position += length;
        Some(token)
    }

    /// The next element is this keyword.
    pub(super) fn keyword(&mut self, word: &[u8]) -> Option<()> {
        (self.next()? == Token::Word(word)).then_some(())
    }

    /// The next element is an unsigned integer of at most ten digits.
    pub(super) fn number(&mut self) -> Option<usize> {
        let Token::Word(word) = self.next()? else { return None };
        digits(word)
    }

    /// Over one value and the keyword after it, which is one of `ends`: where the value's octets end, and which it was.
    pub(super) fn value(&mut self, ends: &[&'static [u8]], nesting: usize) -> Option<(usize, &'static [u8])> {
        let mut depth = 0_usize;
        loop {
            match self.next()? {
                Token::Open => {
                    depth += 1;
                    if depth > nesting {
                        return None;
                    }
                }
                Token::Close => depth = depth.checked_sub(1)?,
                Token::Word(word) if depth == 0 => {
                    if let Some(end) = ends.iter().find(|end| **end == word) {
                        return Some((self.position - end.len(), end));
                    }
                }
                Token::Other | Token::Word(_) => {}
            }
        }
    }
}

/// An unsigned integer of at most ten digits.
pub(super) fn digits(word: &[u8]) -> Option<usize> {
    let all_digits = (1..=10).contains(&word.len()) && word.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(word).ok().filter(|_| all_digits)?.parse().ok()
}

/// ISO 32000-2, table 1.
pub(super) fn is_white_space(octet: u8) -> bool {
    matches!(octet, b'\0' | b'\t' | b'\n' | b'\x0c' | b'\r' | b' ')
}

fn regular(octets: &[u8]) -> usize {
    let delimits = |octet: &u8| is_white_space(*octet) || b"()<>[]{}/%".contains(octet);
    octets.iter().position(delimits).unwrap_or(octets.len())
}

/// The length of a literal string: parentheses balance unless escaped (7.3.4.2).
fn literal_string(octets: &[u8]) -> Option<usize> {
    let (mut depth, mut position) = (0_usize, 0);
    loop {
        match octets.get(position)? {
            b'\\' => position += 1,
            b'(' => depth += 1,
            b')' => depth -= 1,
            _ => {}
        }
        position += 1;
        if depth == 0 {
            return Some(position);
        }
    }
}

/// The one value that `octets` hold; an error where there is more than one, or a part of one.
pub(super) fn value(octets: &[u8]) -> Result<Object, PdfError> {
    // As the first of an array whose second element is known: were there more, or less, the second would not follow.
    const FIRST: &[u8] = b"1 0 [";
    const LAST: &[u8] = b"\n/End]";
    let content = [FIRST, octets, LAST].concat();
    let mut dictionary = Dictionary::new();
    dictionary.set("First", 4);
    dictionary.set("N", 1);
    let wrong = || PdfError::malformed("PDF value", "it cannot be read as one");
    let stream = Stream::new(dictionary, content);
    let mut objects = ObjectStream::new(&stream).map_err(|_| wrong())?.objects;
    match objects.remove(&(1, 0)) {
        Some(Object::Array(mut array)) if array.len() == 2 => {
            let last = array.pop();
            let value = array.pop().filter(|_| last == Some(Object::Name(b"End".to_vec())));
            value.ok_or_else(wrong)
        }
        _ => Err(wrong()),
    }
}

/// How many arrays and dictionaries stand within each other in these octets.
pub(super) fn depth(octets: &[u8]) -> usize {
    let (mut lexer, mut depth, mut deepest) = (Lexer::new(octets, 0), 0_usize, 0);
    while let Some(token) = lexer.next() {
        match token {
            Token::Open => depth += 1,
            Token::Close => depth = depth.saturating_sub(1),
            Token::Other | Token::Word(_) => {}
        }
        deepest = deepest.max(depth);
    }
    deepest
}

/// Has any dictionary in these octets of one value a key twice? Readers differ in which of the two they take.
pub(super) fn has_duplicate_keys(octets: &[u8], value: &Object) -> bool {
    let mut flat = Vec::with_capacity(octets.len());
    let mut lexer = Lexer::new(octets, 0);
    let mut taken = 0;
    while let Some(token) = lexer.next() {
        flat.extend_from_slice(match (token, &octets[taken..lexer.position]) {
            // What stands before it is white space and comments.
            (Token::Open, _) => b"[ ",
            (Token::Close, _) => b" ]",
            (_, other) => other,
        });
        // A comment that was copied along must not reach over what follows.
        flat.push(b'\n');
        taken = lexer.position;
    }
    self::value(&flat).map_or(true, |flat| differs(value, &flat))
}

/// Does a value differ in its number of members from the same with arrays in place of dictionaries?
fn differs(value: &Object, flat: &Object) -> bool {
    match (value, flat) {
        (Object::Dictionary(dictionary), Object::Array(flat)) => {
            flat.len() != 2 * dictionary.len()
                || dictionary.iter().zip(flat.chunks(2)).any(|((_, value), pair)| differs(value, &pair[1]))
        }
        (Object::Array(array), Object::Array(flat)) => {
            array.len() != flat.len() || array.iter().zip(flat).any(|(value, flat)| differs(value, flat))
        }
        (Object::Array(_) | Object::Dictionary(_), _) | (_, Object::Array(_)) => true,
        _ => false,
    }
}
