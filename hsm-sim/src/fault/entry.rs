//! One `[[fault]]`: which calls it is about, and what becomes of them.

use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::Duration,
};

use cryptoki_sys::*;
use serde::Deserialize;

use super::{random::draw, return_value};
use crate::function::{self, Function, FunctionSet};

/// What becomes of a call that a fault strikes.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Action {
    /// It fails without being done.
    Error(CK_RV),
    /// It waits until the fault is gone, or so long; then it is done.
    Hang(Option<Duration>),
    /// It waits, then is done.
    Delay(Duration),
    /// The process aborts.
    Crash,
    /// The process dies of SIGSEGV.
    Segfault,
    /// The process exits.
    Exit,
    /// It signs another value.
    WrongSignature,
    /// One bit of the result is wrong.
    FlipBit,
    /// The result's outer length is wrong.
    MalformedDer,
    /// An INTEGER lacks the zero octet that would make it positive.
    NegativeInteger,
    /// The result lacks its last octet.
    Truncate,
    /// The operation stays active although it is done.
    LeaveActive,
    /// Its session is gone.
    DropSession,
    /// All sessions are gone.
    LoseSessions,
    /// Its token is logged out.
    LoseLogin,
    /// Its session is gone, or hangs, if it was unused so long.
    IdleDrop {
        /// How long.
        after: Duration,
        /// Whether it hangs instead, like a connection that a firewall forgot.
        hang: bool,
    },
    /// Keys of a kind swap their handles.
    ReuseHandles,
    /// The device fails until the module is initialised again.
    OnlyReinit,
    /// The device fails as long as the process lives.
    OnlyRestart,
    /// Objects with that `CKA_ID` cannot be found or used.
    VanishKey(Vec<u8>),
    /// The tokens are out of their slots.
    RemoveToken,
    /// Every slot's number is one higher.
    RenumberSlots,
}

/// When an action happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Moment {
    /// Before the call is done.
    Before,
    /// When there is a result.
    Result,
    /// When the operation is over.
    End,
    /// From a call on, or from the beginning, until the fault is gone.
    FromThenOn,
}

impl Action {
    pub(crate) fn moment(&self) -> Moment {
        use Action::*;
        match self {
            WrongSignature | FlipBit | MalformedDer | NegativeInteger | Truncate => Moment::Result,
            LeaveActive => Moment::End,
            VanishKey(_) | RemoveToken | RenumberSlots => Moment::FromThenOn,
            _ => Moment::Before,
        }
    }

    /// The functions it can strike.
    fn domain(&self) -> FunctionSet {
        use Action::*;
        match self {
            Error(_) | Hang(_) | Delay(_) | Crash | Segfault | Exit => FunctionSet::ALL,
            WrongSignature | MalformedDer | NegativeInteger => function::SIGNATURE,
            FlipBit | Truncate => function::RESULT,
            LeaveActive => function::END,
            DropSession | LoseLogin | IdleDrop { .. } => function::IN_SESSION,
            LoseSessions | ReuseHandles | VanishKey(_) | RemoveToken | RenumberSlots => function::INITIALISED,
            OnlyReinit | OnlyRestart => function::REMOTE,
        }
    }
}

/// An entry as its author meant it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Entry {
    functions: FunctionSet,
    session: Option<CK_SESSION_HANDLE>,
    key: Option<Vec<u8>>,
    probability: f64,
    skip: u64,
    count: u64,
    pub(crate) action: Action,
    /// Whether a standing fault waits for a call.
    triggered: bool,
}

/// An entry in force, with its counters.
#[derive(Debug)]
pub(crate) struct Fault {
    pub(crate) entry: Entry,
    seed: u64,
    /// Sets this entry's draws apart from the others'.
    stream: u64,
    matched: AtomicU64,
    struck: AtomicU64,
    begun: AtomicBool,
    acted: AtomicBool,
}

impl Fault {
    pub(super) fn new(entry: Entry, seed: u64, stream: u64) -> Self {
        let begun = AtomicBool::new(entry.action.moment() == Moment::FromThenOn && !entry.triggered);
        let (matched, struck, acted) = (AtomicU64::new(0), AtomicU64::new(0), AtomicBool::new(false));
        Self { entry, seed, stream, matched, struck, begun, acted }
    }

    /// Whether the fault is about such a call. `ids` gives the `CKA_ID` of every key the call names or works with.
    pub(crate) fn concerns(
        &self,
        function: Function,
        session: Option<CK_SESSION_HANDLE>,
        ids: impl FnOnce() -> Vec<Vec<u8>>,
    ) -> bool {
        let entry = &self.entry;
        entry.functions.contains(function)
            && (entry.session.is_none() || entry.session == session)
            && entry.key.as_ref().is_none_or(|key| ids().contains(key))
    }

    /// Counts a call that the fault is about, and says whether it is struck.
    pub(crate) fn strikes(&self) -> bool {
        let entry = &self.entry;
        let n = self.matched.fetch_add(1, Ordering::Relaxed);
        let left = |struck: u64| (struck < entry.count).then(|| struck + 1);
        n >= entry.skip
            && (entry.probability >= 1.0 || draw(self.seed, self.stream, n) < entry.probability)
            && self.struck.fetch_update(Ordering::Relaxed, Ordering::Relaxed, left).is_ok()
    }

    /// Lets a standing fault begin.
    pub(crate) fn begin(&self) {
        self.begun.store(true, Ordering::Release);
    }

    /// Whether a standing fault has begun.
    pub(crate) fn stands(&self) -> bool {
        self.begun.load(Ordering::Acquire)
    }

    /// Whether this is the first time anybody asks.
    pub(crate) fn first_notice(&self) -> bool {
        !self.acted.swap(true, Ordering::AcqRel)
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

#[derive(Deserialize)]
#[serde(untagged)]
enum ReturnValue {
    Number(CK_RV),
    Name(String),
}

/// An entry as the file has it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawEntry {
    action: String,
    function: Option<OneOrMany>,
    session: Option<u64>,
    key: Option<String>,
    probability: Option<f64>,
    skip: Option<u64>,
    count: Option<u64>,
    rv: Option<ReturnValue>,
    ms: Option<f64>,
    for_ms: Option<f64>,
    hang: Option<bool>,
}

impl RawEntry {
    /// The entry, or what is wrong with it.
    pub(super) fn check(mut self) -> Result<Entry, String> {
        let triggered = self.function.is_some()
            || self.session.is_some()
            || self.skip.is_some()
            || self.probability.is_some();
        let action = self.action()?;
        let name = &self.action;
        if self.rv.is_some() || self.ms.is_some() || self.for_ms.is_some() || self.hang.is_some() {
            return Err(format!("{name}: rv, ms, for_ms or hang do not belong here"));
        }
        let standing = action.moment() == Moment::FromThenOn;
        if standing && self.count.is_some() {
            return Err(format!("{name} has no count: it lasts until the file changes"));
        }
        let probability = self.probability.unwrap_or(1.0);
        if !(0.0..=1.0).contains(&probability) {
            return Err(format!("{name}: probability must lie within 0 and 1"));
        }
        let default = if action == Action::ReuseHandles { function::SEARCH } else { FunctionSet::ALL };
        let functions = match &self.function {
            None => default,
            Some(OneOrMany::One(all)) if all == "*" => FunctionSet::ALL,
            Some(OneOrMany::One(one)) => named(std::slice::from_ref(one))?,
            Some(OneOrMany::Many(many)) => named(many)?,
        };
        let functions = functions.and(action.domain());
        if functions.is_empty() {
            return Err(format!("{name} cannot strike any of its functions"));
        }
        Ok(Entry {
            functions,
            session: self.session,
            key: self.key.as_deref().map(id).transpose()?,
            probability,
            skip: self.skip.unwrap_or(0),
            count: self.count.unwrap_or(u64::MAX),
            action,
            triggered,
        })
    }

    /// The action; takes the fields that belong to it.
    fn action(&mut self) -> Result<Action, String> {
        Ok(match self.action.as_str() {
            "error" => Action::Error(match self.rv.take() {
                Some(ReturnValue::Number(rv)) if rv != CKR_OK => rv,
                Some(ReturnValue::Name(name)) => {
                    return_value::named(&name).ok_or_else(|| format!("unknown return value {name:?}"))?
                }
                _ => return Err("error needs an rv other than CKR_OK".into()),
            }),
            "hang" => Action::Hang(self.for_ms.take().map(milliseconds).transpose()?),
            "delay" => Action::Delay(self.needed_ms()?),
            "crash" => Action::Crash,
            "segfault" => Action::Segfault,
            "exit" => Action::Exit,
            "wrong_signature" => Action::WrongSignature,
            "flip_bit" => Action::FlipBit,
            "malformed_der" => Action::MalformedDer,
            "negative_integer" => Action::NegativeInteger,
            "truncate" => Action::Truncate,
            "leave_active" => Action::LeaveActive,
            "drop_session" => Action::DropSession,
            "lose_sessions" => Action::LoseSessions,
            "lose_login" => Action::LoseLogin,
            "idle_drop" => {
                Action::IdleDrop { after: self.needed_ms()?, hang: self.hang.take().unwrap_or(false) }
            }
            "reuse_handles" => Action::ReuseHandles,
            "only_reinit" => Action::OnlyReinit,
            "only_restart" => Action::OnlyRestart,
            "vanish_key" => {
                Action::VanishKey(id(&self.key.take().ok_or("vanish_key needs a key".to_owned())?)?)
            }
            "remove_token" => Action::RemoveToken,
            "renumber_slots" => Action::RenumberSlots,
            unknown => return Err(format!("unknown action {unknown:?}")),
        })
    }

    fn needed_ms(&mut self) -> Result<Duration, String> {
        milliseconds(self.ms.take().ok_or_else(|| format!("{} needs ms", self.action))?)
    }
}

fn milliseconds(ms: f64) -> Result<Duration, String> {
    Duration::try_from_secs_f64(ms / 1_000.0).map_err(|_| format!("{ms} ms is no duration"))
}

fn id(hexadecimal: &str) -> Result<Vec<u8>, String> {
    hex::decode(hexadecimal).map_err(|_| format!("key {hexadecimal:?} is no hexadecimal CKA_ID"))
}

fn named(names: &[String]) -> Result<FunctionSet, String> {
    let function = |name: &String| Function::named(name).ok_or_else(|| format!("unknown function {name:?}"));
    Ok(FunctionSet::of(&names.iter().map(function).collect::<Result<Vec<_>, _>>()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(text: &str) -> Result<Entry, String> {
        toml::from_str::<RawEntry>(text).map_err(|error| error.message().to_owned())?.check()
    }

    #[test]
    fn what_does_not_fit_an_action_is_refused() {
        for bad in [
            "action = 'explode'",
            "action = 'error'",
            "action = 'error'\nrv = 0",
            "action = 'error'\nrv = 'CKR_BAD_HAIR'",
            "action = 'hang'\nrv = 5",
            "action = 'delay'",
            "action = 'delay'\nms = -1",
            "action = 'idle_drop'",
            "action = 'vanish_key'",
            "action = 'vanish_key'\nkey = 'xyz'",
            "action = 'remove_token'\ncount = 1",
            "action = 'hang'\nfunction = 'Sign'",
            "action = 'hang'\nfunction = []",
            "action = 'wrong_signature'\nfunction = 'C_Login'",
            "action = 'crash'\nprobability = 1.5",
            "action = 'crash'\nwhen = 'now'",
        ] {
            assert!(entry(bad).is_err(), "{bad}");
        }
        assert_eq!(entry("action = 'error'\nrv = 'CKR_DEVICE_ERROR'").unwrap().action, Action::Error(0x30));
        assert_eq!(entry("action = 'error'\nrv = 0x8000_0009").unwrap().action, Action::Error(0x8000_0009));
    }

    #[test]
    fn a_chance_is_the_same_in_every_run_and_about_as_great_as_said() {
        let run = || {
            let fault = Fault::new(entry("action = 'crash'\nprobability = 0.25").unwrap(), 42, 1);
            (0..4_000).filter(|_| fault.strikes()).count()
        };
        assert_eq!(run(), run());
        assert!((900..1_100).contains(&run()), "{}", run());
    }

    #[test]
    fn counts_are_exact_under_threads() {
        let fault = Fault::new(entry("action = 'crash'\nskip = 1000\ncount = 300").unwrap(), 0, 0);
        let strikes = || (0..1_000).filter(|_| fault.strikes()).count();
        let struck: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(strikes)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(struck, 300);
    }
}
