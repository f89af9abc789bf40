//! Sansec's numbers, and DER that goes wrong.

mod device;
mod dialect;

use device::vendor;
use dialect::{Form::*, Input::*, MESSAGE, Token};
use sm2_verify::Signature;

#[test]
fn sansec_signs_in_every_form_and_its_der_goes_wrong_on_command() {
    let token = Token::speaking("sansec", 0x8000_0004);
    token.offers(&[
        0x8000_8001,
        0x8000_8100,
        0x8000_8101,
        0x8000_8102,
        0x8000_8103,
        0x8000_8104,
        0x8000_8105,
        0x8000_8200,
        0x8000_8201,
        0x8000_9001,
        0x8000_0107,
        0x8000_0108,
        0x8000_0109,
        0x8000_A101,
        0x8000_A201,
    ]);
    let pair = token.pair(0x8000_8001, false, true);
    token.signs(&pair, 0x8000_8100, Message, Raw);
    token.signs(&pair, 0x8000_8101, Message, Der);
    token.signs(&pair, 0x8000_8102, MessageWithZ, Raw);
    token.signs(&pair, 0x8000_8103, MessageWithZ, Der);
    token.signs(&pair, 0x8000_8104, E, Der);
    token.signs(&pair, 0x8000_8105, E, Raw);
    token.encrypts(&pair, 0x8000_8200, Raw);
    token.encrypts(&pair, 0x8000_8201, Der);
    token.digests(0x8000_9001);
    token.generates_sm4(0x8000_0107);
    token.encrypts_with_sm4(0x8000_0106, &[0x8000_0108, 0x8000_A101], &[0x8000_0109, 0x8000_A201]);

    let e = sm2_verify::e(b"1234567812345678", &pair.key, MESSAGE).unwrap();
    let sign = || token.session.sign(&vendor(0x8000_8104), pair.private, &e).unwrap();

    // Integers without their leading zero: a strict reader refuses them, a lenient one finds the right numbers.
    token.site.set_faults("[[fault]]\nfunction = 'C_Sign'\naction = 'negative_integer'\n");
    for _ in 0..16 {
        let signature = sign();
        assert!(Signature::from_der(&signature).is_err());
        assert!(sm2_verify::verify(&pair.key, &e, &Signature::from_vendor(&signature).unwrap()).is_ok());
        assert!(token.session.verify(&vendor(0x8000_8104), pair.public, &e, &signature).is_err());
    }

    // An outer length beyond the end: nobody can read that.
    token.site.set_faults("[[fault]]\nfunction = 'C_Sign'\naction = 'malformed_der'\n");
    let signature = sign();
    assert_eq!(usize::from(signature[1]), signature.len() - 1);
    assert!(Signature::from_der(&signature).is_err() && Signature::from_vendor(&signature).is_err());

    // The same faults leave the raw mechanisms alone, and a wrong signature in DER is well-formed.
    token.signs(&pair, 0x8000_8105, E, Raw);
    token.site.set_faults("[[fault]]\nfunction = 'C_Sign'\naction = 'wrong_signature'\n");
    assert!(sm2_verify::verify(&pair.key, &e, &Signature::from_der(&sign()).unwrap()).is_err());
    token.site.set_faults("");
    token.signs(&pair, 0x8000_8104, E, Der);
}
