//! Texts of strangers, so that people see all that is in them: what has no shape of its own, or changes how the rest
//! reads, is written out as `〖U+202E〗`. Names in certificates come from whoever made them.

use std::iter;

/// The most characters of one text that are shown; how many more there are is written out behind them.
pub const MOST_CHARACTERS: usize = 2_000;

/// A character to be shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shown {
    /// The character.
    pub character: char,
    /// It belongs to what stands for something else, and not to the text.
    pub written_out: bool,
}

/// A text for a terminal or a log.
pub fn visible(text: &str) -> String {
    shown(text, |_| true).map(|shown| shown.character).collect()
}

/// The characters to show for a text, where only some can be: a font has not all of them.
pub fn shown(text: &str, has_shape: impl Fn(char) -> bool) -> impl Iterator<Item = Shown> {
    let each = text.chars().take(MOST_CHARACTERS).flat_map(move |character| {
        let plain = !is_hidden(character) && has_shape(character);
        let code = (!plain).then(|| format!("〖U+{:04X}〗", u32::from(character)));
        plain.then_some(Shown { character, written_out: false }).into_iter().chain(written_out(code))
    });
    let more = text.chars().skip(MOST_CHARACTERS).count();
    each.chain(written_out((more > 0).then(|| format!("〖+{more}〗"))))
}

fn written_out(text: Option<String>) -> impl Iterator<Item = Shown> {
    let characters: Vec<char> = text.iter().flat_map(|text| text.chars()).collect();
    iter::zip(characters, iter::repeat(true)).map(|(character, written_out)| Shown { character, written_out })
}

/// Controls, format characters (Unicode's Cc, Cf, Zl, Zp), fillers and selectors without a shape, private use.
fn is_hidden(character: char) -> bool {
    character.is_control()
        || matches!(u32::from(character),
            0x00AD | 0x034F | 0x0600..=0x0605 | 0x061C | 0x06DD | 0x070F | 0x0890..=0x0891 | 0x08E2
            | 0x115F..=0x1160 | 0x17B4..=0x17B5 | 0x180B..=0x180F | 0x200B..=0x200F | 0x2028..=0x202E
            | 0x2060..=0x206F | 0x3164 | 0xE000..=0xF8FF | 0xFE00..=0xFE0F | 0xFEFF | 0xFFA0
            | 0xFFF0..=0xFFFB | 0xFFFE..=0xFFFF | 0x110BD | 0x110CD | 0x13430..=0x1343F
            | 0x1BCA0..=0x1BCA3 | 0x1D173..=0x1D17A | 0xE0000..=0x10FFFF)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_seen_is_written_out() {
        assert_eq!(visible("西安市某某有限公司"), "西安市某某有限公司");
        assert_eq!(
            visible("a\u{202E}fdp\r\n\u{1b}[2K\u{200B}b"),
            "a〖U+202E〗fdp〖U+000D〗〖U+000A〗〖U+001B〗[2K〖U+200B〗b"
        );
        let unknown: Vec<_> = shown("a𠮷", |character| character.is_ascii()).collect();
        assert_eq!(unknown.iter().map(|shown| shown.character).collect::<String>(), "a〖U+20BB7〗");
        assert_eq!(
            unknown.iter().map(|shown| shown.written_out).filter(|written_out| *written_out).count(),
            9
        );
    }

    #[test]
    fn a_long_text_is_cut_and_says_so() {
        let long = visible(&"长".repeat(10_000));
        assert!(long.ends_with("长〖+8000〗"), "{}", long.chars().count());
    }
}
