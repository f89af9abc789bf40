//! What a page shows, compared with what it should: text by its places, which are those of [`crate::edition`].

use super::EditionData;
use crate::edition::{FACT_SIZE, LABEL_WIDTH, MARGIN};

/// How far, in points, a place may be off: millimetres in thousandths and back.
const SLACK: f32 = 2.0;

/// The most characters and the most fills of a page that are compared: many times what a page can show.
const MOST: usize = 10_000;

/// A character on a page, in points from the upper left corner.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Glyph {
    pub(crate) character: char,
    pub(crate) left: f32,
    pub(crate) base: f32,
    pub(crate) size: f32,
    /// Drawn so that nobody can see it.
    pub(crate) hidden: bool,
}

/// Something that is filled or a picture.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Cover {
    /// Left, top, right, bottom.
    pub(crate) area: [f32; 4],
    /// How many characters were drawn before it, which it can cover.
    pub(crate) after: usize,
}

/// All that can be read of a page, in the order in which it is drawn.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct ShownPage {
    pub(crate) glyphs: Vec<Glyph>,
    pub(crate) covers: Vec<Cover>,
    /// What is done on the page that editions do not do, so that what people see may be something else.
    pub(crate) odd: Vec<String>,
}

impl ShownPage {
    pub(crate) fn odd(&mut self, what: impl Into<String>) {
        let what = what.into();
        if !self.odd.contains(&what) && self.odd.len() < 8 {
            self.odd.push(what);
        }
    }

    /// What the page shows otherwise than `data` says; labels and names of parts, no values.
    pub(super) fn differences(&self, data: &EditionData) -> Vec<String> {
        if self.glyphs.len() > MOST || self.covers.len() > MOST {
            return vec![format!("其他文字 (more than {MOST} characters or fills)")];
        }
        let mut found = Vec::new();
        if self.glyphs.iter().any(|glyph| glyph.hidden) {
            found.push("文字不可见 (text that cannot be seen)".to_owned());
        }
        if self.is_covered() {
            found.push("文字被遮盖 (text that something lies over)".to_owned());
        }
        let is_fact = |glyph: &&Glyph| (glyph.size - FACT_SIZE).abs() < 0.3;
        let is_label = |glyph: &&Glyph| glyph.left < MARGIN + LABEL_WIDTH - SLACK;
        let lines = |wanted: &dyn Fn(&&Glyph) -> bool| lines(self.glyphs.iter().filter(wanted).collect());
        let labels = lines(&|glyph| is_fact(glyph) && is_label(glyph));
        let values = lines(&|glyph| is_fact(glyph) && !is_label(glyph));
        self.facts(data, &labels, &values, &mut found);
        let others = lines(&|glyph| !is_fact(glyph));
        let others: String = others.iter().map(|glyph| glyph.character).collect();
        let parts = [
            ("标题 (title)", &data.title),
            ("版式说明 (kind)", &data.kind),
            ("登记机关", &data.authority),
            ("登记日期", &data.date),
            ("附注 (notice)", &data.notice),
        ];
        let wanted: String = parts.iter().map(|(_, text)| plain(text)).collect();
        if plain(&others) != wanted {
            let absent = parts.iter().filter(|(_, text)| !plain(&others).contains(&plain(text)));
            let absent: Vec<String> = absent.map(|(name, _)| (*name).to_owned()).collect();
            found.extend(if absent.is_empty() {
                vec!["其他文字 (further text)".to_owned()]
            } else {
                absent
            });
        }
        found
    }

    fn facts(&self, data: &EditionData, labels: &[&Glyph], values: &[&Glyph], found: &mut Vec<String>) {
        let wanted: String = data.facts.iter().map(|(label, _)| plain(label)).collect();
        let shown: String = labels.iter().map(|glyph| glyph.character).collect();
        if shown != wanted {
            found.push("项目名称 (labels)".to_owned());
            return;
        }
        // A row begins where its label does and ends where the next one begins.
        let mut place = 0;
        let mut starts = Vec::new();
        for (label, _) in &data.facts {
            let count = plain(label).chars().count();
            starts.push(labels.get(place).filter(|_| count > 0).map_or(f32::MAX, |glyph| glyph.base));
            place += count;
        }
        let mut rows = vec![String::new(); data.facts.len()];
        for glyph in values {
            match starts.iter().rposition(|start| *start <= glyph.base + SLACK) {
                Some(row) => rows[row].push(glyph.character),
                None => found.push("其他文字 (further text)".to_owned()),
            }
        }
        for ((label, value), row) in data.facts.iter().zip(&rows) {
            if plain(row) != plain(value) {
                found.push(label.clone());
            }
        }
    }

    /// Does something that is drawn later lie over a character?
    fn is_covered(&self) -> bool {
        self.covers.iter().any(|Cover { area: [left, top, right, bottom], after }| {
            self.glyphs[..(*after).min(self.glyphs.len())].iter().any(|glyph| {
                // The middle of a character, as far as it can be told without its font.
                let (x, y) = (glyph.left + glyph.size * 0.25, glyph.base - glyph.size * 0.3);
                (*left..=*right).contains(&x) && (*top..=*bottom).contains(&y)
            })
        })
    }
}

/// Characters in the order in which they are read, line by line; without blanks.
fn lines(mut glyphs: Vec<&Glyph>) -> Vec<&Glyph> {
    glyphs.retain(|glyph| !glyph.character.is_whitespace());
    glyphs.sort_by(|one, other| one.base.total_cmp(&other.base));
    let by_line = glyphs.chunk_by_mut(|one, other| other.base - one.base < SLACK);
    for line in by_line {
        line.sort_by(|one, other| one.left.total_cmp(&other.left));
    }
    glyphs
}

/// Without blanks, and with what is written out for want of a shape (`〖U+20BB7〗`) as the character it stands for.
fn plain(text: &str) -> String {
    let text: String = text.chars().filter(|character| !character.is_whitespace()).collect();
    let mut plain = String::with_capacity(text.len());
    let mut rest = text.as_str();
    while let Some(start) = rest.find("〖U+") {
        let code = &rest[start + "〖U+".len()..];
        let end = code.find('〗').filter(|end| (1..=6).contains(end));
        let character =
            end.and_then(|end| u32::from_str_radix(&code[..end], 16).ok()).and_then(char::from_u32);
        let (Some(end), Some(character)) = (end, character) else {
            plain.push_str(&rest[..start + "〖U+".len()]);
            rest = code;
            continue;
        };
        plain.push_str(&rest[..start]);
        if !character.is_whitespace() {
            plain.push(character);
        }
        rest = &code[end + '〗'.len_utf8()..];
    }
    plain + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(facts: &[(&str, &str)]) -> EditionData {
        EditionData {
            version: EditionData::VERSION,
            title: "营业执照".to_owned(),
            kind: String::new(),
            facts: facts.iter().map(|(label, value)| ((*label).to_owned(), (*value).to_owned())).collect(),
            authority: String::new(),
            date: String::new(),
            notice: String::new(),
        }
    }

    fn put(page: &mut ShownPage, text: &str, left: f32, base: f32, size: f32) {
        for (place, character) in text.chars().enumerate() {
            let left = left + size * place as f32;
            page.glyphs.push(Glyph { character, left, base, size, hidden: false });
        }
    }

    /// Two facts, the second value over two lines, drawn in any order.
    fn page() -> ShownPage {
        let mut page = ShownPage::default();
        put(&mut page, "乙丙", 168.0, 160.0, 12.5);
        put(&mut page, "丁", 168.0, 176.0, 12.5);
        put(&mut page, "营业执照", 350.0, 90.0, 34.0);
        put(&mut page, "名称", 72.0, 140.0, 12.5);
        put(&mut page, "甲", 168.0, 140.0, 12.5);
        put(&mut page, "住所", 72.0, 160.0, 12.5);
        page
    }

    #[test]
    fn text_is_read_by_its_places_and_not_by_the_order_it_is_drawn_in() {
        assert_eq!(page().differences(&data(&[("名称", "甲"), ("住所", "乙 丙丁")])), [""; 0]);
        assert_eq!(page().differences(&data(&[("名称", "甲"), ("住所", "乙丙")])), ["住所"]);
        assert_eq!(page().differences(&data(&[("名称", "乙丙丁"), ("住所", "甲")])), ["名称", "住所"]);
        assert_eq!(page().differences(&data(&[("名称", "甲")])), ["项目名称 (labels)"]);
    }

    #[test]
    fn text_beside_hidden_or_covered_is_found() {
        let wanted = data(&[("名称", "甲"), ("住所", "乙丙丁")]);
        let mut further = page();
        put(&mut further, "作废", 400.0, 300.0, 20.0);
        assert_eq!(further.differences(&wanted), ["其他文字 (further text)"]);
        let mut hidden = page();
        hidden.glyphs[0].hidden = true;
        assert_eq!(hidden.differences(&wanted).len(), 1);
        let mut covered = page();
        covered.covers.push(Cover { area: [160.0, 125.0, 400.0, 145.0], after: covered.glyphs.len() });
        assert_eq!(covered.differences(&wanted).len(), 1);
        let mut many = page();
        many.covers = vec![Cover { area: [0.0; 4], after: 0 }; MOST + 1];
        assert_eq!(many.differences(&wanted).len(), 1);
        // What is drawn before the text lies under it.
        covered.covers[0].after = 0;
        assert_eq!(covered.differences(&wanted), [""; 0]);
    }

    #[test]
    fn a_character_that_is_written_out_is_the_one_it_stands_for() {
        assert_eq!(plain("甲〖U+20BB7〗 乙"), "甲\u{20BB7}乙");
        for other in ["〖U+〗", "〖U+110000〗", "〖U+ZZ〗", "〖U+20BB7", "〖U+D800〗"] {
            assert_eq!(plain(other), other);
        }
    }
}
