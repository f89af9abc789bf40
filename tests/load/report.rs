//! The rows of the benchmark: a figure, what it is compared with, and whether the goal is met.

use serde_json::{Value, json};

use crate::generator::Measured;

/// One row of `bench.json`.
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) unit: &'static str,
    pub(crate) value: Option<f64>,
    pub(crate) reference: Option<f64>,
    pub(crate) ratio: Option<f64>,
    pub(crate) goal: &'static str,
    pub(crate) verdict: Verdict,
}

/// Whether a goal is met, or why that cannot be said.
pub(crate) enum Verdict {
    Met(bool),
    Unknown(String),
}

impl Row {
    /// A row that this build cannot measure.
    pub(crate) fn absent(name: &'static str, unit: &'static str, goal: &'static str, why: &str) -> Self {
        let verdict = Verdict::Unknown(why.to_owned());
        Self { name, unit, value: None, reference: None, ratio: None, goal, verdict }
    }

    pub(crate) fn json(&self) -> Value {
        let (met, why) = match &self.verdict {
            Verdict::Met(met) => (Some(*met), None),
            Verdict::Unknown(why) => (None, Some(why)),
        };
        json!({
            "name": self.name, "value": self.value, "unit": self.unit, "reference": self.reference,
            "ratio": self.ratio, "goal": self.goal, "met": met, "why_null": why,
        })
    }

    pub(crate) fn line(&self) -> String {
        let verdict = match &self.verdict {
            Verdict::Met(true) => "met",
            Verdict::Met(false) => "NOT MET",
            Verdict::Unknown(why) => why,
        };
        format!(
            "{:<20} {:>10} {:>10} {:>7}  {:<24} {:<30} {verdict}",
            self.name,
            number(self.value),
            number(self.reference),
            self.ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.3}")),
            self.unit,
            self.goal,
        )
    }

    pub(crate) fn heading() -> String {
        format!(
            "{:<20} {:>10} {:>10} {:>7}  {:<24} {:<30} verdict",
            "row", "value", "reference", "ratio", "unit", "goal"
        )
    }
}

/// The heading of [`run_line`].
pub(crate) fn run_heading() -> String {
    format!(
        "{:<24} {:>5} {:>8} {:>8} {:>8} {:>8} {:>8} {:>8} {:>7} {:>7} {:>6}  errors",
        "run",
        "conn",
        "ops/s",
        "p50 ms",
        "p90 ms",
        "p99 ms",
        "max ms",
        "/CPU-s",
        "gw CPU",
        "wk CPU",
        "others"
    )
}

/// One run as a line; processor use in processors.
pub(crate) fn run_line(name: &str, connections: usize, run: &Measured) -> String {
    let cost = run.cost().unwrap_or_default();
    let latency = &run.latency;
    let errors: Vec<String> = run.errors.iter().map(|(code, count)| format!("{code}: {count}")).collect();
    format!(
        "{name:<24} {connections:>5} {:>8.0} {:>8.3} {:>8.3} {:>8.3} {:>8.2} {:>8} {:>7.2} {:>7.2} {:>6.2}  {}",
        run.per_second(),
        latency.quantile(0.5),
        latency.quantile(0.9),
        latency.quantile(0.99),
        latency.max(),
        number(run.per_cpu_second()),
        cost.root / run.seconds,
        cost.children / run.seconds,
        cost.others / run.seconds,
        if errors.is_empty() { "-".to_owned() } else { errors.join(", ") },
    )
}

fn number(value: Option<f64>) -> String {
    match value {
        None => "-".to_owned(),
        Some(value) if value.abs() < 100.0 => format!("{value:.2}"),
        Some(value) => format!("{value:.0}"),
    }
}

/// The middle one; nothing of nothing.
pub(crate) fn median(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

/// What a chain of steps reaches per second when each alone reaches so much.
pub(crate) fn in_sequence(rates: &[f64]) -> f64 {
    1.0 / rates.iter().map(|rate| 1.0 / rate).sum::<f64>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_in_sequence_add_their_times() {
        assert!((in_sequence(&[100.0, 100.0]) - 50.0).abs() < 1e-9);
        assert_eq!(median([3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median([]), None);
    }
}
