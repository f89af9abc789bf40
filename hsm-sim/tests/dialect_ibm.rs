//! IBM's numbers.

mod device;
mod dialect;

use dialect::{Form::*, Input::*, Token};

#[test]
fn ibm_signs_digests_and_messages_without_and_with_z() {
    let token = Token::speaking("ibm", 0x8005_0002);
    token.offers(&[0x8005_000A, 0x8005_000B, 0x8005_000C, 0x8005_000D, 0x8005_000E, 0x8005_000F]);
    let pair = token.pair(0x8005_000A, false, false);
    token.signs(&pair, 0x8005_000B, E, Raw);
    token.signs(&pair, 0x8005_000C, Message, Raw);
    token.signs(&pair, 0x8005_000F, MessageWithZ, Raw);
    token.encrypts(&pair, 0x8005_000D, Raw);
    token.digests(0x8005_000E);
}
