//! What a name is found by: its pairs of neighbouring characters, as words that either database's full-text index takes
//! as they are. Chinese has no spaces to part words by; two characters that stand side by side are found wherever
//! they stand, and no extension of the database is needed (docs/adr/0041).

use std::collections::BTreeSet;
use std::fmt::Write;

use unicode_normalization::UnicodeNormalization;

/// Fewest characters that are looked for: what has fewer stands in too many names.
const FEWEST: usize = 2;
/// Most characters; no name is longer.
const MOST: usize = 100;

/// A name, or a part of one, as names are compared: full-width and compatibility forms as their plain ones (NFKC), small
/// letters, without spaces and punctuation. Traditional characters stay: they are other characters.
pub(super) fn folded(name: &str) -> String {
    name.nfkc().flat_map(char::to_lowercase).filter(|character| character.is_alphanumeric()).collect()
}

/// The words that a name stands under in the index. They consist of small ASCII letters and digits, so that nothing in a
/// name can mean anything to a database.
pub(super) fn words(name: &str, status: i64) -> String {
    let folded: Vec<char> = folded(name).chars().collect();
    let mut words = pairs(&folded);
    words.extend(start(&folded));
    words.insert(status_word(status));
    Vec::from_iter(words).join(" ")
}

fn pairs(folded: &[char]) -> BTreeSet<String> {
    folded.windows(2).map(|pair| word('b', pair)).collect()
}

/// The word for how a name begins.
fn start(folded: &[char]) -> Option<String> {
    folded.get(..2).map(|pair| word('a', pair))
}

fn status_word(status: i64) -> String {
    format!("s{status}")
}

fn word(kind: char, pair: &[char]) -> String {
    let mut word = kind.to_string();
    for (place, character) in pair.iter().enumerate() {
        let between = if place == 0 { "" } else { "x" };
        let _ = write!(word, "{between}{:x}", u32::from(*character)); // a String takes all
    }
    word
}

/// What a name is to contain, or to begin with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamePattern {
    folded: String,
    prefix: bool,
}

impl NamePattern {
    /// A pattern; none where fewer than two or more than a hundred letters, digits and characters are left of the
    /// text without its spaces and punctuation.
    #[must_use]
    pub fn new(text: &str, prefix: bool) -> Option<Self> {
        let folded = folded(text);
        let length = folded.chars().count();
        (FEWEST..=MOST).contains(&length).then_some(Self { folded, prefix })
    }

    /// Whether a name is meant: the words alone do not say in which order they stand.
    #[must_use]
    pub fn fits(&self, name: &str) -> bool {
        let name = folded(name);
        if self.prefix { name.starts_with(&self.folded) } else { name.contains(&self.folded) }
    }

    /// The words that every name has which is meant.
    pub(super) fn words(&self, status: Option<i64>) -> Vec<String> {
        let folded: Vec<char> = self.folded.chars().collect();
        let mut words = pairs(&folded);
        if self.prefix {
            words.extend(start(&folded));
        }
        words.extend(status.map(status_word));
        words.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_look_alike_are_found_alike() {
        for (name, wanted) in [
            ("陕西ＡＢＣ（集团）有限公司", "陕西abc集团有限公司"),
            ("陕西abc(集团) 有限公司", "陕西abc集团有限公司"),
            ("\u{f9b4}公司", "\u{9818}公司"), // a compatibility form of 領
            ("〇八一", "〇八一"),
            ("陝西", "陝西"), // traditional: another character
        ] {
            assert_eq!(folded(name), wanted, "{name}");
        }
    }

    #[test]
    fn words_are_small_ascii_letters_and_digits_whatever_the_name() {
        for name in ["' OR 1=1 --", "a\" NEAR(b", "西安*", "𠮷野家", "%_\\", ""] {
            let words = words(name, 1);
            assert!(
                words
                    .bytes()
                    .all(|octet| octet == b' ' || octet.is_ascii_lowercase() || octet.is_ascii_digit()),
                "{words}"
            );
        }
    }

    #[test]
    fn a_pattern_has_two_to_a_hundred_characters() {
        for none in ["", "西", "西 （", "--", &"西".repeat(101)] {
            assert_eq!(NamePattern::new(none, false), None, "{none}");
        }
        assert!(NamePattern::new("西安", true).is_some());
        assert!(NamePattern::new(&"西".repeat(100), false).is_some());
    }

    #[test]
    fn order_counts_though_words_have_none() {
        let pattern = NamePattern::new("安西安", false).unwrap();
        let name = "西安安西";
        let of_name = words(name, 1);
        assert!(pattern.words(None).iter().all(|word| of_name.split(' ').any(|of| of == word)));
        assert!(!pattern.fits(name));
        assert!(NamePattern::new("安西", false).unwrap().fits(name));
        assert!(!NamePattern::new("安西", true).unwrap().fits(name));
    }
}
