//! Names that the gateway has for itself and for what it tells apart from apps: as the actor of entries in the audit log,
//! in front of devices, and where failures are counted. An app of such a name would be taken for it.

use crate::AppId;

/// A name that no app may have, nor one that people could mistake for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OwnName {
    /// Whoever is at the admin socket.
    AdminSocket,
    /// Actors who said nothing of who they are, `anonymous:ADDRESS`.
    Anonymous,
    /// What those who show an API key claim to be.
    ApiKey,
    /// What those who show an access token that names no app claim to be.
    Authorization,
    /// What those who show a client certificate claim to be.
    Certificate,
    /// The gateway, as an actor.
    Gateway,
    /// People: `person:NAME` as an actor, and what those who show a person's token claim to be.
    Person,
    /// A signal as an actor, `signal:SIGHUP`.
    Signal,
    /// What those who sign in claim to be.
    SignIn,
    /// What the gateway's own signatures wait as.
    System,
    /// What handshakes with a listener's key in the devices wait as.
    TlsListener,
    /// The trust files as an actor: somebody changed them.
    TrustFiles,
    /// What timestamps for whoever asks wait as.
    TsaPublic,
    /// Users of this machine as actors, `unix:NAME(uid)`.
    Unix,
    /// Actors who proved nothing, `unproved:APP:ADDRESS`.
    Unproved,
}

/// What ids begin with that stand for people where apps have theirs.
const PERSON: &str = "person.";

impl OwnName {
    /// All of them.
    pub const ALL: [Self; 15] = [
        Self::AdminSocket,
        Self::Anonymous,
        Self::ApiKey,
        Self::Authorization,
        Self::Certificate,
        Self::Gateway,
        Self::Person,
        Self::Signal,
        Self::SignIn,
        Self::System,
        Self::TlsListener,
        Self::TrustFiles,
        Self::TsaPublic,
        Self::Unix,
        Self::Unproved,
    ];

    /// The name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AdminSocket => "admin-socket",
            Self::Anonymous => "anonymous",
            Self::ApiKey => "x-api-key",
            Self::Authorization => "authorization",
            Self::Certificate => "certificate",
            Self::Gateway => "gateway",
            Self::Person => "person",
            Self::Signal => "signal",
            Self::SignIn => "sign-in",
            Self::System => "system",
            Self::TlsListener => "tls-listener",
            Self::TrustFiles => "trust-files",
            Self::TsaPublic => "tsa-public",
            Self::Unix => "unix",
            Self::Unproved => "unproved",
        }
    }

    /// The name that an id is, or could be mistaken for.
    pub(crate) fn seen_in(id: &AppId) -> Option<&'static str> {
        let of_person = id.as_str().get(..PERSON.len()).is_some_and(|start| seen(start) == seen(PERSON))
            && id.as_str().as_bytes().get(PERSON.len() - 1) == Some(&b'.');
        let seen_id = seen(id.as_str());
        let alike = Self::ALL.into_iter().map(Self::as_str).find(|name| seen(name) == seen_id);
        alike.or(of_person.then_some(PERSON))
    }
}

/// What eyes make of an id: without capitals and marks between letters, and with one form of characters and pairs of them
/// that are drawn alike (Unicode Technical Standard 39, as far as the alphabet of ids goes).
fn seen(id: &str) -> String {
    let one = |letter: char| match letter.to_ascii_lowercase() {
        '0' => 'o',
        '1' | 'i' => 'l',
        '5' => 's',
        other => other,
    };
    let letters: String = id.chars().filter(|letter| !matches!(letter, '.' | '_' | '-')).map(one).collect();
    letters.replace("vv", "w").replace("rn", "m")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reserved(id: &str) -> Option<&'static str> {
        AppId::parse(id).unwrap().reserved_as()
    }

    #[test]
    fn no_app_is_called_as_the_gateway_calls_itself_or_alike() {
        for name in OwnName::ALL.map(OwnName::as_str) {
            assert_eq!(reserved(name), Some(name));
        }
        for alike in ["Gateway", "GATEWAY", "gate-way", "gatevvay", "gateway.", "trust_files", "trustFi1es"] {
            assert!(reserved(alike).is_some(), "{alike}");
        }
        assert_eq!(reserved("5y5tem"), Some("system"));
        assert_eq!(reserved("tIs-Iistener"), Some("tls-listener"));
        for person in ["person.wang.lei", "Person.x", "pers0n.x"] {
            assert_eq!(reserved(person), Some("person."), "{person}");
        }
    }

    #[test]
    fn what_only_has_such_a_name_in_it_is_left_alone() {
        for free in
            ["gateways", "portal-gateway", "person-search", "persons.register", "systems", "p", "personal.x"]
        {
            assert_eq!(reserved(free), None, "{free}");
        }
    }
}
