use crate::read::Section;

/// Where traces of requests go (OpenTelemetry, OTLP over HTTP).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Traces {
    /// `http://HOST:PORT/PATH` of a collector, on this machine or in a network of its own: spans are sent in the
    /// clear. Nothing is traced without one.
    pub endpoint: Option<String>,
    /// How many of a hundred requests are traced that their caller does not trace itself. Default 100.
    pub percent: u64,
}

impl Traces {
    pub(crate) fn read(section: &mut Section<'_>) -> Self {
        let endpoint = section.text("endpoint").map(str::to_owned);
        if endpoint.as_ref().is_some_and(|endpoint| !endpoint.starts_with("http://")) {
            section.mistake("endpoint", "must begin with http://");
        }
        Self { endpoint, percent: section.integer("percent", 100, 0..=100) }
    }
}
