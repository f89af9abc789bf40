//! The people of a sandbox. `sandbox.json` names them when it is made; they are entered when the gateway has the data
//! key that their passwords are sealed with.

use std::fs;
use std::path::Path;

use config::AccountName;
use serde::Deserialize;
use serde_json::{Value, json};
use store::{NewAccount, Role, Store, StoreError};
use time::OffsetDateTime;
use zeroize::Zeroizing;

use super::{one_time_password, totp};

/// Name and roles. The first is the console's; each of the three who are kept apart is another person.
const PEOPLE: [(&str, &str, &[Role]); 3] = [
    (
        "console",
        "控制台（沙箱）",
        &[Role::Operator, Role::WindowClerk, Role::ServiceSeat, Role::Auditor, Role::SystemAdmin],
    ),
    ("security", "安全管理员（沙箱）", &[Role::SecurityAdmin]),
    ("audit", "审计管理员（沙箱）", &[Role::AuditAdmin]),
];

/// Names people in the description of a sandbox that names none.
///
/// # Errors
/// The system gives no random numbers.
pub(crate) fn describe(description: &mut Value) -> Result<(), getrandom::Error> {
    if description.get("console").is_some() {
        return Ok(());
    }
    let mut people = Vec::new();
    for (user, _, roles) in PEOPLE {
        let password = one_time_password()?;
        let secret = totp::base32(&totp::fresh_secret()?);
        people.push(json!({
            "user": user, "password": password.expose(), "totp_secret": secret, "roles": roles,
        }));
    }
    let console = &people[0];
    description["console"] = json!({
        "user": console["user"], "password": console["password"], "totp_secret": console["totp_secret"],
    });
    description["people"] = people.into();
    Ok(())
}

#[derive(Deserialize)]
struct Described {
    people: Vec<DescribedPerson>,
}

#[derive(Deserialize)]
struct DescribedPerson {
    user: AccountName,
    password: Zeroizing<String>,
    totp_secret: Zeroizing<String>,
    roles: std::collections::BTreeSet<Role>,
}

/// What somebody types to sign in to a sandbox now.
pub(crate) struct SignIn {
    /// The account.
    pub(crate) user: AccountName,
    /// What the person does.
    pub(crate) roles: Vec<Role>,
    /// The password that the sandbox was made with.
    pub(crate) password: Zeroizing<String>,
    /// The code of the second factor that counts now, and for how many seconds more.
    pub(crate) code: (String, u64),
}

/// How the people of a sandbox's description sign in; none where it names nobody.
pub(crate) fn sign_ins(description: &str) -> Vec<SignIn> {
    let Ok(Described { people }) = serde_json::from_str(description) else { return Vec::new() };
    let at = OffsetDateTime::now_utc();
    let sign_in = |person: DescribedPerson| {
        let code = totp::code_at(&totp::of_base32(&person.totp_secret)?, at)?;
        let roles = person.roles.into_iter().collect();
        Some(SignIn { user: person.user, roles, password: person.password, code })
    };
    people.into_iter().filter_map(sign_in).collect()
}

/// Enters the people of the description in this folder, unless there is an account already.
///
/// # Errors
/// The database or the data key is not there.
pub(crate) async fn enter(store: &Store, folder: &Path) -> Result<(), StoreError> {
    if store.count_accounts().await? > 0 {
        return Ok(());
    }
    let text = fs::read_to_string(folder.join("sandbox.json")).unwrap_or_default();
    // An operator's own sandbox may name nobody.
    let Ok(Described { people }) = serde_json::from_str(&text) else { return Ok(()) };
    let at = OffsetDateTime::now_utc();
    for person in people {
        let Some(secret) = totp::of_base32(&person.totp_secret) else { continue };
        let called = PEOPLE.iter().find(|(user, ..)| *user == person.user.as_str());
        let account = NewAccount {
            name: &person.user,
            display_name: called.map_or(person.user.as_str(), |(_, called, _)| called),
            roles: &person.roles,
            password: &person.password,
            one_time_until: None,
        };
        store.insert_account(&account, at).await?;
        store.begin_second_factor(&person.user, secret.expose(), None).await?;
        store.confirm_second_factor(&person.user, (&secret, 0), &[], None, at).await?;
    }
    tracing::info!("the people of the sandbox are entered");
    Ok(())
}
