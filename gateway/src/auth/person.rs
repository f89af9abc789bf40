//! People: a request shows the token of a session that somebody signed in for, or a personal access token. Both are
//! opaque, and every request asks the database whether they still hold: what ends on one replica has ended on all.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use config::{AccountName, AppId, OwnName, People};
use sm3::{Digest, Sm3};
use store::{Account, AccountState, App, Session, SessionKind};
use time::{Duration as Span, OffsetDateTime};

use super::roles;
use super::throttle::Attempt;
use crate::people::TOKEN;
use crate::problem::Problem;
use crate::state::Gateway;

/// What tokens of people begin with, so that they are told from access tokens of apps, and found where they leaked.
pub(crate) const PREFIX: &str = "lgw_";
/// The token of a session.
pub(crate) const SESSION_PREFIX: &str = "lgw_s_";
/// A personal access token.
pub(crate) const TOKEN_PREFIX: &str = "lgw_p_";
/// Proof of a right password while the second factor is awaited.
pub(crate) const PENDING_PREFIX: &str = "lgw_q_";

/// What all who show such a token claim to be, as long as it proves nothing.
pub(crate) const CLAIM: &str = OwnName::Person.as_str();

/// Use of a session is written so many times within the time after which it ends without use, once a minute at most.
const TOUCHES: u32 = 8;

/// What a person has to do before anything else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Due {
    /// Choose a password: the present one is too old, or was given by somebody else.
    Password,
    /// Show a second factor, or enrol one.
    SecondFactor,
}

/// A person at the other end, or a program that acts for one.
#[derive(Debug)]
pub(crate) struct Person {
    pub(crate) account: Account,
    /// What signs the person in.
    pub(crate) session: Session,
    /// What comes first; until then the person may do nothing else.
    pub(crate) due: Option<Due>,
    /// What stands for the person where an app would.
    app: Arc<App>,
}

impl Person {
    /// As the audit log names people.
    pub(crate) fn actor(&self) -> String {
        actor(&self.account.name)
    }

    pub(super) fn app(&self) -> Arc<App> {
        Arc::clone(&self.app)
    }

    /// Whether it is the person, and not a program with a token.
    pub(crate) fn is_signed_in(&self) -> bool {
        self.session.kind == SessionKind::Session
    }
}

/// As the audit log names people. No app's id has a colon.
pub(crate) fn actor(name: &AccountName) -> String {
    format!("person:{name}")
}

/// What of a token is stored.
pub(crate) fn digest(token: &str) -> [u8; 32] {
    Sm3::digest(token.as_bytes()).into()
}

/// What an account has to do before anything else.
pub(crate) fn due(
    people: &People,
    account: &Account,
    second_factor: bool,
    at: OffsetDateTime,
) -> Option<Due> {
    let age = at - account.password_set_at;
    if account.one_time_until.is_some() || age >= Span::days(i64::from(people.password_days)) {
        return Some(Due::Password);
    }
    (!second_factor).then_some(Due::SecondFactor)
}

/// Whether an account may be used at this time: it is enabled, and not unused for as long as the site asks for.
pub(crate) fn is_live(people: &People, account: &Account, at: OffsetDateTime) -> bool {
    let unused = Span::days(i64::from(people.unused_days));
    account.state == AccountState::Enabled && at - account.unused_since() < unused
}

/// How exactly the use of a session is known.
fn touched_every(people: &People) -> Duration {
    (people.idle / TOUCHES).min(Duration::from_secs(60))
}

/// Whether the time of a session is up, or it was not used for too long; never earlier than the site asks for.
fn is_over(people: &People, session: &Session, at: OffsetDateTime) -> bool {
    let unused = at - session.used_at > people.idle + touched_every(people);
    session.expires_at <= at || session.kind == SessionKind::Session && unused
}

/// Whether it is a token as people get them, of whatever kind.
fn has_form(token: &str) -> bool {
    let text =
        [SESSION_PREFIX, TOKEN_PREFIX, PENDING_PREFIX].iter().find_map(|kind| token.strip_prefix(kind));
    let octets = text.and_then(|text| URL_SAFE_NO_PAD.decode(text).ok());
    octets.is_some_and(|octets| octets.len() == TOKEN)
}

/// The person whom a token stands for.
pub(super) async fn prove(
    token: &str,
    gateway: &Gateway,
    attempt: &mut Attempt,
) -> Result<Arc<Person>, Problem> {
    attempt.claims(CLAIM);
    // Whatever is wrong with it, who shows it learns no more than that it does not count.
    let refused = || Problem::token_invalid("this token does not count, or does not count any more");
    if !has_form(token) {
        return Err(refused()); // nobody ever got such a one: that is told without the database
    }
    attempt.admit(gateway)?;
    let found = gateway.store.session(&digest(token)).await;
    let found = found.map_err(|error| Problem::database(&error))?;
    let (session, account) = found.ok_or_else(refused)?;
    let (people, at) = (&gateway.config.people, OffsetDateTime::now_utc());
    // It was this person's once: nobody guesses.
    attempt.proved_person(&account.name);
    attempt.claim_succeeded(gateway);
    if session.kind == SessionKind::Pending || session.ended.is_some() || !is_live(people, &account, at) {
        return Err(refused());
    }
    if is_over(people, &session, at) {
        return Err(Problem::token_expired());
    }
    if let Err(error) = gateway.store.touch_session(&session, touched_every(people), at).await {
        tracing::warn!(%error, "the use of a session was not noted");
    }
    let due = due(people, &account, session.second_factor, at);
    let app = Arc::new(stand_in(&account, &session, due));
    Ok(Arc::new(Person { account, session, due, app }))
}

/// An app with what the person may do here. Its id tells requests in work and figures apart.
fn stand_in(account: &Account, session: &Session, due: Option<Due>) -> App {
    let id = AppId::parse(&format!("person.{}", account.name));
    let mut app = App::new(id.expect("a name of an account fits into an app's id"), account.name.as_str());
    if due.is_none() {
        let granted = roles::granted(&account.roles).into_iter().map(|scope| scope.name().to_owned());
        let within = |scope: &String| session.scopes.as_ref().is_none_or(|scopes| scopes.contains(scope));
        app.scopes = granted.filter(within).collect();
        app.fields = roles::visible(&account.roles);
    }
    app
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use store::Role;
    use time::macros::datetime;

    use super::*;

    const AT: OffsetDateTime = datetime!(2026-05-06 07:08:09 UTC);

    #[test]
    fn what_nobody_ever_got_is_told_without_the_database() {
        let token = URL_SAFE_NO_PAD.encode([7; TOKEN]);
        for kind in [SESSION_PREFIX, TOKEN_PREFIX, PENDING_PREFIX] {
            assert!(has_form(&format!("{kind}{token}")));
            for none in [&token[1..], "x", "", &format!("{token}A"), &token.replace(&token[..1], "+")] {
                assert!(!has_form(&format!("{kind}{none}")), "{none}");
            }
        }
        assert!(!has_form(&format!("lgw_x_{token}")) && !has_form(&token));
        assert!(has_form(crate::people::FreshToken::new(SESSION_PREFIX).unwrap().text.expose()));
    }

    fn people() -> People {
        People {
            idle: Duration::from_secs(900),
            session: Duration::from_secs(28_800),
            password_length: 12,
            password_days: 90,
            reminder_days: 14,
            password_history: 5,
            one_time: Duration::from_secs(3600),
            lockout_tries: 5,
            lockout_pause: Duration::from_secs(60),
            lockout_longest: Duration::from_secs(3600),
            token_days: 90,
            unused_days: 30,
        }
    }

    fn account() -> Account {
        Account {
            name: AccountName::parse("wang.lei").unwrap(),
            display_name: "王磊".to_owned(),
            roles: BTreeSet::from([Role::Auditor]),
            state: AccountState::Enabled,
            reason: String::new(),
            password_set_at: AT,
            one_time_until: None,
            second_factor_since: Some(AT),
            recovery_codes_left: 0,
            last_seen_at: None,
            created_at: AT,
            changed_at: AT,
            revision: 0,
        }
    }

    fn session(kind: SessionKind) -> Session {
        Session {
            id: "one".to_owned(),
            account: account().name,
            kind,
            label: String::new(),
            scopes: None,
            second_factor: true,
            created_at: AT,
            used_at: AT,
            expires_at: AT + Span::hours(8),
            ended: None,
        }
    }

    #[test]
    fn a_session_ends_without_use_and_in_any_case() {
        let people = people();
        let is_over = |session: &Session, seconds| is_over(&people, session, AT + Span::seconds(seconds));
        let mut one = session(SessionKind::Session);
        assert!(!is_over(&one, 900), "not before its time");
        assert!(is_over(&one, 900 + 61));
        one.used_at = AT + Span::hours(8) - Span::SECOND;
        assert!(!is_over(&one, 8 * 3600 - 1));
        assert!(is_over(&one, 8 * 3600), "however much it is used");
        let token = session(SessionKind::Token);
        assert!(!is_over(&token, 8 * 3600 - 1) && is_over(&token, 8 * 3600), "a token may rest");
    }

    #[test]
    fn a_password_is_renewed_before_anything_else() {
        let (people, mut account) = (people(), account());
        let last = AT + Span::days(90) - Span::SECOND;
        assert_eq!(due(&people, &account, true, last), None);
        assert_eq!(due(&people, &account, true, last + Span::SECOND), Some(Due::Password));
        assert_eq!(due(&people, &account, false, AT), Some(Due::SecondFactor));
        account.one_time_until = Some(AT + Span::DAY);
        assert_eq!(due(&people, &account, false, AT), Some(Due::Password));
    }

    #[test]
    fn what_is_due_leaves_no_scope() {
        let account = account();
        let scopes = |due| stand_in(&account, &session(SessionKind::Session), due).scopes;
        assert_eq!(scopes(None).len(), 3);
        assert!(scopes(Some(Due::SecondFactor)).is_empty());
    }

    #[test]
    fn a_token_is_worth_what_it_says_and_the_person_still_has() {
        let mut token = session(SessionKind::Token);
        token.scopes = Some(["audit", "accounts"].map(str::to_owned).into());
        assert_eq!(stand_in(&account(), &token, None).scopes, ["audit".to_owned()].into());
    }

    #[test]
    fn an_account_that_nobody_uses_is_off() {
        let (people, mut account) = (people(), account());
        let last = AT + Span::days(30) - Span::SECOND;
        assert!(is_live(&people, &account, last) && !is_live(&people, &account, last + Span::SECOND));
        account.last_seen_at = Some(last);
        assert!(is_live(&people, &account, last + Span::days(29)));
        account.state = AccountState::Disabled;
        assert!(!is_live(&people, &account, last));
    }
}
