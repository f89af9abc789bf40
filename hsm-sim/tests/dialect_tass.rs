//! TASS's numbers.

mod device;
mod dialect;

use dialect::{Form::*, Input::*, Token};

#[test]
fn tass_signs_in_der_alone_and_shows_bare_points() {
    let token = Token::speaking("tass", 0x8000_0004);
    token.offers(&[
        0x8000_8001,
        0x8000_8000,
        0x8000_8100,
        0x8000_8101,
        0x8000_8200,
        0x8000_0005,
        0x8000_0006,
        0x8000_0107,
        0x8000_0108,
        0x8000_0109,
        0x8000_010C,
    ]);
    let pair = token.pair(0x8000_8001, true, true);
    token.signs(&pair, 0x8000_8000, E, Der);
    token.signs(&pair, 0x8000_8100, Message, Der);
    token.signs(&pair, 0x8000_8101, Message, Der);
    token.encrypts(&pair, 0x8000_8200, Raw);
    token.digests(0x8000_0005);
    token.digests_with_z(0x8000_0006, &pair);
    token.generates_sm4(0x8000_0107);
    token.encrypts_with_sm4(0x8000_0002, &[0x8000_0108], &[0x8000_0109, 0x8000_010C]);
}
