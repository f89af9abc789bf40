//! Luna's numbers.

mod device;
mod dialect;

use dialect::{Form::*, Input::*, Token};

#[test]
fn luna_signs_digests_and_messages_with_z() {
    let token = Token::speaking("luna", 0x8000_0016);
    token.offers(&[
        0x8000_0B01,
        0x8000_0B02,
        0x8000_0B10,
        0x8000_0B11,
        0x8000_0B12,
        0x8000_0B13,
        0x8000_0B20,
        0x8000_0B21,
        0x8000_0B22,
    ]);
    let pair = token.pair(0x8000_0B20, false, true);
    token.signs(&pair, 0x8000_0B21, E, Raw);
    token.signs(&pair, 0x8000_0B22, MessageWithZ, Raw);
    token.digests(0x8000_0B01);
    token.authenticates(0x8000_0B02);
    token.generates_sm4(0x8000_0B10);
    token.encrypts_with_sm4(0x8000_0015, &[0x8000_0B11], &[0x8000_0B12, 0x8000_0B13]);
}
