//! A seal maker, a signer and a seal, for the tests of seals and of documents sealed with them.
#![allow(dead_code)] // each test file uses its part
#![allow(clippy::unwrap_used)] // a helper that fails fails its test

use der::asn1::{BitString, GeneralizedTime, Ia5String, UtcTime};
use der::{Encode, TagNumber};
use formats::cms::Content;
use formats::scheme::SignatureScheme;
use formats::seal::{
    Holders, Picture, Seal, SealInput, SealPlan, SealReport, SealSignatureInput, SealSignaturePlan,
    SealSignatureReport, verify_seal, verify_signature,
};
use formats::{Algorithm, Certificate, TrustStore};
use time::OffsetDateTime;
use time::macros::datetime;

use crate::pieces::{context, element, octets, sequence};
use crate::pki::{Authority, Key, NOW, Plan, SIGNER_ID};

pub(crate) const CONTENT: &[u8] = b"what is sealed";
pub(crate) const SIGNED_AT: OffsetDateTime = datetime!(2026-05-20 8:00 UTC);

/// The picture of every seal here: the smallest PNG there is.
pub(crate) const PNG: &[u8] = &[
    0x89, b'P', b'N', b'G', 0x0d, 0x0a, 0x1a, 0x0a, 0, 0, 0, 13, b'I', b'H', b'D', b'R', 0, 0, 0, 1, 0, 0, 0,
    1, 8, 6, 0, 0, 0, 0x1f, 0x15, 0xc4, 0x89, 0, 0, 0, 13, b'I', b'D', b'A', b'T', 0x78, 0x9c, 0x63, 0xf8,
    0xcf, 0xc0, 0xf0, 0x1f, 0, 5, 0, 1, 0xff, 0x56, 0xc7, 0x2f, 0x0d, 0, 0, 0, 0, b'I', b'E', b'N', b'D',
    0xae, 0x42, 0x60, 0x82,
];

pub(crate) struct Site {
    pub(crate) root: Authority,
    pub(crate) maker_key: Key,
    pub(crate) maker: Certificate,
    pub(crate) key: Key,
    pub(crate) signer: Certificate,
    pub(crate) algorithm: Algorithm,
}

impl Site {
    pub(crate) fn sm2() -> Self {
        Self::with(Algorithm::Sm2Sm3)
    }

    pub(crate) fn with(algorithm: Algorithm) -> Self {
        let root = Plan::authority("CN=Root").root(Key::sm2(1));
        let maker_key = Key::sm2(3);
        let maker = root.issue(&Plan { serial: 31, ..Plan::leaf("CN=Seal maker") }, &maker_key);
        let key = Key::for_algorithm(algorithm);
        let signer = root.issue(&Plan { serial: 32, ..Plan::leaf("CN=Signer") }, &key);
        Self { root, maker_key, maker, key, signer, algorithm }
    }

    pub(crate) fn trust(&self) -> TrustStore {
        self.trust_in(vec![self.maker.clone()])
    }

    /// With these makers of seals.
    pub(crate) fn trust_in(&self, makers: Vec<Certificate>) -> TrustStore {
        TrustStore::new(vec![self.root.certificate.clone()], Vec::new(), Vec::new()).with_seal_makers(makers)
    }

    pub(crate) fn seal_plan(&self) -> SealPlan {
        SealPlan {
            vendor: "TEST".to_owned(),
            id: "31010000000001".to_owned(),
            kind: 1,
            name: "测试市场监督管理局".to_owned(),
            holders: Holders::Certificates(vec![self.signer.clone()]),
            created: datetime!(2026-01-01 0:00 UTC),
            valid_from: datetime!(2026-01-01 0:00 UTC),
            valid_until: datetime!(2027-12-31 23:59:59 UTC),
            picture: Picture { kind: "PNG".to_owned(), octets: PNG.to_vec(), width: 42, height: 42 },
            maker: self.maker.clone(),
            algorithm: Algorithm::Sm2Sm3,
            signer_id: SIGNER_ID.to_vec(),
        }
    }

    pub(crate) fn make(&self, plan: SealPlan) -> Seal {
        let pending = plan.prepare().unwrap();
        let signature = self.maker_key.sign(pending.to_be_signed());
        pending.finish(&signature).unwrap()
    }

    pub(crate) fn seal(&self) -> Seal {
        self.make(self.seal_plan())
    }

    pub(crate) fn plan(&self, seal: Seal, content: &[u8]) -> SealSignaturePlan {
        let mut data_hash = [0; 32];
        data_hash.copy_from_slice(&SignatureScheme::from(self.algorithm).hash().digest(content));
        SealSignaturePlan {
            seal,
            signed_at: SIGNED_AT,
            data_hash,
            property_info: "/Doc_0/Signs/Sign_0/Signature.xml".to_owned(),
            signer: self.signer.clone(),
            algorithm: self.algorithm,
            signer_id: SIGNER_ID.to_vec(),
        }
    }

    pub(crate) fn sign(&self, plan: SealSignaturePlan) -> Vec<u8> {
        let pending = plan.prepare().unwrap();
        let signature = self.key.sign(pending.to_be_signed());
        pending.finish(&signature, None).unwrap()
    }

    pub(crate) fn judge_seal(&self, seal: &[u8], at: OffsetDateTime) -> SealReport {
        verify_seal(&SealInput { seal, signer_id: SIGNER_ID, trust: &self.trust(), at })
    }

    pub(crate) fn judge(&self, signature: &[u8], content: &[u8]) -> SealSignatureReport {
        self.judge_at(signature, Some(content), NOW)
    }

    pub(crate) fn judge_at(
        &self,
        signature: &[u8],
        content: Option<&[u8]>,
        at: OffsetDateTime,
    ) -> SealSignatureReport {
        let trust = self.trust();
        let protected = content.map(|content| Content::Bytes(content.to_vec()));
        verify_signature(&SealSignatureInput {
            signature,
            protected,
            signer_id: SIGNER_ID,
            trust: &trust,
            at,
        })
    }
}

/// A seal and a seal signature in pieces, for the shapes that are only read.
pub(crate) struct Shape {
    pub(crate) version: u8,
    pub(crate) utc_times: bool,
    pub(crate) seal_extensions: Vec<u8>,
    pub(crate) sign_extensions: Vec<u8>,
    pub(crate) seal_timestamp: Vec<u8>,
    pub(crate) timestamp: Vec<u8>,
}

pub(crate) fn bits(octets: &[u8]) -> Vec<u8> {
    BitString::from_bytes(octets).unwrap().to_der().unwrap()
}

pub(crate) fn ia5(text: &str) -> Vec<u8> {
    Ia5String::new(text).unwrap().to_der().unwrap()
}

/// `extDatas` with one member: SEQUENCE OF.
pub(crate) fn extensions(critical: bool) -> Vec<u8> {
    let id = const_oid::ObjectIdentifier::new_unwrap("1.2.3.4").to_der().unwrap();
    let critical = if critical { true.to_der().unwrap() } else { Vec::new() };
    sequence(&[sequence(&[id, critical, octets(b"value")])])
}

impl Shape {
    pub(crate) fn of(version: u8) -> Self {
        Self {
            version,
            utc_times: version == 1,
            seal_extensions: Vec::new(),
            sign_extensions: Vec::new(),
            seal_timestamp: Vec::new(),
            timestamp: Vec::new(),
        }
    }

    fn time(&self, time: OffsetDateTime) -> Vec<u8> {
        let since = std::time::Duration::from_secs(time.unix_timestamp().try_into().unwrap());
        let date = der::DateTime::from_unix_duration(since).unwrap();
        match self.utc_times {
            true => UtcTime::from_date_time(date).unwrap().to_der().unwrap(),
            false => GeneralizedTime::from_date_time(date).to_der().unwrap(),
        }
    }

    pub(crate) fn seal(&self, site: &Site) -> Vec<u8> {
        let header = sequence(&[ia5("ES"), self.version.to_der().unwrap(), ia5("TEST")]);
        let list = sequence(&[octets(site.signer.der())]);
        let list_type = if self.version == 1 { Vec::new() } else { 1u8.to_der().unwrap() };
        let plan = site.seal_plan();
        let name = der::asn1::Utf8StringRef::new(&plan.name).unwrap().to_der().unwrap();
        let property = sequence(&[
            1u8.to_der().unwrap(),
            name,
            list_type,
            list,
            self.time(plan.created),
            self.time(plan.valid_from),
            self.time(plan.valid_until),
        ]);
        let picture = sequence(&[ia5("PNG"), octets(PNG), 42u8.to_der().unwrap(), 42u8.to_der().unwrap()]);
        let info = sequence(&[header, ia5(&plan.id), property, picture, self.seal_extensions.clone()]);
        let certificate = octets(site.maker.der());
        let algorithm = formats::oid::SM2_WITH_SM3.to_der().unwrap();
        if self.version == 1 {
            let signed = sequence(&[info.clone(), certificate.clone(), algorithm.clone()]);
            let signature = bits(&site.maker_key.sign(&signed));
            return sequence(&[info, sequence(&[certificate, algorithm, signature])]);
        }
        let signature = bits(&site.maker_key.sign(&info));
        sequence(&[info, certificate, algorithm, signature, self.seal_timestamp.clone()])
    }

    pub(crate) fn signature(&self, site: &Site) -> Vec<u8> {
        let hash = bits(&SignatureScheme::from(site.algorithm).hash().digest(CONTENT));
        let certificate = octets(site.signer.der());
        let algorithm = SignatureScheme::from(site.algorithm).identifier().oid.to_der().unwrap();
        let (seal, path) = (self.seal(site), ia5("/Doc_0/Signs/Sign_0/Signature.xml"));
        let version = self.version.to_der().unwrap();
        if self.version == 1 {
            let time = bits(&self.time(SIGNED_AT));
            let to_sign = sequence(&[version, seal, time, hash, path, certificate, algorithm]);
            return sequence(&[to_sign.clone(), bits(&site.key.sign(&to_sign))]);
        }
        let to_sign =
            sequence(&[version, seal, self.time(SIGNED_AT), hash, path, self.sign_extensions.clone()]);
        let signature = bits(&site.key.sign(&to_sign));
        sequence(&[to_sign, certificate, algorithm, signature, self.timestamp.clone()])
    }
}

/// `[0] EXPLICIT`.
pub(crate) fn tagged(der: Vec<u8>) -> Vec<u8> {
    context(TagNumber::N0, &[der])
}

/// `[0] IMPLICIT` in place of a SEQUENCE.
pub(crate) fn implicit(mut der: Vec<u8>) -> Vec<u8> {
    der[0] = 0xa0;
    der
}

/// An element of any tag.
pub(crate) fn any(tag: der::Tag, content: &[u8]) -> Vec<u8> {
    element(tag, &[content.to_vec()])
}

/// A timestamp token (RFC 3161) over octets, by an authority under the site's root.
pub(crate) fn token(site: &Site, over: &[u8], time: &str) -> Vec<u8> {
    use const_oid::ObjectIdentifier;
    use formats::oid;
    use formats::scheme::HashAlgorithm;

    use crate::pieces::{Pieces, Signer, algorithm, attribute};

    let key = Key::sm2(40);
    let mut plan = Plan { serial: 40, ..Plan::leaf("CN=TSA") };
    plan.extensions.push((oid::EXT_KEY_USAGE, true, sequence(&[oid::TIME_STAMPING.to_der().unwrap()])));
    let certificate = site.root.issue(&plan, &key);
    let info = sequence(&[
        1u8.to_der().unwrap(),
        ObjectIdentifier::new_unwrap("1.2.3.4").to_der().unwrap(),
        sequence(&[algorithm(oid::SM3), octets(&HashAlgorithm::Sm3.digest(over))]),
        7u8.to_der().unwrap(),
        any(der::Tag::GeneralizedTime, time.as_bytes()),
    ]);
    let hash = octets(&HashAlgorithm::Sm3.digest(certificate.der()));
    let named = sequence(&[sequence(&[sequence(&[algorithm(oid::SM3), hash])])]);
    let signer = Signer { root: Plan::authority("CN=Root").root(Key::sm2(1)), key, certificate };
    let pieces = Pieces {
        signed_data: oid::CMS_SIGNED_DATA,
        content_type: oid::TST_INFO,
        attributes: Some(vec![
            attribute(oid::CONTENT_TYPE, &[oid::TST_INFO.to_der().unwrap()]),
            attribute(oid::MESSAGE_DIGEST, &[octets(&HashAlgorithm::Sm3.digest(&info))]),
            attribute(oid::SIGNING_CERTIFICATE_V2, &[named]),
        ]),
        content: Some(info),
        ..Pieces::of(&signer)
    };
    pieces.build(&signer)
}
