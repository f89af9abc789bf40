use std::num::NonZeroU32;

use crate::read::Section;
use crate::{KeyId, SealNumber};

/// How query certificates (打印查询证明) are made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueryCertificates {
    /// The agency's key that signs them.
    pub key: KeyId,
    /// The agency, as they name it.
    pub agency: String,
    /// The seal of the register whose picture they show; none if there is none.
    pub seal: Option<SealNumber>,
    /// The level of their signatures (EN 319 142-1): `B-B` (default), `B-T`, `B-LT` or `B-LTA`.
    pub level: &'static str,
    /// How many an app may have made on a day of the site's time. Default 1,000.
    pub per_app_and_day: NonZeroU32,
    /// For how many days it is kept what was certified. Default 3,650.
    pub retention_days: u32,
}

const LEVELS: [(&str, &str); 4] = [("B-B", "B-B"), ("B-T", "B-T"), ("B-LT", "B-LT"), ("B-LTA", "B-LTA")];

impl QueryCertificates {
    /// None where something is wrong with it.
    pub(crate) fn read(section: &mut Section<'_>) -> Option<Self> {
        let key = section.parsed("key", KeyId::parse);
        let agency = section.parsed("agency", agency);
        let seal = section.has("seal").then(|| section.parsed("seal", SealNumber::parse)).flatten();
        let level = section.choice("level", &LEVELS, "B-B");
        let per_app_and_day = section.integer("per_app_and_day", 1_000, 1..=1_000_000);
        let days = section.integer("retention_days", 3_650, 1..=36_500);
        Some(Self {
            key: key?,
            agency: agency?,
            seal,
            level,
            per_app_and_day: u32::try_from(per_app_and_day).ok().and_then(NonZeroU32::new)?,
            retention_days: u32::try_from(days).ok()?,
        })
    }
}

fn agency(text: &str) -> Result<String, &'static str> {
    let fits = (1..=60).contains(&text.chars().count()) && !text.chars().any(char::is_control);
    let is_name = fits && text.trim() == text;
    is_name.then(|| text.to_owned()).ok_or("must be 1 to 60 characters without blanks around them")
}
