//! A made-up province: entities by number, the same for the same number, each with a valid code of its own. Names and
//! addresses are put together from lists; nobody of flesh and blood, and no enterprise, is meant.

use formats::uscc::{Uscc, UsccError};
use serde_json::{Map, Value};

/// A made-up entity.
#[derive(Clone, Debug)]
pub struct Inhabitant {
    /// Its unified social credit code.
    pub uscc: Uscc,
    /// 名称.
    pub name: String,
    /// 照面企业类型.
    pub entity_type: String,
    /// Registration status, 1 to 6 or 9.
    pub status: i64,
    /// What is on file beside it.
    pub flags: Vec<String>,
    /// The face, by the names of [`formats::license::Face`].
    pub face: Map<String, Value>,
}

/// Cities with their counties, and the code of each county.
const REGIONS: [(&str, &str, &str); 20] = [
    ("西安市", "新城区", "610102"),
    ("西安市", "碑林区", "610103"),
    ("西安市", "莲湖区", "610104"),
    ("西安市", "灞桥区", "610111"),
    ("西安市", "未央区", "610112"),
    ("西安市", "雁塔区", "610113"),
    ("西安市", "长安区", "610116"),
    ("铜川市", "王益区", "610202"),
    ("宝鸡市", "渭滨区", "610302"),
    ("宝鸡市", "金台区", "610303"),
    ("咸阳市", "秦都区", "610402"),
    ("咸阳市", "渭城区", "610404"),
    ("渭南市", "临渭区", "610502"),
    ("延安市", "宝塔区", "610602"),
    ("汉中市", "汉台区", "610702"),
    ("榆林市", "榆阳区", "610802"),
    ("榆林市", "横山区", "610803"),
    ("安康市", "汉滨区", "610902"),
    ("商洛市", "商州区", "611002"),
    ("渭南市", "华州区", "610503"),
];

const FIRST: &str = "安邦宝博昌辰诚创达德鼎东方飞丰福富高冠光广国海瀚和恒弘宏鸿华汇惠吉嘉建健江杰金锦晋京景竣凯康科坤蓝朗乐力利联林龙隆绿美铭明";
const SECOND: &str = "耐宁诺欧鹏品普启千乾强清庆秋泉群仁荣瑞润赛三森山尚圣盛世舒顺思松泰腾天通同彤万旺维文祥翔新鑫信兴星旭轩雅研扬阳业亿易益盈永友宇裕元源远悦云运泽展正志智中众卓";
const THIRD: &str = "之若如子一亦可大小长长青白丹秀玉石水木火土南北西";
const TRADES: [(&str, &str); 16] = [
    ("网络科技", "网络技术服务；软件开发；信息系统集成服务；计算机及办公设备维修"),
    ("信息技术", "信息技术咨询服务；数据处理和存储支持服务；软件销售"),
    ("建筑工程", "各类工程建设活动；住宅室内装饰装修；建筑材料销售"),
    ("商贸", "日用百货销售；服装服饰批发；五金产品零售；电子产品销售"),
    ("餐饮管理", "餐饮管理；餐饮服务；食品销售"),
    ("农业发展", "谷物种植；水果种植；农产品的生产、销售、加工、运输、贮藏及其他相关服务"),
    ("文化传播", "组织文化艺术交流活动；广告设计、代理；会议及展览服务"),
    ("物流", "道路货物运输；国内货物运输代理；装卸搬运"),
    ("医疗器械", "第一类医疗器械销售；第二类医疗器械销售"),
    ("房地产开发", "房地产开发经营；物业管理；非居住房地产租赁"),
    ("新能源", "太阳能发电技术服务；风力发电技术服务；储能技术服务"),
    ("机械制造", "通用设备制造；机械零件、零部件加工；机械设备销售"),
    ("教育咨询", "教育咨询服务；企业管理咨询；文具用品零售"),
    ("汽车服务", "汽车销售；机动车修理和维护；汽车零配件零售"),
    ("环保科技", "环境保护专用设备销售；水污染治理；固体废物治理"),
    ("石油化工", "石油制品销售；化工产品销售；润滑油销售"),
];
/// What a household trades as, and in what.
const SHOPS: [(&str, &str); 8] = [
    ("小吃店", "餐饮服务；小吃制售"),
    ("便利店", "食品销售；日用百货销售；烟草制品零售"),
    ("理发店", "理发服务；化妆品零售"),
    ("服装店", "服装服饰零售；鞋帽零售"),
    ("五金店", "五金产品零售；建筑材料销售"),
    ("面馆", "餐饮服务"),
    ("药房", "药品零售；第二类医疗器械销售"),
    ("汽修部", "机动车修理和维护；汽车零配件零售"),
];
/// No family of any name has such given ones in common use.
const FAMILIES: &str = "赵钱孙李周吴郑王冯陈褚卫蒋沈韩杨朱秦尤许何吕施张";
const STREETS: [&str; 10] =
    ["朱雀", "丰庆", "太白", "高新一", "科技二", "未央", "友谊", "渭阳", "长乐", "建设"];

/// Characters of a code's middle: digits and letters that neither part of the code lacks.
const DIGITS: &[u8; 31] = b"0123456789ABCDEFGHJKLMNPQRTUWXY";

/// The entity of a number.
///
/// # Errors
/// None for numbers below 31⁶, about 887 million.
pub fn inhabitant(number: u64) -> Result<Inhabitant, UsccError> {
    let mut dice = Dice(number);
    let (city, county, region) = *dice.of(&REGIONS);
    // Six in ten are households (个体工商户), a few cooperatives, as in a province.
    let kind = match dice.below(100) {
        0..=59 => Kind::Household,
        60..=95 => Kind::Company,
        _ => Kind::Cooperative,
    };
    let uscc = Uscc::with_check_digits(&format!("9{}{region}MA{}", kind.category(), middle(number)))?;
    let mark = [dice.character(FIRST), dice.character(SECOND)].iter().collect::<String>();
    let mark = if dice.below(3) == 0 { format!("{mark}{}", dice.character(THIRD)) } else { mark };
    let (name, scope, capital) = match kind {
        Kind::Company => {
            let (trade, scope) = *dice.of(&TRADES);
            let place = if dice.below(4) == 0 { "陕西" } else { city.trim_end_matches('市') };
            let form = if dice.below(50) == 0 { "股份有限公司" } else { "有限公司" };
            let capital = [50, 100, 200, 300, 500, 1000, 2000, 5000][dice.below(8)];
            (format!("{place}{mark}{trade}{form}"), scope, Some(capital))
        }
        Kind::Household => {
            let (shop, scope) = *dice.of(&SHOPS);
            (format!("{city}{county}{mark}{shop}"), scope, None)
        }
        Kind::Cooperative => {
            (format!("{county}{mark}种植养殖专业合作社"), "谷物种植；牲畜饲养；农产品销售", Some(100))
        }
    };
    let (status, flags) = dice.standing();
    let street = dice.of(&STREETS);
    let address = format!("陕西省{city}{county}{street}路{}号", 1 + dice.below(400));
    let person: String =
        [dice.character(FAMILIES), dice.character(SECOND), dice.character(THIRD)].iter().collect();
    let (year, month, day) = (2000 + dice.below(25), 1 + dice.below(12), 1 + dice.below(28));
    let day = format!("{year}年{month:02}月{day:02}日");
    let domicile = if dice.below(200) == 0 {
        let second = format!("陕西省{city}{county}{street}路{}号", 401 + dice.below(400));
        Value::from(vec![address, second])
    } else {
        address.into()
    };
    let mut face = Map::new();
    let mut say = |field: &str, value: Value| face.insert(field.to_owned(), value);
    say("uscc", uscc.as_str().into());
    say("name", name.clone().into());
    say("legal_representative", person.into());
    say("domicile", domicile);
    say("established", day.clone().into());
    say("registered", day.into());
    say("business_scope", scope.into());
    say("registration_authority", format!("{city}{county}市场监督管理局").into());
    say("area_code", region.into());
    if let Some(capital) = capital {
        say("registered_capital", format!("{capital}万元人民币").into());
    }
    Ok(Inhabitant { uscc, name, entity_type: kind.name().to_owned(), status, flags, face })
}

#[derive(Clone, Copy)]
enum Kind {
    Company,
    Household,
    Cooperative,
}

impl Kind {
    /// The second character of the code (GB 32100, class of body under 工商).
    fn category(self) -> char {
        match self {
            Self::Company => '1',
            Self::Household => '2',
            Self::Cooperative => '3',
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Company => "有限责任公司",
            Self::Household => "个体工商户",
            Self::Cooperative => "农民专业合作社",
        }
    }
}

/// A number in six characters of a code, another one for each number.
fn middle(number: u64) -> String {
    let mut rest = number;
    let mut digits = [b'0'; 6];
    for digit in digits.iter_mut().rev() {
        *digit = DIGITS[usize::try_from(rest % 31).unwrap_or_default()];
        rest /= 31;
    }
    digits.iter().map(|digit| char::from(*digit)).collect()
}

/// Throws that follow from a number (SplitMix64).
struct Dice(u64);

impl Dice {
    fn throw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, sides: usize) -> usize {
        let throw = self.throw() >> 32;
        usize::try_from(throw).unwrap_or_default() % sides
    }

    fn of<'t, T>(&mut self, items: &'t [T]) -> &'t T {
        &items[self.below(items.len())]
    }

    fn character(&mut self, of: &str) -> char {
        let characters = of.chars().count();
        let place = self.below(characters);
        of.chars().nth(place).unwrap_or_default()
    }

    /// A status and flags, as they are spread in a register.
    fn standing(&mut self) -> (i64, Vec<String>) {
        let status = match self.below(1000) {
            0..=779 => 1,
            780..=859 => 2,
            860..=879 => 3,
            880..=984 => 4,
            985..=989 => 5,
            990..=994 => 6,
            _ => 9,
        };
        let flags = match self.below(100) {
            0..=4 => vec!["经营异常名录".to_owned()],
            5 => vec!["严重违法失信".to_owned()],
            6 => vec!["歇业".to_owned()],
            _ => Vec::new(),
        };
        (status, flags)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_province_has_valid_codes_each_once_and_is_the_same_each_time() {
        let mut codes = BTreeSet::new();
        let mut statuses = BTreeSet::new();
        for number in 0..20_000 {
            let one = inhabitant(number).unwrap();
            assert_eq!(Uscc::parse(one.uscc.as_str()), Ok(one.uscc), "{number}");
            assert!(codes.insert(one.uscc), "{number}");
            statuses.insert(one.status);
            let again = inhabitant(number).unwrap();
            assert_eq!((one.name, one.face), (again.name, again.face));
        }
        assert_eq!(statuses, [1, 2, 3, 4, 5, 6, 9].into());
    }
}
