//! What a device does with several sessions, with a rule broken on purpose, and with a login that ends.

use cryptoki_sys as sys;

use super::examine::Bench;
use super::signing::Signer;
use crate::worker::probing::{Asked, Session};

/// Opens as many sessions as the gateway would, and signs in two of them crosswise and at once. Never more:
/// a device in production needs its sessions.
pub(super) fn sessions(bench: &mut Bench<'_>, signers: &[Signer]) {
    let asked = bench.order.lanes;
    // One is open already.
    let mut open = vec![];
    while open.len() + 1 < asked {
        match bench.library.open(bench.slot, bench.read_write) {
            Ok(session) => open.push(session),
            Err(refusal) => {
                bench.note(format!(
                    "Of {asked} sessions {} were given: {refusal}. Configure no more lanes.",
                    open.len() + 1
                ));
                break;
            }
        }
    }
    bench.report.behaviour.sessions_asked = Some(asked);
    bench.report.behaviour.sessions_given = Some(open.len() + 1);
    if let (Some(signer), Some(second)) = (signers.first(), open.first()) {
        let crosswise = crosswise(bench, signer, *second);
        let at_once = crosswise == Ok(true) && at_once(bench, signer, *second);
        bench.report.behaviour.parallel = Some(at_once);
        match crosswise {
            Ok(true) if at_once => {}
            Ok(true) => bench.note("Two sessions that sign at once spoil each other's signatures."),
            Ok(false) => bench.note("Operations begun in two sessions spoil each other's signatures."),
            Err(refusal) => bench.note(format!("A second session cannot sign beside the first: {refusal}.")),
        }
    }
    for session in open {
        let _ = bench.library.close(session);
    }
}

/// Begins in one session, begins in the other, ends in the first, ends in the second.
fn crosswise(
    bench: &Bench<'_>,
    signer: &Signer,
    second: Session,
) -> Result<bool, crate::worker::probing::Refusal> {
    let (library, first) = (&bench.library, bench.session);
    library.sign_init(first, &signer.means, signer.key)?;
    let begun = library.sign_init(second, &signer.means, signer.key);
    let one = library.sign(first, &signer.input())?;
    begun?;
    let two = library.sign(second, &signer.input())?;
    Ok(signer.accepts(&one) && signer.accepts(&two))
}

fn at_once(bench: &Bench<'_>, signer: &Signer, second: Session) -> bool {
    let (library, input) = (&bench.library, signer.input());
    let sign = |session| {
        (0..10).all(|_| {
            let answer = library.sign_fast(session, &signer.means, signer.key, &input);
            answer.is_ok_and(|answer| signer.accepts(&answer))
        })
    };
    std::thread::scope(|scope| {
        let other = scope.spawn(|| sign(second));
        let mine = sign(bench.session);
        other.join().unwrap_or(false) && mine
    })
}

/// Breaks a rule, and ends the login. Last, because session keys may go with it.
pub(super) fn rules(bench: &mut Bench<'_>, signers: &[Signer]) {
    let Some(signer) = signers.first() else { return };
    let (session, input) = (bench.session, signer.input());
    let judged = |answer: Asked<Vec<u8>>| match answer {
        Ok(answer) if signer.accepts(&answer) => "signs".to_owned(),
        Ok(_) => "answers what is no signature of the key".to_owned(),
        Err(refusal) => refusal.to_string(),
    };
    if bench.library.sign_init(session, &signer.means, signer.key).is_ok() {
        let second = bench.library.sign_init(session, &signer.means, signer.key);
        bench.report.behaviour.second_init =
            Some(second.map_or_else(|refusal| refusal.to_string(), |()| "is accepted".to_owned()));
        bench.report.behaviour.first_operation = Some(judged(bench.library.sign(session, &input)));
    }
    let Some(pin) = &bench.order.pin else { return };
    // A key that lives on the token, if there is one: only its name is read.
    let name_of = |bench: &Bench<'_>, key| bench.library.attribute(session, key, sys::CKA_ID);
    let resident = bench.library.any_private_key(session).ok().flatten();
    let resident = resident.and_then(|key| Some((key, name_of(bench, key).ok()?)));
    if let Err(refusal) = bench.library.logout(session) {
        bench.report.behaviour.after_logout = Some(refusal.to_string());
        return;
    }
    let sign = |bench: &Bench<'_>| bench.library.sign_fast(session, &signer.means, signer.key, &input);
    let after_logout = judged(sign(bench));
    bench.report.behaviour.after_logout = Some(after_logout);
    // The same PIN that was accepted before.
    match bench.library.login(session, pin) {
        Ok(()) => {
            let after_login = judged(sign(bench));
            bench.report.behaviour.after_login = Some(after_login);
            bench.report.behaviour.token_key_after_login =
                resident.map(|(key, name)| match name_of(bench, key) {
                    Ok(now) if now == name => "its handle still means it".to_owned(),
                    Ok(_) => "ITS HANDLE MEANS ANOTHER KEY".to_owned(),
                    Err(refusal) => format!("its handle is gone: {refusal}"),
                });
        }
        Err(refusal) => bench.note(format!("A second login is refused: {refusal}.")),
    }
}
