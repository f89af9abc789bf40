use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use url::Url;

use crate::read::Section;

/// What certificates are judged against, and where word of revocations comes from. Files hold PEM or DER; a folder
/// stands for the files in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trust {
    /// Roots for documents.
    pub anchors: Vec<PathBuf>,
    /// Roots for licenses: apart, because whoever may sign documents may not issue licenses.
    pub license_anchors: Vec<PathBuf>,
    /// Issuing certificates that callers need not send.
    pub intermediates: Vec<PathBuf>,
    /// Whose electronic seals count: makers, each by its certificate, and authorities, for whom they have certified;
    /// empty: every certificate for signing documents is a maker's.
    pub seal_makers: Vec<PathBuf>,
    /// Certificate revocation lists.
    pub crls: Vec<PathBuf>,
    /// How often these files are looked at for changes. Default 5 s; none: only at a reload.
    pub poll: Option<Duration>,
    /// How documents' certificates are judged.
    pub documents: TrustRules,
    /// How licenses are judged.
    pub licenses: TrustRules,
    /// How revocation lists and OCSP answers are fetched.
    pub fetch: Fetch,
    /// Where revocation lists are fetched, each address once.
    pub crl_sources: Vec<CrlSource>,
    /// Who is asked by OCSP.
    pub ocsp_sources: Vec<OcspSource>,
}

/// Whether revocation is asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Revocation {
    /// Whoever's revocation is unknown is left undecided.
    Required,
    /// What is known counts, and it is said when nothing is.
    WhenKnown,
    /// Never.
    Off,
}

/// What is asked of certificates of one kind, beside what every path must keep to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustRules {
    /// Whether revocation is asked about. Default when known.
    pub revocation: Revocation,
    /// How old a revocation list or OCSP answer may be, whatever it promises itself. Default: as it promises.
    pub max_age: Option<Duration>,
    /// How long past its promised successor it still counts, with a finding. Default none.
    pub grace: Duration,
    /// Certificate policies of which a path must be valid for one; empty: none is asked for.
    pub policies: Vec<PolicyId>,
}

/// How revocation lists and OCSP answers are fetched, in the background.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetch {
    /// Where the last good ones are kept over a restart. Default `revocation` beside the configuration.
    pub folder: PathBuf,
    /// An HTTP proxy that all of it goes through.
    pub proxy: Option<SourceUrl>,
    /// Roots of the sources' HTTPS; there is no https source without them.
    pub tls_anchors: Vec<PathBuf>,
    /// Longest time of one fetch. Default 10 s.
    pub timeout: Duration,
    /// How long after a failure the first new attempt is made; it doubles up to a source's `refresh`. Default 10 s.
    pub retry: Duration,
    /// Largest revocation list, octets. Default 64 MiB.
    pub crl_limit: usize,
}

/// Where a revocation list is fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CrlSource {
    /// Its address.
    pub url: SourceUrl,
    /// It is fetched as often as this, or earlier when its successor is due. Default 1 h.
    pub refresh: Duration,
}

/// By which hash function an OCSP request names the issuer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OcspHash {
    /// SHA-1, which every responder knows; no secret depends on it.
    Sha1,
    /// SHA-256.
    Sha256,
    /// SM3.
    Sm3,
}

/// Who is asked by OCSP about an issuer's certificates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OcspSource {
    /// The responder's address.
    pub url: SourceUrl,
    /// The certificate of the issuer whose certificates are asked about.
    pub issuer: PathBuf,
    /// Certificates of that issuer that are asked about all the time.
    pub certificates: Vec<PathBuf>,
    /// How many certificates of callers are kept up with, those seen last. Default 1,000; 0 none.
    pub seen: usize,
    /// How an issuer is named in requests. Default SHA-1.
    pub hash: OcspHash,
    /// Whether answers must repeat a nonce, so that none is an old one. Default false: few responders do.
    pub nonce: bool,
    /// A certificate is asked about as often as this, or earlier when the next word is due. Default 1 h.
    pub refresh: Duration,
}

/// The address of a source: `http` or `https`, without credentials.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SourceUrl(Url);

impl SourceUrl {
    /// Reads an address.
    ///
    /// # Errors
    /// What it must be.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let url = Url::parse(text).map_err(|_| "must be an address such as http://crl.example/ca.crl")?;
        match url.scheme() {
            "http" | "https" if !url.has_host() => Err("must name a host"),
            "http" | "https" if !url.username().is_empty() || url.password().is_some() => {
                Err("must not hold a user name or password")
            }
            "http" | "https" if url.fragment().is_some() => Err("must have no part after a #"),
            "http" | "https" => Ok(Self(url)),
            _ => Err("must begin with http:// or https://"),
        }
    }

    /// The address as it is asked for.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// Whether it needs TLS.
    #[must_use]
    pub fn is_https(&self) -> bool {
        self.0.scheme() == "https"
    }
}

impl fmt::Display for SourceUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for SourceUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The object identifier of a certificate policy, in dots, of at most 39 octets in DER.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PolicyId(String);

impl PolicyId {
    /// Reads an identifier such as `1.2.156.10197.1`.
    ///
    /// # Errors
    /// What it must be.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        const FORM: &str = "must be object identifiers such as \"1.2.156.112586.1.4\"";
        let arc = |arc: &str| {
            let canonical = arc.bytes().all(|b| b.is_ascii_digit()) && (arc == "0" || !arc.starts_with('0'));
            if canonical { arc.parse::<u32>().ok() } else { None }
        };
        let arcs: Vec<u32> = text.split('.').map(arc).collect::<Option<_>>().ok_or(FORM)?;
        let &[first, second, ref rest @ ..] = &arcs[..] else { return Err(FORM) };
        // ITU-T X.660: three trees, the first two of which have forty branches.
        if first > 2 || first < 2 && second > 39 || second > u32::MAX - 80 || rest.is_empty() {
            return Err(FORM);
        }
        let octets = |arc: u32| (u32::BITS - (arc | 1).leading_zeros()).div_ceil(7);
        let length = octets(first * 40 + second) + rest.iter().map(|arc| octets(*arc)).sum::<u32>();
        if length > 39 {
            Err("must be object identifiers of at most 39 octets")
        } else {
            Ok(Self(text.to_owned()))
        }
    }

    /// In dots.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for PolicyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

const DAY: u64 = 86_400_000;
const HOUR: u64 = 3_600_000;

impl Trust {
    pub(crate) fn read(section: &mut Section<'_>) -> Self {
        let poll = section.milliseconds("poll_ms", 5_000, 0..=HOUR);
        let documents = section.section("documents", TrustRules::read);
        let licenses = section.section("licenses", TrustRules::read);
        let fetch = section.section("fetch", Fetch::read);
        let crls = section.list("crl", CrlSource::read);
        let responders = section.list("ocsp", OcspSource::read);
        let crl_sources = checked("crl", crls, &fetch, section);
        let ocsp_sources = checked("ocsp", responders, &fetch, section);
        Self {
            anchors: section.files("anchors"),
            license_anchors: section.files("license_anchors"),
            intermediates: section.files("intermediates"),
            seal_makers: section.files("seal_makers"),
            crls: section.files("crls"),
            poll: Some(poll).filter(|time| !time.is_zero()),
            documents,
            licenses,
            fetch,
            crl_sources,
            ocsp_sources,
        }
    }
}

/// What names a source among others of its kind.
trait Source: Sized {
    fn url(&self) -> &SourceUrl;
    fn is_same(&self, other: &Self) -> bool;
}

impl Source for CrlSource {
    fn url(&self) -> &SourceUrl {
        &self.url
    }
    fn is_same(&self, other: &Self) -> bool {
        self.url == other.url
    }
}

impl Source for OcspSource {
    fn url(&self) -> &SourceUrl {
        &self.url
    }
    fn is_same(&self, other: &Self) -> bool {
        self.url == other.url && self.issuer == other.issuer
    }
}

/// The sources that can be read, each once, and with what their addresses need.
fn checked<T: Source>(
    name: &str,
    sources: Vec<(usize, Option<T>)>,
    fetch: &Fetch,
    section: &Section<'_>,
) -> Vec<T> {
    let mut kept: Vec<T> = Vec::new();
    for (at, source) in sources {
        let Some(source) = source else { continue };
        let url = source.url();
        if url.is_https() && fetch.tls_anchors.is_empty() {
            section.mistake_at(at, &format!("{name}.url"), "https needs trust.fetch.tls_anchors");
        }
        if kept.iter().any(|other| other.is_same(&source)) {
            section.mistake_at(at, &format!("{name}.url"), &format!("{url} is used twice"));
        }
        kept.push(source);
    }
    kept
}

impl TrustRules {
    fn read(section: &mut Section<'_>) -> Self {
        const POLICIES: &str = "policies";
        let words = [
            ("required", Revocation::Required),
            ("when-known", Revocation::WhenKnown),
            ("off", Revocation::Off),
        ];
        let max_age = section.milliseconds("max_age_ms", 0, 0..=366 * DAY);
        let texts = section.strings(POLICIES, "object identifiers");
        let mut policies = Vec::new();
        for text in texts {
            match PolicyId::parse(&text) {
                Ok(policy) => policies.push(policy),
                Err(form) => section.mistake(POLICIES, form),
            }
        }
        Self {
            revocation: section.choice("revocation", &words, Revocation::WhenKnown),
            max_age: Some(max_age).filter(|time| !time.is_zero()),
            grace: section.milliseconds("grace_ms", 0, 0..=366 * DAY),
            policies,
        }
    }
}

impl Fetch {
    fn read(section: &mut Section<'_>) -> Self {
        let proxy = section.text("proxy").and_then(|text| {
            let proxy = SourceUrl::parse(text);
            let proxy =
                proxy.and_then(|url| if url.is_https() { Err("must begin with http://") } else { Ok(url) });
            proxy.map_err(|form| section.mistake("proxy", form)).ok()
        });
        let limit = section.integer("crl_limit", 64 << 20, 1024..=256 << 20);
        Self {
            folder: section.file("folder").unwrap_or_else(|| section.folder().join("revocation")),
            proxy,
            tls_anchors: section.files("tls_anchors"),
            timeout: section.milliseconds("timeout_ms", 10_000, 100..=600_000),
            retry: section.milliseconds("retry_ms", 10_000, 10..=HOUR),
            crl_limit: usize::try_from(limit).unwrap_or(64 << 20),
        }
    }
}

impl CrlSource {
    fn read(section: &mut Section<'_>) -> Option<Self> {
        let url = section.parsed("url", SourceUrl::parse);
        let refresh = section.milliseconds("refresh_ms", HOUR, 50..=30 * DAY);
        Some(Self { url: url?, refresh })
    }
}

impl OcspSource {
    fn read(section: &mut Section<'_>) -> Option<Self> {
        let url = section.parsed("url", SourceUrl::parse);
        let hashes = [("sha1", OcspHash::Sha1), ("sha256", OcspHash::Sha256), ("sm3", OcspHash::Sm3)];
        let source = Self {
            issuer: section.required_file("issuer"),
            certificates: section.files("certificates"),
            seen: usize::try_from(section.integer("seen", 1_000, 0..=10_000)).unwrap_or(1_000),
            hash: section.choice("hash", &hashes, OcspHash::Sha1),
            nonce: section.boolean("nonce", false),
            refresh: section.milliseconds("refresh_ms", HOUR, 50..=30 * DAY),
            url: url?,
        };
        Some(source)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_are_object_identifiers_in_their_one_form() {
        for good in ["1.2.156.10197.1", "2.5.29.32.0", "0.6.3", "1.3.6.1.4.1.4294967295"] {
            assert_eq!(PolicyId::parse(good).unwrap().as_str(), good);
        }
        let long = format!("1.2{}", ".4294967295".repeat(8));
        for bad in
            ["", "1", "1.2", "3.1.1", "1.40.1", "1.2.03", "1.2.", "1..2", "1.2.x", "1.2.4294967296", &long]
        {
            assert!(PolicyId::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn sources_are_of_http_and_hold_no_credentials() {
        for good in ["http://crl.example/ca.crl", "https://ocsp.example:8443/", "http://[::1]:80/x?y=z"] {
            assert!(SourceUrl::parse(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "crl.example/ca.crl",
            "ldap://x/y",
            "file:///etc/passwd",
            "http://",
            "http://a:b@c/",
            "http://a/#b",
        ] {
            assert!(SourceUrl::parse(bad).is_err(), "{bad}");
        }
    }
}
