//! The templates of a license, A to I, and what an enterprise that is made on demand shows on each of them. What the letters D to H stand for
//! is nowhere published: they are the kinds of subjects in the order of the printed forms.

use std::collections::BTreeMap;

use formats::uscc::Uscc;
use time::OffsetDateTime;

use crate::enterprise::{china_time, chinese_date, registration_number};
use crate::error::CertsTestError;

/// Where all of them are registered: the seal of their public editions is this authority's.
pub(crate) const REGION: &str = "610100";
const CITY: &str = "西安市";
/// Characters of a code that follow what no real one has (`MAXT`); the first is a digit, as of no sample.
const DIGITS: &[u8; 31] = b"0123456789ABCDEFGHJKLMNPQRTUWXY";

/// A template of a license.
#[derive(Debug, PartialEq, Eq)]
pub struct LicenseTemplate {
    /// Attribute 90 of a license.
    pub letter: char,
    /// What it is for.
    pub name: &'static str,
    /// Attribute 91.
    subject_type: &'static str,
    /// The second character of a code (GB 32100).
    category: char,
    /// How names end.
    form: &'static str,
    has_capital: bool,
    has_term: bool,
}

const fn template(
    (letter, name, form): (char, &'static str, &'static str),
    (subject_type, category): (&'static str, char),
    (has_capital, has_term): (bool, bool),
) -> LicenseTemplate {
    LicenseTemplate { letter, name, subject_type, category, form, has_capital, has_term }
}

impl LicenseTemplate {
    /// All of them.
    pub const ALL: [Self; 9] = [
        template(('A', "内资公司", "信息技术有限公司"), ("1100", '1'), (true, true)),
        template(('B', "内资非公司企业", "机械厂"), ("3100", '1'), (true, false)),
        template(('C', "合伙企业", "咨询合伙企业（有限合伙）"), ("4530", '1'), (false, true)),
        template(('D', "农民专业合作社", "种植专业合作社"), ("9100", '3'), (true, false)),
        template(('E', "个人独资企业", "设计工作室"), ("4540", '1'), (false, false)),
        template(('F', "个体工商户", "便利店"), ("9500", '2'), (false, false)),
        template(('G', "分支机构", "信息技术有限公司西安分公司"), ("2110", '1'), (false, true)),
        template(('H', "外商投资企业", "贸易（中国）有限公司"), ("5100", '1'), (true, true)),
        template(('I', "外国企业类", "株式会社西安代表处"), ("7100", '1'), (false, true)),
    ];

    /// That of a letter.
    #[must_use]
    pub fn of(letter: &str) -> Option<&'static Self> {
        Self::ALL.iter().find(|template| letter.chars().eq([template.letter]))
    }

    /// A name for an enterprise of this code.
    #[must_use]
    pub fn name_for(&self, uscc: &Uscc) -> String {
        let mark: String = uscc.as_str().chars().skip(12).collect();
        format!("{CITY}测试{mark}{}", self.form)
    }

    /// A code that keeps GB 32100 and that nobody has been given.
    ///
    /// # Errors
    /// [`CertsTestError::Key`]: the system gives no random numbers.
    pub fn draw_code(&self) -> Result<Uscc, CertsTestError> {
        let mut drawn = [0; 4];
        getrandom::fill(&mut drawn).map_err(|_| CertsTestError::Key)?;
        let [first, rest @ ..] = drawn;
        let mut tail = char::from(b'0' + first % 10).to_string();
        tail.extend(rest.iter().map(|octet| char::from(DIGITS[usize::from(*octet) % DIGITS.len()])));
        Ok(Uscc::with_check_digits(&format!("9{}{REGION}MAXT{tail}", self.category))?)
    }

    /// What a license by this template shows.
    pub(crate) fn face(&self, uscc: &Uscc, name: &str, issued: OffsetDateTime) -> BTreeMap<u16, String> {
        let issued = chinese_date(issued.to_offset(china_time()).date());
        let scope = "软件开发；信息系统集成服务；日用百货销售（仅用于测试）。".to_owned();
        let mut face = BTreeMap::from([
            (13, uscc.to_string()),
            (18, name.to_owned()),
            (19, "电子营业执照".to_owned()),
            (20, LEGAL_REPRESENTATIVE.to_owned()),
            (29, format!("陕西省{CITY}测试路1号")),
            (33, "2015年03月02日".to_owned()),
            (42, format!("{CITY}市场监督管理局（测试）")),
            (43, issued),
            (44, "https://gsxt.test".to_owned()),
            (45, "测试用 TEST ONLY 市场监督管理总局监制".to_owned()),
            (46, "V2.0".to_owned()),
            (51, "1.0".to_owned()),
            (90, self.letter.to_string()),
            (91, self.subject_type.to_owned()),
            (93, REGION.to_owned()),
        ]);
        // What cooperatives do is 业务范围, what others do 经营范围.
        face.insert(if self.letter == 'D' { 40 } else { 39 }, scope);
        if self.has_capital {
            face.insert(25, "100万元人民币".to_owned());
        }
        if self.has_term {
            face.insert(35, "2015年03月02日".to_owned());
            face.insert(38, "长期".to_owned());
        }
        if self.letter == 'B' {
            face.insert(17, registration_number(REGION, 10_000_001));
        }
        if self.letter == 'I' {
            face.insert(49, "TEST ONLY Example K.K.".to_owned());
            face.insert(50, "1-1 Test, Tokyo, Japan".to_owned());
        }
        face
    }
}

/// The legal representative of each of them.
pub const LEGAL_REPRESENTATIVE: &str = "测试甲";

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a test that cannot go on fails

    use super::*;

    #[test]
    fn drawn_codes_are_valid_and_no_samples() {
        for template in &LicenseTemplate::ALL {
            let code = template.draw_code().unwrap();
            assert_eq!(Uscc::parse(code.as_str()).as_ref(), Ok(&code));
            assert!(!code.is_test() && code.as_str()[8..].starts_with("MAXT"), "{code}");
            assert!(code.as_str().as_bytes()[12].is_ascii_digit(), "{code}");
            assert!(template.name_for(&code).contains("测试"));
        }
    }

    #[test]
    fn a_template_is_found_by_its_letter_alone() {
        assert_eq!(LicenseTemplate::of("I").map(|template| template.name), Some("外国企业类"));
        for letter in ["", "AA", "a", "J"] {
            assert_eq!(LicenseTemplate::of(letter), None);
        }
    }
}
