//! What a vendor's library writes to standard error: relayed into the log line by line, so that it is bounded, names
//! its device and cannot forge lines of ours. A library that talks endlessly fills neither disk nor memory, and one
//! that prints the PIN does not publish it.

use std::time::{Duration, Instant};

use config::DeviceId;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader};
use zeroize::Zeroizing;

/// Octets of a line that are looked at; the rest of it is dropped.
const LONGEST_READ: u64 = 4096;
/// Characters of a line that are shown.
const LONGEST_SHOWN: usize = 400;
/// Lines at once, and lines a second in the long run.
const BURST: u32 = 50;
const RATE: u32 = 5;

/// Relays until the other end is closed.
pub(crate) async fn relay(device: DeviceId, from: impl AsyncRead + Unpin, pin: Zeroizing<String>) {
    let mut lines = BufReader::new(from);
    let mut allowance = Allowance::new(Instant::now());
    let mut line = Zeroizing::new(Vec::new());
    loop {
        line.clear();
        match (&mut lines).take(LONGEST_READ).read_until(b'\n', &mut line).await {
            Ok(0) | Err(_) => break,
            Ok(_) => {}
        }
        if !line.ends_with(b"\n") && skip_line(&mut lines).await.is_err() {
            break;
        }
        let said = presentable(&line, &pin);
        if said.is_empty() {
            continue;
        }
        if let Some(suppressed) = allowance.take(Instant::now()) {
            if suppressed > 0 {
                tracing::warn!(%device, suppressed, "the device's library talks too much");
            }
            tracing::info!(%device, said, "the device's library says");
        }
    }
    if allowance.suppressed > 0 {
        tracing::warn!(%device, suppressed = allowance.suppressed, "the device's library talks too much");
    }
}

/// Passes over what is left of a line, without keeping it.
async fn skip_line(lines: &mut (impl AsyncBufReadExt + Unpin)) -> std::io::Result<()> {
    loop {
        let buffer = lines.fill_buf().await?;
        let (used, ended) = match buffer.iter().position(|octet| *octet == b'\n') {
            Some(at) => (at + 1, true),
            None => (buffer.len(), buffer.is_empty()),
        };
        lines.consume(used);
        if ended {
            return Ok(());
        }
    }
}

/// A line that can be shown: no control characters, no PIN (as it is, or in hex with or without blanks), not too long.
fn presentable(line: &[u8], pin: &str) -> String {
    let text = Zeroizing::new(String::from_utf8_lossy(line).into_owned());
    let mut text = Zeroizing::new(text.trim_end().to_owned());
    if !pin.is_empty() {
        let hex = Zeroizing::new(pin.bytes().map(|octet| format!("{octet:02x}")).collect::<String>());
        let upper = Zeroizing::new(hex.to_uppercase());
        let apart = |text: &str| {
            let pairs = text.as_bytes().chunks(2).map(|pair| String::from_utf8_lossy(pair).into_owned());
            pairs.collect::<Vec<_>>().join(" ")
        };
        let (hex_apart, upper_apart) = (Zeroizing::new(apart(&hex)), Zeroizing::new(apart(&upper)));
        for form in [pin, &*hex, &*upper, &*hex_apart, &*upper_apart] {
            if text.contains(form) {
                *text = text.replace(form, "[PIN]");
            }
        }
    }
    let shown = text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c });
    let mut shown: String = shown.take(LONGEST_SHOWN + 1).collect();
    if shown.chars().count() > LONGEST_SHOWN {
        shown.pop();
        shown.push('…');
    }
    shown
}

/// How much may still be said.
struct Allowance {
    left: f64,
    at: Instant,
    suppressed: u64,
}

impl Allowance {
    fn new(now: Instant) -> Self {
        Self { left: f64::from(BURST), at: now, suppressed: 0 }
    }

    /// Whether a line may be shown, and how many were not since the last.
    fn take(&mut self, now: Instant) -> Option<u64> {
        let earned = now.saturating_duration_since(self.at).min(Duration::from_secs(3600)).as_secs_f64();
        self.left = (self.left + earned * f64::from(RATE)).min(f64::from(BURST));
        self.at = now;
        if self.left < 1.0 {
            self.suppressed += 1;
            return None;
        }
        self.left -= 1.0;
        Some(std::mem::take(&mut self.suppressed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_shown_without_pin_and_control_characters_and_not_endlessly() {
        let shown = |line: &str| presentable(line.as_bytes(), "48151623");
        assert_eq!(shown("login with 48151623 failed\r\n"), "login with [PIN] failed");
        assert_eq!(shown("3438313531363233 and 34 38 31 35 31 36 32 33"), "[PIN] and [PIN]");
        assert_eq!(shown("a\x1b[31mred\nforged"), "a\u{fffd}[31mred\u{fffd}forged");
        assert_eq!(presentable(b"\xff\xfe bad", "1"), "\u{fffd}\u{fffd} bad");
        assert_eq!(shown(&"x".repeat(10_000)).chars().count(), LONGEST_SHOWN + 1);
        assert_eq!(presentable(b"no PIN known\n", ""), "no PIN known");
    }

    #[test]
    fn a_talkative_library_is_cut_short_and_counted() {
        let start = Instant::now();
        let mut allowance = Allowance::new(start);
        let shown = (0..1000).filter(|_| allowance.take(start).is_some()).count();
        assert_eq!(shown, BURST as usize);
        assert_eq!(allowance.take(start + Duration::from_secs(1)), Some(950));
        assert_eq!(allowance.take(start + Duration::from_secs(1)), Some(0));
    }

    #[tokio::test]
    async fn an_endless_line_is_passed_over_and_the_next_is_whole() {
        let text = format!("{}\nnext\n", "y".repeat(1 << 20));
        let mut lines = BufReader::new(text.as_bytes());
        let mut line = Vec::new();
        (&mut lines).take(LONGEST_READ).read_until(b'\n', &mut line).await.unwrap();
        assert_eq!(line.len() as u64, LONGEST_READ);
        skip_line(&mut lines).await.unwrap();
        line.clear();
        lines.read_until(b'\n', &mut line).await.unwrap();
        assert_eq!(line, b"next\n");
    }
}
