//! What somebody is let in on. It is judged before, and again in the transaction that acts on it: a password that was reset
//! meanwhile is no ground any more, however long the work with it took.

use std::fmt;

use sm3::{Digest, Sm3};

use super::Factor;
use super::row::AccountRow;
use crate::StoreError;
use crate::protection::Protection;

/// What a person was proved by: the password and the second factor that an account had when somebody was judged by them. It
/// tells whether both are still the same, and nothing else.
#[derive(Clone, PartialEq, Eq)]
pub struct Proofs([u8; 32]);

impl Proofs {
    /// Those of an account now. Of the plain values: another data key, under which they are sealed anew, changes nothing.
    pub(super) fn of(row: &AccountRow, protection: &Protection) -> Result<Self, StoreError> {
        // The hash in its text form has a salt of its own and no zero octet.
        let mut digest = Sm3::new_with_prefix(row.hash(protection)?.as_bytes());
        if let Some(secret) = row.totp_secret(protection, false)? {
            digest.update([0]);
            digest.update(&*secret);
        }
        Ok(Self(digest.finalize().into()))
    }
}

impl fmt::Debug for Proofs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Proofs")
    }
}

/// Why a session may begin.
#[derive(Debug, Clone, Copy)]
pub enum Grounds<'a> {
    /// Somebody has just shown the password, and a factor if there is one.
    Shown {
        /// What that was judged by; still the account's.
        proofs: &'a Proofs,
        /// The factor, to be used up.
        factor: Option<&'a Factor>,
    },
    /// It takes the place of a session that has not ended, and ends with it.
    InPlaceOf {
        /// That session's id.
        session: &'a str,
        /// A factor, to be used up.
        factor: Option<&'a Factor>,
    },
    /// It was asked for within a session, which goes on, and has not ended.
    Within(&'a str),
}
