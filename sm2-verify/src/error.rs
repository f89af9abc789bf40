/// Why bytes are not an SM2 key or signature, or why a signature does not verify.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Sm2Error {
    /// Not 65 bytes beginning with 04, or a point that is not on the curve.
    #[error("not an uncompressed point on the SM2 curve")]
    PublicKey,
    /// A signer identifier longer than ENTL, a bit count in two octets, can say.
    #[error("the signer identifier has {0} bytes, at most 8191 fit")]
    IdLength(usize),
    /// Bytes that are no encoding of a pair of integers in the form asked for.
    #[error("not an SM2 signature encoding: {0}")]
    Encoding(&'static str),
    /// r or s outside \[1, n-1\], or r + s = n (GB/T 32918.2, 7.1 steps B1, B2 and B5).
    #[error("r or s is out of range")]
    Range,
    /// The signature is well formed and is not this key's over this digest.
    #[error("the signature does not match")]
    Mismatch,
}
