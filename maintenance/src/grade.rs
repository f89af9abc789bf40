//! How grave an incident is: four levels by what it does to whom (M031). A person may say otherwise, with a reason.

use serde::{Deserialize, Serialize};

/// 一级 to 四级: the first is the gravest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u8", into = "u8")]
pub struct Level(u8);

impl Level {
    /// The gravest, by which an incident is measured until somebody has graded it.
    pub const FIRST: Self = Self(1);
    /// All of them.
    pub const ALL: [Self; 4] = [Self(1), Self(2), Self(3), Self(4)];

    /// Its number, 1 to 4.
    #[must_use]
    pub fn number(self) -> u8 {
        self.0
    }

    /// Where it stands in a list of four.
    pub(crate) fn place(self) -> usize {
        usize::from(self.0 - 1)
    }
}

impl TryFrom<u8> for Level {
    type Error = String;

    fn try_from(number: u8) -> Result<Self, String> {
        if (1..=4).contains(&number) { Ok(Self(number)) } else { Err("must be 1 to 4".to_owned()) }
    }
}

impl From<Level> for u8 {
    fn from(level: Level) -> Self {
        level.0
    }
}

/// How much of a service does not work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Extent {
    /// Everything works.
    None,
    /// It is slow, or something works in another way only.
    Degraded,
    /// Some of it does not work, or not for everybody.
    Partial,
    /// It does not work for anybody.
    Whole,
}

/// What happens to data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Data {
    /// Nothing.
    Safe,
    /// Something may be lost, altered or read by others.
    AtRisk,
    /// Something was.
    Harmed,
}

/// What an incident does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Effect {
    /// How much of the service does not work.
    pub extent: Extent,
    /// What happens to data, keys or records.
    pub data: Data,
    /// Whether people can do what they have to in another way meanwhile.
    pub workaround: bool,
}

impl Effect {
    /// The level that it comes to. Harm to data is of the first; what nobody can use at all is of the first, or of the second with
    /// another way; a part is of the second or third; what is slow only, of the third or fourth.
    #[must_use]
    pub fn level(self) -> Level {
        let by_extent = match (self.extent, self.workaround) {
            (Extent::Whole, false) => 1,
            (Extent::Whole, true) | (Extent::Partial, false) => 2,
            (Extent::Partial, true) | (Extent::Degraded, false) => 3,
            (Extent::Degraded, true) | (Extent::None, _) => 4,
        };
        let by_data = match self.data {
            Data::Harmed => 1,
            Data::AtRisk => 2,
            Data::Safe => 4,
        };
        Level(by_extent.min(by_data))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_effect_has_its_level() {
        use Data::{AtRisk, Harmed, Safe};
        use Extent::{Degraded, None, Partial, Whole};
        for (extent, workaround, levels) in [
            (Whole, false, [1, 1, 1]),
            (Whole, true, [2, 2, 1]),
            (Partial, false, [2, 2, 1]),
            (Partial, true, [3, 2, 1]),
            (Degraded, false, [3, 2, 1]),
            (Degraded, true, [4, 2, 1]),
            (None, false, [4, 2, 1]),
            (None, true, [4, 2, 1]),
        ] {
            let of = |data| Effect { extent, data, workaround }.level().number();
            assert_eq!([Safe, AtRisk, Harmed].map(of), levels, "{extent:?} {workaround}");
        }
    }

    #[test]
    fn a_level_is_one_of_four() {
        assert_eq!(serde_json::from_str::<Level>("4").unwrap().number(), 4);
        for wrong in ["0", "5", "-1", "\"1\""] {
            assert!(serde_json::from_str::<Level>(wrong).is_err(), "{wrong}");
        }
    }
}
