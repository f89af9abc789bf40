//! Which passwords are taken. What is refused is what guessers try first: short ones, those of few kinds of characters,
//! runs on the keyboard, the account's own name, and the usual ones with a few characters around or replaced.

use std::collections::BTreeSet;
use std::sync::LazyLock;

/// Characters that a password has at most.
pub(crate) const LONGEST: usize = 128;
/// A password of so many characters need not have several kinds of them.
const LONG: usize = 20;
/// Kinds of characters (small letters, capitals, digits, others) that a shorter one has at least.
const KINDS: usize = 3;
/// Different characters that a password has at least.
const DIFFERENT: usize = 6;
/// So many neighbours in a row are a run.
const RUN: usize = 4;

/// Words that usual passwords are made of, small letters and digits, sorted.
static USUAL: LazyLock<BTreeSet<&'static str>> =
    LazyLock::new(|| include_str!("usual.txt").lines().collect());
/// Rows in which neighbours are next to each other, forth and back.
const ROWS: [&str; 8] = [
    "abcdefghijklmnopqrstuvwxyz",
    "01234567890",
    "qwertyuiop",
    "asdfghjkl",
    "zxcvbnm",
    "!@#$%^&*()",
    "1qaz2wsx3edc4rfv5tgb6yhn7ujm",
    "qazwsxedcrfvtgbyhnujm",
];

/// What is wrong with a password for this person, for people; nothing if it is taken.
pub(crate) fn weaknesses(password: &str, name: &str, display_name: &str, shortest: usize) -> Vec<String> {
    let mut found = Vec::new();
    let length = password.chars().count();
    if length < shortest || length > LONGEST {
        found.push(format!("must have {shortest} to {LONGEST} characters"));
    }
    if length > LONGEST {
        return found; // what else is wrong takes long to find in a long one
    }
    if password.chars().any(char::is_control) {
        found.push("must have no control characters".to_owned());
    }
    if length < LONG && kinds(password) < KINDS {
        found.push(format!(
            "must have {KINDS} of: small letters, capitals, digits, others; or {LONG} characters"
        ));
    }
    if password.chars().collect::<BTreeSet<_>>().len() < DIFFERENT {
        found.push(format!("must have {DIFFERENT} different characters"));
    }
    let plain = plain(password);
    let own = [name, display_name].into_iter().map(|name| letters(&self::plain(name)));
    let named = |own: &String| own.chars().count() >= 2 && letters(&plain).contains(own.as_str());
    if own.into_iter().any(|own| named(&own) || named(&own.chars().rev().collect())) {
        found.push("must not hold the account's own name".to_owned());
    }
    let in_runs = in_runs(&password.to_lowercase());
    if 2 * in_runs > length {
        found.push("must not be made of runs such as 1234, qwer or aaaa".to_owned());
    }
    if length < LONG && is_usual(&plain, &password.to_lowercase()) {
        found.push("is a usual password, or one with little added".to_owned());
    }
    found
}

fn kinds(password: &str) -> usize {
    let has = |kind: fn(char) -> bool| usize::from(password.chars().any(kind));
    has(char::is_lowercase)
        + has(char::is_uppercase)
        + has(|c| c.is_ascii_digit())
        + has(|c| !c.is_lowercase() && !c.is_uppercase() && !c.is_ascii_digit())
}

/// In small letters, with signs that stand for letters replaced by these.
fn plain(password: &str) -> String {
    let letter = |c| match c {
        '0' => 'o',
        '1' | '!' | '|' => 'i',
        '3' => 'e',
        '4' | '@' => 'a',
        '5' | '$' => 's',
        '7' | '+' => 't',
        '8' => 'b',
        other => other,
    };
    password.chars().flat_map(char::to_lowercase).map(letter).collect()
}

fn letters(text: &str) -> String {
    text.chars().filter(|c| c.is_alphabetic()).collect()
}

/// Whether nothing much is left beside usual words: fewer than half of its characters, digits and signs apart that
/// stand before or after them.
fn is_usual(plain: &str, small: &str) -> bool {
    let made_of_words = |text: &str| {
        let letters: Vec<char> = text.chars().filter(|c| c.is_alphanumeric()).collect();
        let left = uncovered(&letters);
        2 * left < letters.len()
    };
    let core = |text: &str| text.trim_matches(|c: char| !c.is_alphabetic()).to_owned();
    made_of_words(&core(plain)) || made_of_words(&core(small))
}

/// How many characters no usual word of four or more covers, taking the longest at each place.
fn uncovered(text: &[char]) -> usize {
    let (mut at, mut left) = (0, 0);
    while at < text.len() {
        let longest = (4..=text.len() - at)
            .rev()
            .find(|length| USUAL.contains(text[at..at + length].iter().collect::<String>().as_str()));
        match longest {
            Some(length) => at += length,
            None => (at, left) = (at + 1, left + 1),
        }
    }
    left
}

/// How many characters stand in runs of neighbours, or of one character.
fn in_runs(text: &str) -> usize {
    let text: Vec<char> = text.chars().collect();
    let (mut total, mut from) = (0, 0);
    while from < text.len() {
        let mut to = from + 1;
        while to < text.len() && is_run(&text[from..=to]) {
            to += 1;
        }
        let run = to - from;
        (total, from) = if run >= RUN { (total + run, to) } else { (total, from + 1) };
    }
    total
}

fn is_run(part: &[char]) -> bool {
    if part.iter().all(|c| *c == part[0]) {
        return true;
    }
    let forth: String = part.iter().collect();
    let back: String = part.iter().rev().collect();
    ROWS.iter().any(|row| row.contains(&forth) || row.contains(&back))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(password: &str) -> Vec<String> {
        weaknesses(password, "wang.lei", "王磊", 12)
    }

    #[test]
    fn what_guessers_try_first_is_refused() {
        for weak in [
            "",
            "Short-1",
            "password",
            "Password1234!",
            "P@ssw0rd2026!",
            "Admin@123456",
            "Welcome2026!!",
            "Qwertyuiop-1",
            "1qaz2wsx3edcA!",
            "Aa123456789!",
            "aaaaaaaaaaaA1!",
            "Ab1!Ab1!Ab1!",
            "woaini5201314A!",
            "Shaanxi@2026!",
            "Wanglei#84k2Zq",
            "王磊Abc-7193xk",
            "ielgnawQ-7193x",
            "lowercaseonlyx",
            "zhongguo!2026Aa",
            "tab\tInside-4711",
        ] {
            assert!(!refused(weak).is_empty(), "{weak}");
        }
        let endless = format!("Kx7-{}", "vQ2m".repeat(40));
        assert!(!refused(&endless).is_empty());
        // Nothing else is looked for in it: that would take minutes.
        assert_eq!(refused(&"a".repeat(1_000_000)).len(), 1);
    }

    #[test]
    fn what_is_hard_to_guess_is_taken() {
        for good in [
            "kT7-vepo-Quag",
            "Nie3wieder%Regen",
            "correct horse battery staple",
            "晨雾里的第七只白鹭Kx3",
            "b9d4c07e6f1a2835de90",
            "Zw4nzig!Moorhuhn",
        ] {
            assert_eq!(refused(good), Vec::<String>::new(), "{good}");
        }
    }

    #[test]
    fn the_list_is_sorted_and_in_the_form_it_is_looked_up_in() {
        let lines: Vec<_> = include_str!("usual.txt").lines().collect();
        assert!(lines.len() >= 300 && lines.is_sorted());
        let sane = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        assert!(lines.iter().all(|line| line.chars().all(sane)));
    }
}
