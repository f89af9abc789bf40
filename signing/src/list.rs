//! Judging items of signed lists: a verdict is an answer, never an error.

use std::borrow::Cow;

use formats::list::{ListItem, ListProof};
use formats::{Certificate, Judgement, TrustStore, Uscc, subject};
use serde::Serialize;

use crate::{
    CmsVerification, Input, SignerSummary, StampVerification, StampedFormat, VerificationAnswer, verify_cms,
};

/// The answer on an item of a signed list.
#[derive(Debug, Clone, Serialize)]
pub struct ListAnswer {
    /// Verdict and findings over the proof and the list's signature.
    #[serde(flatten)]
    pub judgement: Judgement,
    /// What it was judged as.
    pub format: StampedFormat,
    /// What the proof says, to be believed if the verdict is valid; null where it cannot be read.
    pub proof: Option<ListProofSummary>,
    /// Whose object identifiers the signature has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub family: Option<&'static str>,
    /// Who signed the list.
    pub signers: Vec<SignerSummary>,
    /// It is a proof at all.
    #[serde(skip)]
    pub readable: bool,
}

/// What a proof says.
#[derive(Debug, Clone, Serialize)]
pub struct ListProofSummary {
    /// The item.
    pub item: ListItem,
    /// Its place, from 0.
    pub index: u64,
    /// How many items the list has.
    pub size: u64,
    /// The list's hash function.
    pub hash: &'static str,
}

/// Judges an item of a signed list by its proof, and where there is `content` whether it is what the item is about; total.
#[must_use]
pub fn verify_list(trust: &TrustStore, asked: StampVerification<'_>, content: Option<&[u8]>) -> ListAnswer {
    let proof = match ListProof::parse(asked.document) {
        Ok(proof) => proof,
        Err(error) => {
            let mut judgement = Judgement::new();
            judgement.invalid("malformed", error.to_string());
            let (format, signers) = (StampedFormat::List, Vec::new());
            return ListAnswer { judgement, format, proof: None, family: None, signers, readable: false };
        }
    };
    let mut judgement = proof.judge();
    // The head is made anew of what the proof says, so that the signature is over nothing else.
    let answer = verify_cms(
        trust,
        CmsVerification {
            signature: &proof.signature,
            input: Some(Input::Data(proof.head.to_string().into_bytes())),
            signer_id: asked.signer_id,
            at: asked.at,
        },
    );
    let VerificationAnswer { judgement: of_signature, family, signers } = answer;
    judgement.merge(of_signature);
    if content.is_some_and(|content| proof.head.hash.digest(&[content]) != proof.item.digest) {
        let detail = format!("its {} is another than the item's", proof.head.hash.name());
        judgement.invalid("list_content_differs", detail);
    }
    if let Some(code) = &proof.item.enterprise
        && !signers.iter().any(|signer| is_of(signer, code))
    {
        let detail = format!("the item is for {code}: that the signer may act for it is for others to say");
        judgement.note("list_item_for_another", detail);
    }
    let (head, index) = (proof.head, proof.index);
    let said = ListProofSummary { item: proof.item, index, size: head.size, hash: head.hash.name() };
    let format = StampedFormat::List;
    ListAnswer { judgement, format, proof: Some(said), family, signers, readable: true }
}

fn is_of(signer: &SignerSummary, code: &str) -> bool {
    let certificate = signer.certificate.as_deref().and_then(|pem| Certificate::from_pem(pem).ok());
    let code = Uscc::parse_sandbox(code).ok();
    certificate
        .zip(code)
        .is_some_and(|(certificate, code)| subject::is_of_holder(&certificate, "", Some(&code)))
}

/// What an evidence package of the stamp is about: the document; of a list's item the signature over the list.
#[must_use]
pub fn stamped_octets(document: &[u8], format: StampedFormat) -> Cow<'_, [u8]> {
    let proof = (format == StampedFormat::List).then(|| ListProof::parse(document).ok()).flatten();
    proof.map_or(Cow::Borrowed(document), |proof| Cow::Owned(proof.signature))
}
