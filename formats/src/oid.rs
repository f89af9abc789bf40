//! Object identifiers this crate reads and writes, by the names their standards give them.

pub use const_oid::ObjectIdentifier;

const fn oid(dotted: &str) -> ObjectIdentifier {
    ObjectIdentifier::new_unwrap(dotted)
}

/// id-ecPublicKey (RFC 5480), which SM2 keys carry too.
pub const EC_PUBLIC_KEY: ObjectIdentifier = oid("1.2.840.10045.2.1");
/// The SM2 curve (GB/T 33560).
pub const SM2_CURVE: ObjectIdentifier = oid("1.2.156.10197.1.301");
/// secp256r1, P-256 (RFC 5480).
pub const P256_CURVE: ObjectIdentifier = oid("1.2.840.10045.3.1.7");
/// secp384r1, P-384 (RFC 5480).
pub const P384_CURVE: ObjectIdentifier = oid("1.3.132.0.34");
/// rsaEncryption (RFC 8017).
pub const RSA_ENCRYPTION: ObjectIdentifier = oid("1.2.840.113549.1.1.1");

/// The SM2 signature algorithm without a hash, digestEncryptionAlgorithm of GB/T 35275.
pub const SM2_SIGN: ObjectIdentifier = oid("1.2.156.10197.1.301.1");
/// SM2 with SM3 (GM/T 0006), of certificates, CRLs and RFC 5652 signers.
pub const SM2_WITH_SM3: ObjectIdentifier = oid("1.2.156.10197.1.501");
/// ecdsa-with-SHA256 (RFC 5758).
pub const ECDSA_WITH_SHA256: ObjectIdentifier = oid("1.2.840.10045.4.3.2");
/// ecdsa-with-SHA384 (RFC 5758).
pub const ECDSA_WITH_SHA384: ObjectIdentifier = oid("1.2.840.10045.4.3.3");
/// ecdsa-with-SHA512 (RFC 5758).
pub const ECDSA_WITH_SHA512: ObjectIdentifier = oid("1.2.840.10045.4.3.4");
/// sha256WithRSAEncryption (RFC 8017).
pub const SHA256_WITH_RSA: ObjectIdentifier = oid("1.2.840.113549.1.1.11");
/// sha384WithRSAEncryption (RFC 8017).
pub const SHA384_WITH_RSA: ObjectIdentifier = oid("1.2.840.113549.1.1.12");
/// sha512WithRSAEncryption (RFC 8017).
pub const SHA512_WITH_RSA: ObjectIdentifier = oid("1.2.840.113549.1.1.13");
/// id-RSASSA-PSS (RFC 8017).
pub const RSASSA_PSS: ObjectIdentifier = oid("1.2.840.113549.1.1.10");
/// id-mgf1 (RFC 8017).
pub const MGF1: ObjectIdentifier = oid("1.2.840.113549.1.1.8");

/// SM3 (GM/T 0006).
pub const SM3: ObjectIdentifier = oid("1.2.156.10197.1.401");
/// SM3 without a key, the sub-identifier some products write for it.
pub const SM3_PLAIN: ObjectIdentifier = oid("1.2.156.10197.1.401.1");
/// SHA-1 (RFC 3370), read in OCSP's CertID only.
pub const SHA1: ObjectIdentifier = oid("1.3.14.3.2.26");
/// SHA-256 (RFC 5754).
pub const SHA256: ObjectIdentifier = oid("2.16.840.1.101.3.4.2.1");
/// SHA-384 (RFC 5754).
pub const SHA384: ObjectIdentifier = oid("2.16.840.1.101.3.4.2.2");
/// SHA-512 (RFC 5754).
pub const SHA512: ObjectIdentifier = oid("2.16.840.1.101.3.4.2.3");

/// id-data (RFC 5652, 4).
pub const CMS_DATA: ObjectIdentifier = oid("1.2.840.113549.1.7.1");
/// id-signedData (RFC 5652, 5.1).
pub const CMS_SIGNED_DATA: ObjectIdentifier = oid("1.2.840.113549.1.7.2");
/// data of GB/T 35275.
pub const GM_DATA: ObjectIdentifier = oid("1.2.156.10197.6.1.4.2.1");
/// signedData of GB/T 35275.
pub const GM_SIGNED_DATA: ObjectIdentifier = oid("1.2.156.10197.6.1.4.2.2");

/// content-type (RFC 5652, 11.1).
pub const CONTENT_TYPE: ObjectIdentifier = oid("1.2.840.113549.1.9.3");
/// message-digest (RFC 5652, 11.2).
pub const MESSAGE_DIGEST: ObjectIdentifier = oid("1.2.840.113549.1.9.4");
/// signing-time (RFC 5652, 11.3).
pub const SIGNING_TIME: ObjectIdentifier = oid("1.2.840.113549.1.9.5");
/// counter-signature (RFC 5652, 11.4).
pub const COUNTER_SIGNATURE: ObjectIdentifier = oid("1.2.840.113549.1.9.6");
/// cmsAlgorithmProtection (RFC 6211).
pub const CMS_ALGORITHM_PROTECTION: ObjectIdentifier = oid("1.2.840.113549.1.9.52");
/// id-aa-signatureTimeStampToken (RFC 3161, appendix A).
pub const SIGNATURE_TIMESTAMP: ObjectIdentifier = oid("1.2.840.113549.1.9.16.2.14");
/// id-ct-TSTInfo (RFC 3161, 2.4.2).
pub const TST_INFO: ObjectIdentifier = oid("1.2.840.113549.1.9.16.1.4");
/// signing-certificate (RFC 2634, 5.4).
pub const SIGNING_CERTIFICATE: ObjectIdentifier = oid("1.2.840.113549.1.9.16.2.12");
/// signing-certificate-v2 (RFC 5035, 3).
pub const SIGNING_CERTIFICATE_V2: ObjectIdentifier = oid("1.2.840.113549.1.9.16.2.47");

/// extensionRequest (RFC 2985, 5.4.2).
pub const EXTENSION_REQUEST: ObjectIdentifier = oid("1.2.840.113549.1.9.14");

/// countryName (RFC 5280, A.1).
pub const COUNTRY_NAME: ObjectIdentifier = oid("2.5.4.6");

/// subjectKeyIdentifier (RFC 5280, 4.2.1.2).
pub const SUBJECT_KEY_IDENTIFIER: ObjectIdentifier = oid("2.5.29.14");
/// keyUsage (RFC 5280, 4.2.1.3).
pub const KEY_USAGE: ObjectIdentifier = oid("2.5.29.15");
/// subjectAltName (RFC 5280, 4.2.1.6).
pub const SUBJECT_ALT_NAME: ObjectIdentifier = oid("2.5.29.17");
/// issuerAltName (RFC 5280, 4.2.1.7).
pub const ISSUER_ALT_NAME: ObjectIdentifier = oid("2.5.29.18");
/// basicConstraints (RFC 5280, 4.2.1.9).
pub const BASIC_CONSTRAINTS: ObjectIdentifier = oid("2.5.29.19");
/// cRLNumber (RFC 5280, 5.2.3).
pub const CRL_NUMBER: ObjectIdentifier = oid("2.5.29.20");
/// cRLReason of a CRL entry (RFC 5280, 5.3.1).
pub const CRL_REASON: ObjectIdentifier = oid("2.5.29.21");
/// invalidityDate of a CRL entry (RFC 5280, 5.3.2).
pub const INVALIDITY_DATE: ObjectIdentifier = oid("2.5.29.24");
/// deltaCRLIndicator of a CRL (RFC 5280, 5.2.4).
pub const DELTA_CRL_INDICATOR: ObjectIdentifier = oid("2.5.29.27");
/// issuingDistributionPoint of a CRL (RFC 5280, 5.2.5).
pub const ISSUING_DISTRIBUTION_POINT: ObjectIdentifier = oid("2.5.29.28");
/// nameConstraints (RFC 5280, 4.2.1.10).
pub const NAME_CONSTRAINTS: ObjectIdentifier = oid("2.5.29.30");
/// cRLDistributionPoints (RFC 5280, 4.2.1.13).
pub const CRL_DISTRIBUTION_POINTS: ObjectIdentifier = oid("2.5.29.31");
/// certificatePolicies (RFC 5280, 4.2.1.4).
pub const CERTIFICATE_POLICIES: ObjectIdentifier = oid("2.5.29.32");
/// anyPolicy (RFC 5280, 4.2.1.4).
pub const ANY_POLICY: ObjectIdentifier = oid("2.5.29.32.0");
/// policyMappings (RFC 5280, 4.2.1.5).
pub const POLICY_MAPPINGS: ObjectIdentifier = oid("2.5.29.33");
/// authorityKeyIdentifier (RFC 5280, 4.2.1.1).
pub const AUTHORITY_KEY_IDENTIFIER: ObjectIdentifier = oid("2.5.29.35");
/// policyConstraints (RFC 5280, 4.2.1.11).
pub const POLICY_CONSTRAINTS: ObjectIdentifier = oid("2.5.29.36");
/// extKeyUsage (RFC 5280, 4.2.1.12).
pub const EXT_KEY_USAGE: ObjectIdentifier = oid("2.5.29.37");
/// inhibitAnyPolicy (RFC 5280, 4.2.1.14).
pub const INHIBIT_ANY_POLICY: ObjectIdentifier = oid("2.5.29.54");
/// expiredCertsOnCRL of a CRL (X.509, 9.5.2.4): entries stay on it after their certificates expired.
pub const EXPIRED_CERTS_ON_CRL: ObjectIdentifier = oid("2.5.29.60");
/// emailAddress in a name (RFC 5280, 4.1.2.6).
pub const EMAIL_ADDRESS: ObjectIdentifier = oid("1.2.840.113549.1.9.1");

/// anyExtendedKeyUsage (RFC 5280, 4.2.1.12).
pub const ANY_EXTENDED_KEY_USAGE: ObjectIdentifier = oid("2.5.29.37.0");
/// id-kp-serverAuth (RFC 5280, 4.2.1.12).
pub const SERVER_AUTH: ObjectIdentifier = oid("1.3.6.1.5.5.7.3.1");
/// id-kp-clientAuth (RFC 5280, 4.2.1.12).
pub const CLIENT_AUTH: ObjectIdentifier = oid("1.3.6.1.5.5.7.3.2");
/// id-kp-timeStamping (RFC 5280, 4.2.1.12).
pub const TIME_STAMPING: ObjectIdentifier = oid("1.3.6.1.5.5.7.3.8");
/// id-kp-OCSPSigning (RFC 5280, 4.2.1.12).
pub const OCSP_SIGNING: ObjectIdentifier = oid("1.3.6.1.5.5.7.3.9");
/// id-pkix-ocsp-basic (RFC 6960, 4.2.1).
pub const OCSP_BASIC: ObjectIdentifier = oid("1.3.6.1.5.5.7.48.1.1");
/// id-pkix-ocsp-nonce (RFC 6960, 4.4.1).
pub const OCSP_NONCE: ObjectIdentifier = oid("1.3.6.1.5.5.7.48.1.2");
/// id-pkix-ocsp-nocheck (RFC 6960, 4.2.2.2.1): the responder's certificate is not looked up itself.
pub const OCSP_NO_CHECK: ObjectIdentifier = oid("1.3.6.1.5.5.7.48.1.5");

/// The arc of the license face's extensions, `0.6.3.1040.N`.
pub const LICENSE_FACE_ARC: ObjectIdentifier = oid("0.6.3.1040");
