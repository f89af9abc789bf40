//! Codes of the second factor (RFC 6238: HMAC-SHA-1, six digits, 30 seconds, as every authenticator knows them), and
//! recovery codes.

use config::{AccountName, Secret};
use time::OffsetDateTime;
use totp_rs::{Builder, Totp};

/// Octets of a secret (RFC 4226, 4: 160 bits).
const SECRET: usize = 20;
/// Recovery codes that are made at a time.
const RECOVERY_CODES: usize = 10;
/// Octets of one: 80 bits, which nobody guesses, so that a plain digest keeps them.
const RECOVERY_CODE: usize = 10;
/// Letters of recovery codes (Crockford's): none that is taken for another.
const LETTERS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// A fresh secret.
pub(crate) fn fresh_secret() -> Result<Secret<Vec<u8>>, getrandom::Error> {
    let mut octets = vec![0; SECRET];
    getrandom::fill(&mut octets)?;
    Ok(Secret::new(octets))
}

/// The step at which the secret gives this code, within one step of the time.
pub(crate) fn step_of(secret: &Secret<Vec<u8>>, code: &str, at: OffsetDateTime) -> Option<i64> {
    let code: String = code.chars().filter(|c| !c.is_whitespace()).collect();
    let time = u64::try_from(at.unix_timestamp()).ok()?;
    i64::try_from(totp(secret).build().ok()?.check(&code, time)?).ok()
}

/// What an authenticator reads a secret from: base32, and an `otpauth` URL.
pub(crate) fn shown(secret: &Secret<Vec<u8>>, site: &str, name: &AccountName) -> Option<(String, String)> {
    // A colon divides issuer and account in the URL.
    let issuer = site.replace(':', " ");
    let totp: Totp = totp(secret).with_issuer(Some(issuer)).with_account_name(name.as_str()).build().ok()?;
    Some((totp.secret().to_base32(), totp.to_url().ok()?))
}

/// A secret in base32.
#[cfg(feature = "sandbox")]
pub(crate) fn base32(secret: &Secret<Vec<u8>>) -> String {
    totp_rs::Secret::from(secret.expose().clone()).to_base32()
}

/// The code that counts at a time, and for how many seconds more.
#[cfg(feature = "sandbox")]
pub(crate) fn code_at(secret: &Secret<Vec<u8>>, at: OffsetDateTime) -> Option<(String, u64)> {
    let (totp, time) = (totp(secret).build().ok()?, u64::try_from(at.unix_timestamp()).ok()?);
    Some((totp.generate(time).to_string(), totp.next_step(time) - time))
}

/// A secret of its base32.
#[cfg(feature = "sandbox")]
pub(crate) fn of_base32(text: &str) -> Option<Secret<Vec<u8>>> {
    let secret = totp_rs::Secret::try_from_base32(text).ok()?;
    Some(Secret::new(secret.as_bytes().to_vec()))
}

fn totp(secret: &Secret<Vec<u8>>) -> Builder {
    Builder::new().with_secret(secret.expose().clone())
}

/// Fresh recovery codes in the form they are stored in.
pub(crate) fn fresh_recovery_codes() -> Result<Vec<Secret<String>>, getrandom::Error> {
    (0..RECOVERY_CODES).map(|_| fresh_recovery_code()).collect()
}

fn fresh_recovery_code() -> Result<Secret<String>, getrandom::Error> {
    let mut octets = [0_u8; RECOVERY_CODE];
    getrandom::fill(&mut octets)?;
    let bits = octets.iter().fold(0_u128, |bits, octet| bits << 8 | u128::from(*octet));
    let letter = |place: usize| char::from(LETTERS[(bits >> (5 * place) & 31) as usize]);
    Ok(Secret::new((0..RECOVERY_CODE * 8 / 5).map(letter).collect()))
}

/// A recovery code as people read it: in fours.
pub(crate) fn in_fours(code: &str) -> String {
    let groups: Vec<_> = code.as_bytes().chunks(4).map(String::from_utf8_lossy).collect();
    groups.join("-")
}

/// A recovery code as it is stored, of what somebody typed.
pub(crate) fn typed(code: &str) -> Secret<String> {
    let upper = code.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_uppercase());
    Secret::new(
        upper
            .map(|c| match c {
                'O' => '0',
                'I' | 'L' => '1',
                other => other,
            })
            .collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_those_of_rfc_6238() {
        // Appendix B, SHA-1; six of its eight digits.
        let secret = Secret::new(b"12345678901234567890".to_vec());
        for (seconds, code) in [(59, "287082"), (1_111_111_109, "081804"), (20_000_000_000, "353130")] {
            let at = OffsetDateTime::from_unix_timestamp(seconds).unwrap();
            assert_eq!(step_of(&secret, code, at), Some(seconds / 30));
            assert_eq!(step_of(&secret, &format!("{} {}", &code[..3], &code[3..]), at), Some(seconds / 30));
            assert_eq!(step_of(&secret, code, at + time::Duration::seconds(90)), None, "it is too old");
            assert_eq!(step_of(&secret, "000000", at), None);
        }
        let at = OffsetDateTime::UNIX_EPOCH;
        for none in ["", "12345", "1234567", "abcdef", "２８７０８２"] {
            assert_eq!(step_of(&secret, none, at), None, "{none}");
        }
    }

    #[test]
    fn an_authenticator_gets_a_url_with_site_and_name() {
        let secret = Secret::new(b"12345678901234567890".to_vec());
        let (base32, url) = shown(&secret, "urn:site", &AccountName::parse("wang.lei").unwrap()).unwrap();
        assert_eq!(base32, "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ");
        assert!(url.starts_with("otpauth://totp/urn%20site:wang.lei?"), "{url}");
        assert!(url.contains(&base32), "{url}");
    }

    #[test]
    fn a_recovery_code_is_found_however_it_is_typed() {
        let codes = fresh_recovery_codes().unwrap();
        let all: std::collections::BTreeSet<_> = codes.iter().map(|code| code.expose().clone()).collect();
        assert_eq!(all.len(), RECOVERY_CODES);
        for code in &codes {
            let shown = in_fours(code.expose());
            assert_eq!(shown.len(), 19);
            assert_eq!(typed(&shown.to_lowercase()).expose(), code.expose());
            assert_eq!(typed(&shown.replace('0', "o").replace('-', " ")).expose(), code.expose());
        }
    }
}
