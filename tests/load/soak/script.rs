//! What breaks when: a script drawn from a seed, and every way in which the simulated devices and their workers are
//! broken.

use std::time::Duration;

/// The site's devices by place, those of the group `bureau` first.
pub(crate) const DEVICES: [&str; 9] = ["d1", "d2", "d3", "d4", "d5", "d6", "d7", "d8", "d9"];
/// How many of them are the bureau's.
pub(crate) const BUREAU: usize = 7;

/// A way to break a device; its name is what the report calls it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Kind {
    pub(crate) name: &'static str,
    pub(crate) how: How,
}

/// What is done to the device.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum How {
    /// Its fault file says this.
    Fault(&'static str),
    /// The same, and its worker is killed, so that the next one starts with it.
    FaultAtStart(&'static str),
    /// Its fault file says this and nothing in turn.
    Flapping(&'static str),
    /// Its worker gets SIGKILL.
    Killed,
    /// Its worker is stopped by SIGSTOP.
    Stopped,
    /// An operator drains it.
    Drained,
}

const fn fault(name: &'static str, toml: &'static str) -> Kind {
    Kind { name, how: How::Fault(toml) }
}

/// Every kind. A refused PIN is left out: by design it is tried once and never again while the gateway runs.
pub(crate) const KINDS: [Kind; 36] = [
    fault("hang", "[[fault]]\nfunction = \"C_Sign\"\naction = \"hang\"\n"),
    fault("hang, some calls", "[[fault]]\nfunction = \"C_Sign\"\naction = \"hang\"\nprobability = 0.1\n"),
    fault("hang, one session", "[[fault]]\nfunction = \"C_SignInit\"\nsession = 2\naction = \"hang\"\n"),
    Kind {
        name: "hang in C_Initialize",
        how: How::FaultAtStart("[[fault]]\nfunction = \"C_Initialize\"\naction = \"hang\"\n"),
    },
    Kind {
        name: "hang in C_Login",
        how: How::FaultAtStart("[[fault]]\nfunction = \"C_Login\"\naction = \"hang\"\n"),
    },
    fault("idle connections drop", "[[fault]]\naction = \"idle_drop\"\nms = 100\n"),
    fault("idle connections hang", "[[fault]]\naction = \"idle_drop\"\nms = 100\nhang = true\n"),
    fault(
        "device errors",
        "[[fault]]\nfunction = \"C_Sign\"\naction = \"error\"\nrv = \"CKR_DEVICE_ERROR\"\nprobability = 0.3\n",
    ),
    fault(
        "busy",
        "[[fault]]\nfunction = \"C_Sign\"\naction = \"error\"\nrv = \"CKR_FUNCTION_FAILED\"\nprobability = 0.5\n",
    ),
    fault(
        "out of memory",
        "[[fault]]\nfunction = \"C_SignInit\"\naction = \"error\"\nrv = \"CKR_DEVICE_MEMORY\"\nprobability = 0.3\n",
    ),
    fault("unreachable", "unreachable = true\n"),
    fault("token removed", "[[fault]]\naction = \"remove_token\"\n"),
    fault(
        "session dropped",
        "[[fault]]\nfunction = \"C_SignInit\"\naction = \"drop_session\"\nprobability = 0.2\n",
    ),
    fault(
        "sessions lost",
        "[[fault]]\nfunction = \"C_SignInit\"\naction = \"lose_sessions\"\nprobability = 0.05\n",
    ),
    fault(
        "login lost",
        "[[fault]]\nfunction = \"C_SignInit\"\naction = \"lose_login\"\nprobability = 0.05\n",
    ),
    fault("handles mean other keys", "[[fault]]\naction = \"reuse_handles\"\ncount = 1\n"),
    Kind { name: "two sessions at most", how: How::FaultAtStart("session_limit = 2\n") },
    fault(
        "operation left active",
        "[[fault]]\nfunction = \"C_Sign\"\naction = \"leave_active\"\nprobability = 0.2\n",
    ),
    fault("needs C_Initialize", "[[fault]]\naction = \"only_reinit\"\n"),
    fault("needs a new process", "[[fault]]\naction = \"only_restart\"\n"),
    fault("abort", "[[fault]]\nfunction = \"C_Sign\"\naction = \"crash\"\nskip = 3\ncount = 1\n"),
    fault("SIGSEGV", "[[fault]]\nfunction = \"C_Sign\"\naction = \"segfault\"\nskip = 3\ncount = 1\n"),
    fault("exit", "[[fault]]\nfunction = \"C_SignInit\"\naction = \"exit\"\nskip = 3\ncount = 1\n"),
    fault("slow, 30 ms", "latency_ms = 30.0\n"),
    fault("slow, 2 s", "latency_ms = 2000.0\n"),
    fault("slow now and then", "latency_ms = { distribution = \"pareto\", min = 1.0, shape = 1.1 }\n"),
    fault("20 operations a second", "throughput = 20\n"),
    fault(
        "wrong signatures",
        "[[fault]]\nfunction = \"C_Sign\"\naction = \"wrong_signature\"\nprobability = 0.3\n",
    ),
    fault("flipped bits", "[[fault]]\nfunction = \"C_Sign\"\naction = \"flip_bit\"\nprobability = 0.3\n"),
    fault("cut signatures", "[[fault]]\nfunction = \"C_Sign\"\naction = \"truncate\"\nprobability = 0.3\n"),
    // demo-sm2 and portal-sm2: each group has one of them.
    fault(
        "key vanishes",
        "[[fault]]\naction = \"vanish_key\"\nkey = \"64656d6f2d736d32\"\n\
         [[fault]]\naction = \"vanish_key\"\nkey = \"706f7274616c2d736d32\"\n",
    ),
    Kind { name: "slots renumbered", how: How::FaultAtStart("[[fault]]\naction = \"renumber_slots\"\n") },
    Kind { name: "flapping", how: How::Flapping("unreachable = true\n") },
    Kind { name: "worker killed", how: How::Killed },
    Kind { name: "worker stopped", how: How::Stopped },
    Kind { name: "drained", how: How::Drained },
];

/// One breakdown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Breakdown {
    /// When, from the beginning.
    pub(crate) at: Duration,
    /// Place in [`DEVICES`].
    pub(crate) device: usize,
    /// Place in [`KINDS`].
    pub(crate) kind: usize,
    /// How long until it is mended.
    pub(crate) length: Duration,
}

/// The breakdowns of so much time, of these kinds, in their order. The same seed gives the same ones; each kind's
/// turn comes before any comes again.
pub(crate) fn script(seed: u64, kinds: &[usize], duration: Duration) -> Vec<Breakdown> {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut milliseconds = |range: std::ops::Range<u64>| Duration::from_millis(random.u64(range));
    let (mut at, mut times) = (Duration::ZERO, Vec::new());
    loop {
        at += milliseconds(200..900);
        let length = milliseconds(400..4_000);
        if at + Duration::from_millis(400) > duration {
            break;
        }
        times.push((at, length.min(duration - at)));
    }
    let mut turn: Vec<usize> = Vec::new();
    let mut breakdowns = Vec::with_capacity(times.len());
    for (at, length) in times {
        if turn.is_empty() {
            turn = kinds.to_vec();
            random.shuffle(&mut turn);
        }
        let Some(kind) = turn.pop() else { break };
        breakdowns.push(Breakdown { at, device: random.usize(..DEVICES.len()), kind, length });
    }
    breakdowns
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Vec<usize> {
        (0..KINDS.len()).collect()
    }

    #[test]
    fn a_seed_gives_one_script_and_another_seed_another() {
        let script = |seed| script(seed, &all(), Duration::from_secs(60));
        assert_eq!(script(7), script(7));
        assert_ne!(script(7), script(8));
    }

    #[test]
    fn every_kind_has_its_turn_within_a_minute_on_changing_devices() {
        let script = script(1, &all(), Duration::from_secs(60));
        let of = |kind: usize| script.iter().filter(move |breakdown| breakdown.kind == kind);
        for (kind, what) in KINDS.iter().enumerate() {
            assert!(of(kind).count() >= 1, "{}", what.name);
        }
        for (device, id) in DEVICES.iter().enumerate() {
            assert!(script.iter().any(|breakdown| breakdown.device == device), "{id}");
        }
        assert!(script.windows(2).all(|pair| pair[0].at < pair[1].at));
        assert!(script.iter().all(|breakdown| breakdown.at + breakdown.length <= Duration::from_secs(60)));
    }

    #[test]
    fn no_two_kinds_have_one_name() {
        let mut names: Vec<_> = KINDS.iter().map(|kind| kind.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), KINDS.len());
    }
}
