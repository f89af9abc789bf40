//! The operations of a content stream, one at a time, so that a page of many megabytes is never held as objects.

use lopdf::content::{Content, Operation};

use crate::pdf::lexical::{Lexer, Token, is_white_space};
use crate::pdf::sign::SignError;

/// Octets of one operation with its operands, and of what is read as objects at once.
const MAX_OPERATION: usize = 1 << 20;

/// Cuts content behind each operator and has lopdf read the pieces.
pub(super) struct Operations<'a> {
    content: &'a [u8],
    position: usize,
    /// What was read and not handed out yet, the last first.
    ahead: Vec<Option<Operation>>,
}

impl<'a> Operations<'a> {
    pub(super) fn of(content: &'a [u8]) -> Self {
        Self { content, position: 0, ahead: Vec::new() }
    }

    /// Reads the next piece.
    fn read(&mut self) -> Result<(), SignError> {
        let start = self.position;
        // What is longer is refused, so nothing behind that is looked at.
        let window = &self.content[..self.content.len().min(start.saturating_add(MAX_OPERATION + 1))];
        let mut lexer = Lexer::new(window, start);
        let mut depth = 0_usize;
        let operator = loop {
            match lexer.next() {
                None => break None,
                Some(Token::Open) => depth += 1,
                Some(Token::Close) => depth = depth.saturating_sub(1),
                Some(Token::Word(word)) if depth == 0 && is_operator(word) => break Some(word),
                Some(Token::Word(_) | Token::Other) => {}
            }
        };
        let end = if operator.is_some() { lexer.position } else { window.len() };
        if end - start > MAX_OPERATION {
            return Err(SignError::TooLarge("octets of one operation"));
        }
        self.position = end;
        if operator == Some(b"BI") {
            self.position = behind_image(self.content, end);
            self.ahead.push(Some(Operation::new("BI", Vec::new()))); // its octets are no operations
            return Ok(());
        }
        let found: Vec<_> = Content::decode_iter(&window[start..end]).map(Result::ok).collect();
        let is_whole = match operator {
            Some(word) => matches!(found.last(), Some(Some(last)) if last.operator.as_bytes() == word),
            None => lexer.position >= window.len(),
        };
        if !is_whole {
            self.ahead.push(None);
        }
        self.ahead.extend(found.into_iter().rev());
        Ok(())
    }
}

impl Iterator for Operations<'_> {
    /// None for what cannot be read.
    type Item = Result<Option<Operation>, SignError>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.ahead.is_empty() && self.position < self.content.len() {
            if let Err(error) = self.read() {
                self.position = self.content.len();
                return Some(Err(error));
            }
        }
        self.ahead.pop().map(Ok)
    }
}

/// Not a number, `true`, `false` or `null`.
fn is_operator(word: &[u8]) -> bool {
    let begins =
        word.first().is_some_and(|first| first.is_ascii_alphabetic() || matches!(first, b'\'' | b'"'));
    begins && !matches!(word, b"true" | b"false" | b"null")
}

/// Where the inline image whose `BI` ends here is over: behind `EI` between blanks (ISO 32000-2, 8.9.7).
fn behind_image(content: &[u8], start: usize) -> usize {
    let rest = &content[start..];
    let is_end = |at: &usize| {
        let before = at.checked_sub(1).and_then(|before| rest.get(before));
        let after = rest.get(at + 2);
        rest[*at..].starts_with(b"EI")
            && before.copied().is_some_and(is_white_space)
            && after.copied().is_none_or(is_white_space)
    };
    (0..rest.len()).find(is_end).map_or(content.len(), |at| start + at + 2)
}
