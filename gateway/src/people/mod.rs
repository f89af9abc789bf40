//! The people who operate the gateway: signing in, their own accounts, and the accounts of others.
//!
//! Signing in takes a password and a second factor (`sign_in`), and what matters most takes one of them again (`at_hand`).
//! What people do with their own account is in `own`, what administrators do with accounts of others in `admin`, and what
//! that changes is changed in `act` alone. `review` shows who may do what, `keep` turns off what nobody uses. docs/adr/0026
//! has the reasons.

pub(crate) mod act;
pub(crate) mod admin;
mod at_hand;
mod breached;
pub(crate) mod form;
pub(crate) mod keep;
pub(crate) mod own;
pub(crate) mod password;
pub(crate) mod review;
pub(crate) mod rights;
#[cfg(feature = "sandbox")]
pub(crate) mod sandbox;
pub(crate) mod sign_in;
mod totp;
mod view;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use config::Secret;
use tracing::Instrument;

use crate::auth::person::digest;
use crate::problem::Problem;
use crate::request_id;

/// Carries an act out to its end, whether or not whoever asked waits for it: what was done is on record.
async fn to_its_end<T: Send + 'static>(
    act: impl Future<Output = Result<T, Problem>> + Send + 'static,
) -> Result<T, Problem> {
    let act = request_id::carried(act.in_current_span());
    tokio::spawn(act).await.map_err(|_| Problem::panicked())?
}

/// Octets of a token: nobody guesses 256 bits.
pub(crate) const TOKEN: usize = 32;

/// A token to be given out once, and what of it is stored.
pub(crate) struct FreshToken {
    /// The id of what it stands for.
    pub(crate) id: String,
    pub(crate) text: Secret<String>,
    pub(crate) digest: [u8; 32],
}

impl FreshToken {
    /// One with this prefix, which says what it is good for.
    pub(crate) fn new(prefix: &str) -> Result<Self, Problem> {
        let mut octets = [0_u8; TOKEN];
        getrandom::fill(&mut octets).map_err(|error| Problem::no_random(&error))?;
        let text = format!("{prefix}{}", URL_SAFE_NO_PAD.encode(octets));
        let digest = digest(&text);
        Ok(Self { id: format!("{:032x}", fastrand::u128(..)), text: Secret::new(text), digest })
    }
}

/// A password for one sign-in: 100 bits in fives, easy to read to somebody.
pub(crate) fn one_time_password() -> Result<Secret<String>, getrandom::Error> {
    const LETTERS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
    let mut octets = [0_u8; 20];
    getrandom::fill(&mut octets)?;
    let letters: Vec<u8> = octets.iter().map(|octet| LETTERS[usize::from(octet % 32)]).collect();
    let groups: Vec<_> = letters.chunks(5).map(String::from_utf8_lossy).collect();
    Ok(Secret::new(groups.join("-")))
}
