//! Which addresses may be sent to. A URL says a name; what counts is where that leads at the time of sending, so that
//! whoever rules a name does not lead the gateway to its own house (server-side request forgery).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use ipnet::IpNet;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use url::{Host, Url};

/// The longest address that is taken, octets.
const LONGEST: usize = 2048;

/// What may be sent to. Clones share it.
#[derive(Debug, Clone)]
pub struct AddressRules(Arc<Rules>);

#[derive(Debug)]
struct Rules {
    networks: Vec<IpNet>,
    loopback: bool,
}

/// Why an address is not sent to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AddressRefused {
    /// It is none.
    #[error("must be an address such as https://app.example/notices, of at most {LONGEST} characters")]
    Malformed,
    /// It is not HTTPS.
    #[error("must begin with https://")]
    NotHttps,
    /// It has a user name or a password.
    #[error("must not hold a user name or password")]
    Credentials,
    /// It has a part after a `#`.
    #[error("must have no part after a #")]
    Fragment,
    /// It is neither public nor in a network that the site allows.
    #[error("must be a public address, or in a network of outbound.networks")]
    NotPublic,
}

impl AddressRules {
    /// Public addresses, those in `networks`, and in a sandbox those of this machine, without TLS too.
    #[must_use]
    pub fn new(networks: Vec<IpNet>, sandbox: bool) -> Self {
        Self(Arc::new(Rules { networks, loopback: sandbox }))
    }

    /// Reads an address that is to be sent to. A name in it is looked up when it is sent to, each time.
    ///
    /// # Errors
    /// What it must be.
    pub fn read(&self, text: &str) -> Result<Url, AddressRefused> {
        let url = Url::parse(text).ok().filter(|_| text.len() <= LONGEST);
        let url = url.filter(Url::has_host).ok_or(AddressRefused::Malformed)?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(AddressRefused::Credentials);
        }
        if url.fragment().is_some() {
            return Err(AddressRefused::Fragment);
        }
        let address = match url.host() {
            Some(Host::Ipv4(address)) => Some(IpAddr::V4(address)),
            Some(Host::Ipv6(address)) => Some(IpAddr::V6(address)),
            Some(Host::Domain(_)) | None => None,
        };
        match (url.scheme(), address) {
            ("http", Some(address)) if self.0.loopback && address.is_loopback() => Ok(url),
            ("https", Some(address)) if !self.permits(address) => Err(AddressRefused::NotPublic),
            ("https", _) => Ok(url),
            _ => Err(AddressRefused::NotHttps),
        }
    }

    /// Whether this address may be sent to.
    #[must_use]
    pub fn permits(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.networks.iter().any(|network| network.contains(&address))
            || self.0.loopback && address.is_loopback()
            || match address {
                IpAddr::V4(address) => is_public_v4(address),
                IpAddr::V6(address) => is_public_v6(address),
            }
    }
}

/// Names are looked up as usual; of what they stand for only what may be sent to is seen.
impl Resolve for AddressRules {
    fn resolve(&self, name: Name) -> Resolving {
        let rules = self.clone();
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let permitted: Vec<SocketAddr> = found.filter(|address| rules.permits(address.ip())).collect();
            match permitted.is_empty() {
                true => Err(AddressRefused::NotPublic.into()),
                false => Ok(Box::new(permitted.into_iter()) as Addrs),
            }
        })
    }
}

/// By the registry of special-purpose addresses (RFC 6890 and what came later), and not multicast.
fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    !(address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_documentation()
        || a == 0
        || (a == 100 && b & 0xc0 == 64) // carriers' own (RFC 6598)
        || (a == 192 && b == 0 && c == 0) // protocol assignments
        || (a == 192 && b == 88 && c == 99) // relays of 6to4 (RFC 7526)
        || (a == 198 && b & 0xfe == 18) // measurements (RFC 2544)
        || a >= 224)
}

/// Global unicast (2000::/3) without what is for documentation, for protocols, or leads to an IPv4 address.
fn is_public_v6(address: Ipv6Addr) -> bool {
    let [a, b, ..] = address.segments();
    a & 0xe000 == 0x2000
        && !(a == 0x2001 && b < 0x0200) // protocol assignments, Teredo among them (RFC 2928)
        && !(a == 0x2001 && b == 0x0db8)
        && a != 0x2002 // 6to4
        && !(a == 0x3fff && b < 0x1000) // documentation (RFC 9637)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(networks: &[&str], sandbox: bool) -> AddressRules {
        let networks = networks.iter().map(|network| network.parse().expect("a network")).collect();
        AddressRules::new(networks, sandbox)
    }

    #[test]
    fn only_public_addresses_are_sent_to() {
        let rules = rules(&[], false);
        for refused in [
            "0.0.0.0",
            "10.1.2.3",
            "100.64.0.1",
            "127.0.0.1",
            "169.254.169.254",
            "172.31.0.1",
            "192.0.0.8",
            "192.0.2.1",
            "192.168.1.1",
            "198.19.0.1",
            "203.0.113.9",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "64:ff9b::7f00:1",
            "fc00::1",
            "fe80::1",
            "ff02::1",
            "2001:db8::1",
            "2002:7f00:1::1",
            "2001::1",
            "3fff::1",
        ] {
            assert!(!rules.permits(refused.parse().expect("an address")), "{refused}");
        }
        for permitted in
            ["1.1.1.1", "100.128.0.1", "172.32.0.1", "223.5.5.5", "2400:3200::1", "::ffff:1.1.1.1"]
        {
            assert!(rules.permits(permitted.parse().expect("an address")), "{permitted}");
        }
    }

    #[test]
    fn a_network_that_the_site_allows_is_sent_to_and_no_other_one() {
        let rules = rules(&["10.20.0.0/16", "fd00:20::/32"], false);
        for (address, permitted) in [
            ("10.20.255.1", true),
            ("::ffff:10.20.0.1", true),
            ("10.21.0.1", false),
            ("fd00:20::1", true),
            ("fd00:21::1", false),
            ("127.0.0.1", false),
        ] {
            assert_eq!(rules.permits(address.parse().expect("an address")), permitted, "{address}");
        }
    }

    #[test]
    fn what_cannot_be_registered_says_why() {
        let (site, sandbox) = (rules(&["10.20.0.0/16"], false), rules(&[], true));
        for (text, wanted) in [
            ("https://app.example/notices?a=b", Ok(())),
            ("https://10.20.0.1:8443/", Ok(())),
            ("https://10.21.0.1/", Err(AddressRefused::NotPublic)),
            ("https://[::1]/", Err(AddressRefused::NotPublic)),
            ("https://2130706433/", Err(AddressRefused::NotPublic)), // 127.0.0.1 in another spelling
            ("http://app.example/", Err(AddressRefused::NotHttps)),
            ("http://127.0.0.1/", Err(AddressRefused::NotHttps)),
            ("ftp://app.example/", Err(AddressRefused::NotHttps)),
            ("https://a:b@app.example/", Err(AddressRefused::Credentials)),
            ("https://app.example/#a", Err(AddressRefused::Fragment)),
            ("mailto:a@app.example", Err(AddressRefused::Malformed)),
            ("app.example", Err(AddressRefused::Malformed)),
            ("", Err(AddressRefused::Malformed)),
        ] {
            assert_eq!(site.read(text).map(drop), wanted, "{text}");
        }
        assert_eq!(
            site.read(&format!("https://app.example/{}", "a".repeat(2048))),
            Err(AddressRefused::Malformed)
        );
        assert!(sandbox.read("http://127.0.0.1:9000/hook").is_ok());
        assert_eq!(sandbox.read("http://app.example/"), Err(AddressRefused::NotHttps));
        assert_eq!(sandbox.read("https://10.20.0.1/"), Err(AddressRefused::NotPublic));
    }

    #[tokio::test]
    async fn a_name_that_leads_to_this_machine_leads_nowhere() {
        let name: Name = "localhost".parse().expect("a name");
        let error = rules(&[], false).resolve(name).await.err().expect("it is refused");
        assert_eq!(error.downcast_ref(), Some(&AddressRefused::NotPublic));
        let name: Name = "localhost".parse().expect("a name");
        assert!(rules(&[], true).resolve(name).await.is_ok_and(|mut found| found.next().is_some()));
    }
}
