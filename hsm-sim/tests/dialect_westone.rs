//! Westone's numbers.

mod device;
mod dialect;

use dialect::{Form::*, Input::*, Token};

#[test]
fn westone_signs_digests_and_computes_z_apart() {
    let token = Token::speaking("westone", 0x8000_0001);
    token.offers(&[
        0x8000_0003,
        0x8000_0004,
        0x8000_001F,
        0x8000_0020,
        0x8000_0021,
        0x8000_0029,
        0x8000_002A,
    ]);
    let pair = token.pair(0x8000_0003, true, false);
    token.signs(&pair, 0x8000_0004, E, Raw);
    token.digests(0x8000_001F);
    token.authenticates(0x8000_0020);
    token.digests_with_z(0x8000_0021, &pair);
    token.encrypts_with_sm4(0x8000_0005, &[0x8000_0029], &[0x8000_002A]);
}
