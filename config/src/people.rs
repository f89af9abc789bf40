use std::path::PathBuf;
use std::time::Duration;

use crate::read::Section;

/// How people sign in, and for how long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct People {
    /// A session ends when it was not used for so long. Default 15 min.
    pub idle: Duration,
    /// A session ends after so long in any case. Default 8 h.
    pub session: Duration,
    /// Characters that a password has at least. Default 12.
    pub password_length: usize,
    /// Days after which a password must be changed. Default 90.
    pub password_days: u32,
    /// Days before that from which on a person is reminded. Default 14.
    pub reminder_days: u32,
    /// Earlier passwords that are not taken again. Default 5.
    pub password_history: usize,
    /// SHA-1 of passwords known from breaches, in order, a line each. Default none.
    pub breached_passwords: Option<PathBuf>,
    /// How long a password holds that an administrator has set. Default 72 h.
    pub one_time: Duration,
    /// Tries to sign in under a name, without success, before a pause. Default 5.
    pub lockout_tries: u32,
    /// The first pause; each one after it is twice as long. Default 60 s.
    pub lockout_pause: Duration,
    /// The longest pause. Default 1 h.
    pub lockout_longest: Duration,
    /// Days that a personal access token holds at most. Default 90.
    pub token_days: u32,
    /// Days after which an account that nobody uses is turned off. Default 90.
    pub unused_days: u32,
}

impl People {
    pub(crate) fn read(section: &mut Section<'_>) -> Self {
        let idle = Duration::from_secs(section.integer("idle_s", 900, 60..=86_400));
        let session = Duration::from_secs(section.integer("session_s", 28_800, 300..=86_400));
        if idle > session {
            section.mistake("idle_s", "must not be longer than session_s");
        }
        let password_days = section.integer("password_days", 90, 1..=365) as u32;
        let reminder_days = section.integer("reminder_days", 14, 0..=365) as u32;
        if reminder_days >= password_days && section.has("reminder_days") {
            section.mistake("reminder_days", "must be less than password_days");
        }
        let lockout_pause = Duration::from_secs(section.integer("lockout_pause_s", 60, 1..=3600));
        let lockout_longest = Duration::from_secs(section.integer("lockout_longest_s", 3600, 1..=86_400));
        if lockout_pause > lockout_longest {
            section.mistake("lockout_longest_s", "must not be shorter than lockout_pause_s");
        }
        Self {
            idle,
            session,
            password_length: section.integer("password_length", 12, 10..=64) as usize,
            password_days,
            reminder_days: reminder_days.min(password_days - 1),
            password_history: section.integer("password_history", 5, 0..=24) as usize,
            breached_passwords: section.file("breached_passwords"),
            one_time: Duration::from_secs(3600 * section.integer("one_time_hours", 72, 1..=720)),
            lockout_tries: section.integer("lockout_tries", 5, 3..=20) as u32,
            lockout_pause,
            lockout_longest,
            token_days: section.integer("token_days", 90, 1..=365) as u32,
            unused_days: section.integer("unused_days", 90, 1..=365) as u32,
        }
    }
}
