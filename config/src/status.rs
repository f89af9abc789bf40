use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use crate::read::Section;

/// Where registration statuses come from, and what they permit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// The national service; none where the library is the register.
    pub national: Option<NationalStatus>,
    /// How old a status may be at most. Default a day for the national service, and none for the library.
    pub max_age: Option<Duration>,
    /// Whether a license whose holder's status is not known is undecided. Default for the national service only.
    pub required: bool,
    /// The table that decides which status permits which item to which role; none for the one that comes with the gateway.
    pub decisions: Option<PathBuf>,
}

/// How the national service is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NationalStatus {
    /// Its address.
    pub url: String,
    /// A file with what proves the gateway to it, a bearer token.
    pub token_file: Option<PathBuf>,
    /// How long a question may take. Default 2 s.
    pub timeout: Duration,
    /// How long an answer counts as said now. Default 60 s.
    pub cache: Duration,
    /// How many answers are kept. Default 100,000.
    pub cached: NonZeroUsize,
    /// How many questions are under way at a time. Default 16.
    pub concurrency: usize,
    /// After how many failures in a row it is left alone. Default 5.
    pub failures: u32,
    /// How long it is left alone. Default 5 s.
    pub pause: Duration,
}

#[derive(Clone, Copy, PartialEq)]
enum Source {
    Library,
    National,
}

const SOURCES: [(&str, Source); 2] = [("library", Source::Library), ("national", Source::National)];
/// Fields that say something of the national service only.
const NATIONAL: [&str; 8] =
    ["url", "token_file", "timeout_ms", "cache_s", "cached", "concurrency", "failures", "pause_ms"];

impl Status {
    pub(crate) fn read(section: &mut Section<'_>) -> Self {
        let is_national = section.choice("source", &SOURCES, Source::Library) == Source::National;
        let needless: Vec<_> =
            NATIONAL.into_iter().filter(|field| !is_national && section.has(field)).collect();
        for field in needless {
            section.mistake(field, "is of use with source = \"national\" only");
        }
        let url =
            if is_national || section.has("url") { section.required_text("url") } else { String::new() };
        let national = NationalStatus {
            url,
            token_file: section.file("token_file"),
            timeout: section.milliseconds("timeout_ms", 2_000, 50..=30_000),
            cache: Duration::from_secs(section.integer("cache_s", 60, 0..=86_400)),
            cached: NonZeroUsize::new(section.count("cached", 100_000, 1..=10_000_000))
                .unwrap_or(NonZeroUsize::MIN),
            concurrency: section.count("concurrency", 16, 1..=1_000),
            failures: u32::try_from(section.integer("failures", 5, 1..=1_000)).unwrap_or(1_000),
            pause: section.milliseconds("pause_ms", 5_000, 100..=600_000),
        };
        let usual = if is_national { 86_400 } else { 0 };
        let max_age = section.integer("max_age_s", usual, 0..=315_360_000);
        Self {
            national: is_national.then_some(national),
            max_age: (max_age > 0).then(|| Duration::from_secs(max_age)),
            required: section.boolean("required", is_national),
            decisions: section.file("decisions"),
        }
    }
}
