//! Made-up enterprises of Shaanxi with codes that keep GB 32100. Every name says 测试 (test), every
//! person is called 测试 and a cyclical character, and no subject code has been handed out.

use std::collections::BTreeMap;

use formats::uscc::{Uscc, UsccError};
use time::{Date, OffsetDateTime, UtcOffset};

/// Cities with the codes of their registration authorities (GB/T 2260).
const CITIES: [(&str, &str); 8] = [
    ("西安市", "610100"),
    ("铜川市", "610200"),
    ("宝鸡市", "610300"),
    ("咸阳市", "610400"),
    ("渭南市", "610500"),
    ("延安市", "610600"),
    ("汉中市", "610700"),
    ("榆林市", "610800"),
];

const WORDS: [&str; 8] = ["星河", "云程", "秦川", "长乐", "渭水", "终南", "丰镐", "灞桥"];

const PEOPLE: [&str; 8] = ["测试甲", "测试乙", "测试丙", "测试丁", "测试戊", "测试己", "测试庚", "测试辛"];

const TRADES: [(&str, &str); 8] = [
    ("信息技术", "软件开发；信息系统集成服务；数据处理和存储支持服务。"),
    ("商贸", "日用百货销售；五金产品批发；办公用品销售。"),
    ("建筑工程", "建设工程施工；园林绿化工程施工；建筑材料销售。"),
    ("农业发展", "谷物种植；水果种植；农副产品销售。"),
    ("文化传媒", "组织文化艺术交流活动；广告设计、代理。"),
    ("物流", "道路货物运输；普通货物仓储服务；装卸搬运。"),
    ("餐饮管理", "餐饮管理；餐饮服务；食品销售。"),
    ("机械制造", "通用设备制造；机械零件、零部件加工；金属制品修理。"),
];

/// Enterprises available for each template.
pub(crate) const PER_TEMPLATE: usize = CITIES.len();

/// The templates: 内资公司, 内资非公司企业, 合伙企业.
pub(crate) const TEMPLATES: [char; 3] = ['A', 'B', 'C'];

/// An enterprise and its license's face.
pub(crate) struct Enterprise {
    pub(crate) template: char,
    pub(crate) uscc: Uscc,
    pub(crate) name: String,
    /// Six digits of the registration authority.
    pub(crate) region: &'static str,
    /// When its license was issued.
    pub(crate) issued: OffsetDateTime,
    /// Face attributes by number.
    pub(crate) face: BTreeMap<u16, String>,
}

/// The enterprise with this number below [`PER_TEMPLATE`] among those of a template, its license issued
/// at a time.
pub(crate) fn enterprise(
    template: char,
    number: usize,
    issued: OffsetDateTime,
) -> Result<Enterprise, UsccError> {
    let (city, region) = CITIES[number];
    let (trade, scope) = TRADES[number];
    let uscc = Uscc::with_check_digits(&format!("91{region}MAXT{template}{:03}", number + 1))?;
    let name = match template {
        'A' => format!("{city}测试{}{trade}有限公司", WORDS[number]),
        'B' => format!("{city}测试{}{trade}厂", WORDS[number]),
        _ => format!("{city}测试{}{trade}合伙企业（有限合伙）", WORDS[number]),
    };
    let subject_type = match template {
        'A' => "1100",
        'B' => "3100",
        _ => "4530",
    };
    let founded = format!("{}年{:02}月{:02}日", 2009 + number, number + 2, 3 * number + 1);

    let mut face = BTreeMap::from([
        (13, uscc.to_string()),
        (18, name.clone()),
        (19, "电子营业执照".to_owned()),
        (20, PEOPLE[number].to_owned()),
        (29, format!("陕西省{city}测试路{}号", 10 * (number + 1))),
        (33, founded.clone()),
        (39, scope.to_owned()),
        (42, format!("{city}市场监督管理局（测试）")),
        (43, chinese_date(issued.to_offset(china_time()).date())),
        (44, "https://gsxt.test".to_owned()),
        (45, "测试用 TEST ONLY 市场监督管理总局监制".to_owned()),
        (46, "V2.0".to_owned()),
        (51, "1.0".to_owned()),
        (90, template.to_string()),
        (91, subject_type.to_owned()),
        (93, region.to_owned()),
    ]);
    if template != 'C' {
        face.insert(25, format!("{}万元人民币", 100 * (number + 1)));
    }
    if template != 'B' {
        face.insert(35, founded);
        face.insert(38, if number.is_multiple_of(2) { "长期".to_owned() } else { "20591231".to_owned() });
    }
    if template == 'B' {
        face.insert(17, registration_number(region, 10_000_001 + number));
    }
    Ok(Enterprise { template, uscc, name, region, issued, face })
}

/// 注册号 (GS 15-2006): authority, eight digits of serial, check digit modulo 11 and 10.
pub(crate) fn registration_number(region: &str, serial: usize) -> String {
    let body = format!("{region}{serial:08}");
    let product = body.chars().filter_map(|digit| digit.to_digit(10)).fold(10, |product, digit| {
        let sum = (product + digit) % 10;
        (if sum == 0 { 10 } else { sum }) * 2 % 11
    });
    format!("{body}{}", (11 - product) % 10)
}

/// `2021年12月08日`.
pub(crate) fn chinese_date(date: Date) -> String {
    format!("{}年{:02}月{:02}日", date.year(), u8::from(date.month()), date.day())
}

/// UTC+8, in which licenses are dated.
pub(crate) fn china_time() -> UtcOffset {
    UtcOffset::from_hms(8, 0, 0).unwrap_or(UtcOffset::UTC)
}

#[cfg(test)]
mod tests {
    use super::registration_number;

    #[test]
    fn a_registration_number_ends_with_its_check_digit() {
        assert_eq!(registration_number("440301", 10_344_866), "440301103448669");
    }
}
