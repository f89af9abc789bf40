//! The examination, step by step, inside the process that loads the library.

use std::path::Path;

use cryptoki_sys as sys;

use super::mechanisms::{name, token_flags, uses};
use super::report::hex;
use super::survey::{Family, families};
use super::{
    LibraryFacts, MechanismFacts, Message, ProbeOrder, RefusalCount, Report, Teller, Token, behaviour, bench,
    services, signing, sm2, wrapping,
};
use crate::worker::probing::{Asked, Attribute, Library, Object, Session, TokenInfo};

/// CKA_LABEL of everything a probe makes, so that what a device fails to remove can be recognised.
const LABEL: &[u8] = b"license-gateway probe";

/// The library, one logged-in session and what was found so far.
pub(super) struct Bench<'o> {
    pub(super) order: &'o ProbeOrder,
    pub(super) library: Library,
    pub(super) slot: u64,
    pub(super) session: Session,
    /// The device makes session objects in read-write sessions only.
    pub(super) read_write: bool,
    pub(super) families: Vec<Family>,
    /// The mechanism list.
    pub(super) offered: Vec<u64>,
    pub(super) report: Report,
    made: Vec<Object>,
    teller: Teller,
}

/// Examines the device; what ends the examination early is the error, in a sentence.
pub(super) fn examine(order: &ProbeOrder, teller: &Teller) -> Result<(), String> {
    teller.tell(&Message::Step("load the library".to_owned()));
    let calls = teller.clone();
    let announce = Box::new(move |function: &'static str| calls.tell(&Message::Call(function.to_owned())));
    let library = Library::load(Path::new(&order.module), announce).map_err(|error| error.to_string())?;
    let mut report = Report { library: Some(facts(&library)?), ..Report::default() };
    let found = |report: &Report| teller.tell(&Message::Found(Box::new(report.clone())));
    found(&report);

    teller.tell(&Message::Step("find the token".to_owned()));
    let info = find(&library, order)?;
    report.token = Some(token(&info));
    report.mechanisms = mechanisms(&library, info.slot).map_err(|refusal| refusal.to_string())?;
    found(&report);

    teller.tell(&Message::Step("log in".to_owned()));
    let session = library.open(info.slot, false).map_err(|refusal| refusal.to_string())?;
    let logged_in = log_in(&library, session, &info, order, &mut report);
    found(&report);
    let offered = library.mechanisms(info.slot).unwrap_or_default();
    let mut bench = Bench {
        order,
        library,
        slot: info.slot,
        session,
        read_write: false,
        families: families(),
        offered,
        report,
        made: Vec::new(),
        teller: teller.clone(),
    };
    let outcome = logged_in.and_then(|keys_may_be_used| bench.all(keys_may_be_used));
    bench.clear();
    bench.found();
    outcome
}

impl Bench<'_> {
    fn all(&mut self, keys_may_be_used: bool) -> Result<(), String> {
        self.step("digest, cipher and draw random numbers");
        services::without_keys(self);
        if !keys_may_be_used {
            return Err("without a PIN no key could be tried; give --pin-file".to_owned());
        }
        let mut signers = if self.order.existing_keys.is_empty() {
            self.find_session_kind();
            self.step("make and try an SM2 key");
            let sm2 = sm2::generated(self);
            self.step("make and try a P-256 and an RSA key");
            let others = signing::generated(self);
            self.step("try ciphers");
            services::with_keys(self);
            self.step("wrap and unwrap keys");
            wrapping::wrap(self);
            sm2.into_iter().chain(others).collect()
        } else {
            self.step("try the keys that are there");
            signing::existing(self)?
        };
        self.found();
        self.step("open several sessions");
        behaviour::sessions(self, &signers);
        self.found();
        if !self.order.measure.is_zero() {
            for signer in &mut signers {
                bench::measure(self, signer);
                self.found();
            }
        }
        self.step("break rules on purpose");
        // While still logged in: what the last step does may hide private objects from their removal.
        let needed = signers.first().map(|signer| signer.key);
        let (needed, spare) =
            std::mem::take(&mut self.made).into_iter().partition(|made| Some(*made) == needed);
        self.made = spare;
        self.destroy_all();
        self.made = needed;
        behaviour::rules(self, &signers);
        Ok(())
    }

    pub(super) fn step(&self, doing: &str) {
        self.teller.tell(&Message::Step(doing.to_owned()));
    }

    /// Tells the parent what there is, should the next call never return.
    pub(super) fn found(&mut self) {
        let refusals = self.library.refusals().into_iter();
        self.report.refusals = refusals
            .map(|(function, rv, count)| RefusalCount { refusal: format!("{function} answered {rv}"), count })
            .collect();
        self.teller.tell(&Message::Found(Box::new(self.report.clone())));
    }

    pub(super) fn offers(&self, number: u64) -> bool {
        self.offered.contains(&number)
    }

    /// Whether trying a number makes sense: it is offered, or the list hides vendors' numbers altogether.
    pub(super) fn worth_trying(&self, number: u64) -> bool {
        let shows_vendors = self.offered.iter().any(|number| *number >= super::mechanisms::VENDOR_RANGE);
        self.offers(number) || !shows_vendors
    }

    pub(super) fn note(&mut self, text: impl Into<String>) {
        let text = text.into();
        if !self.report.notes.contains(&text) {
            self.report.notes.push(text);
        }
    }

    /// What every object of the probe has: it is a session object with a telling label.
    pub(super) fn session_object(&self, own: &[Attribute]) -> Vec<Attribute> {
        let common =
            [Attribute::flag(sys::CKA_TOKEN, false), Attribute::octets(sys::CKA_LABEL, LABEL)].into_iter();
        common.chain(own.iter().cloned()).collect()
    }

    /// Remembers an object to be destroyed. A device that made a token object all the same loses it at once.
    pub(super) fn keep(&mut self, object: Object) -> Option<Object> {
        let permanent = self.library.attribute(self.session, object, sys::CKA_TOKEN);
        if permanent.is_ok_and(|value| value.first().is_some_and(|value| *value != 0)) {
            let removed = self.library.destroy(self.session, object).is_ok();
            let fate =
                if removed { "was removed at once" } else { "COULD NOT BE REMOVED: remove it by hand" };
            self.note(format!(
                "The device ignored CKA_TOKEN = false and made a permanent object labelled \
                 \"license-gateway probe\"; it {fate}."
            ));
            return None;
        }
        self.made.push(object);
        Some(object)
    }

    /// Destroys an object before its time, such as one of many.
    pub(super) fn discard(&mut self, object: Object) {
        let _ = self.library.destroy(self.session, object); // a session object goes with its session anyway
    }

    fn destroy_all(&mut self) {
        for object in std::mem::take(&mut self.made) {
            self.discard(object);
        }
    }

    fn clear(&mut self) {
        self.destroy_all();
        let _ = self.library.close(self.session); // and with it what a logout hid
    }

    /// Some devices make session objects in read-write sessions only; then such a session it is.
    fn find_session_kind(&mut self) {
        let template = self.session_object(&[
            Attribute::number(sys::CKA_CLASS, sys::CKO_SECRET_KEY),
            Attribute::number(sys::CKA_KEY_TYPE, sys::CKK_AES),
            Attribute::number(sys::CKA_VALUE_LEN, 16),
        ]);
        let means = crate::worker::probing::Means::plain(sys::CKM_AES_KEY_GEN);
        match self.library.generate(self.session, &means, &template) {
            Ok(key) => {
                if self.keep(key).is_some() {
                    self.made.pop();
                    self.discard(key);
                }
            }
            Err(refusal) if refusal.rv.0 == sys::CKR_SESSION_READ_ONLY => {
                if let Ok(session) = self.library.open(self.slot, true) {
                    // The login is the token's; it stays while one session is open.
                    let old = std::mem::replace(&mut self.session, session);
                    let _ = self.library.close(old);
                    self.read_write = true;
                    self.note("Session objects need a read-write session here.");
                }
            }
            Err(_) => {} // no AES: nothing learnt
        }
    }
}

fn facts(library: &Library) -> Result<LibraryFacts, String> {
    let info = library.info().map_err(|refusal| refusal.to_string())?;
    Ok(LibraryFacts {
        manufacturer: info.manufacturer,
        description: info.description,
        version: info.version,
        cryptoki: info.cryptoki,
    })
}

fn find(library: &Library, order: &ProbeOrder) -> Result<TokenInfo, String> {
    let tokens = library.tokens().map_err(|refusal| refusal.to_string())?;
    let there: Vec<String> =
        tokens.iter().map(|token| format!("{:?} with serial {:?}", token.label, token.serial)).collect();
    let wanted = |token: &TokenInfo| {
        token.label == order.token && order.serial.as_ref().is_none_or(|serial| *serial == token.serial)
    };
    let mut fitting: Vec<TokenInfo> = tokens.into_iter().filter(wanted).collect();
    match fitting.len() {
        1 => Ok(fitting.remove(0)),
        0 => {
            let serial = order.serial.as_ref().map(|serial| format!(" with serial {serial:?}"));
            let there = if there.is_empty() { "none".to_owned() } else { there.join(", ") };
            Err(format!(
                "no token labelled {:?}{}; there are: {there}",
                order.token,
                serial.unwrap_or_default()
            ))
        }
        _ => Err(format!("several tokens are labelled {:?}: give --serial", order.token)),
    }
}

fn token(info: &TokenInfo) -> Token {
    Token {
        label: info.label.clone(),
        manufacturer: info.manufacturer.clone(),
        model: info.model.clone(),
        serial: info.serial.clone(),
        firmware: info.firmware.clone(),
        slot: info.slot,
        flags: token_flags(info.flags),
        max_sessions: info.max_sessions,
        open_sessions: info.open_sessions,
    }
}

fn mechanisms(library: &Library, slot: u64) -> Asked<Vec<MechanismFacts>> {
    let families = families();
    let mut numbers = library.mechanisms(slot)?;
    numbers.sort_unstable();
    Ok(numbers
        .into_iter()
        .map(|number| {
            let (min_key, max_key, flags) = library.mechanism(slot, number).unwrap_or_default();
            MechanismFacts {
                number: hex(number),
                name: name(number, &families),
                min_key,
                max_key,
                uses: uses(flags),
            }
        })
        .collect())
}

/// Logs in once. Whether private keys may be used, or why the examination ends here.
fn log_in(
    library: &Library,
    session: Session,
    info: &TokenInfo,
    order: &ProbeOrder,
    report: &mut Report,
) -> Result<bool, String> {
    let required = info.flags & sys::CKF_LOGIN_REQUIRED != 0;
    let Some(pin) = &order.pin else { return Ok(!required) };
    if info.flags & sys::CKF_USER_PIN_LOCKED != 0 {
        return Err("the token says that its user PIN is locked; no login was tried".to_owned());
    }
    if info.flags & sys::CKF_USER_PIN_FINAL_TRY != 0 {
        return Err("the token says that one more wrong PIN locks it; no login was tried".to_owned());
    }
    if info.flags & sys::CKF_USER_PIN_COUNT_LOW != 0 {
        report.notes.push("A wrong PIN was given before this examination.".to_owned());
    }
    match library.login(session, pin) {
        Ok(()) => Ok(true),
        Err(refusal) if refusal.rv.0 == sys::CKR_USER_ALREADY_LOGGED_IN => Ok(true),
        Err(refusal) if refusal.rv.refuses_pin() => {
            Err(format!("PIN refused ({}); tried once and not again", refusal.rv))
        }
        Err(refusal) => Err(refusal.to_string()),
    }
}
