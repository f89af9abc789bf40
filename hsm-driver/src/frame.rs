//! What parent and worker say to each other over a Unix stream socket: little-endian, length-prefixed frames.
//!
//! `u32 length ‖ u64 id ‖ payload`, the length counting id and payload. Id 0 is the start order and its
//! answer (JSON); every other id is one attempt, never used twice in a worker's life.

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::dialect::Dialect;
use crate::error::{ReturnValue, StartError};
use crate::key::{Algorithm, PublicKey};
use crate::order::{Order, OrderOutcome};

/// Longest frame either side accepts, octets.
pub(crate) const MAX_FRAME: usize = 1 << 20;
const HEADER: usize = 4 + 8;
pub(crate) const START_ID: u64 = 0;

/// First frame to a worker: everything it needs, so that nothing secret stands in arguments or environment.
/// The keys follow in frames of their own, `Vec<KeyOrder>` each, as many as `key_frames` says.
#[derive(Serialize, Deserialize)]
pub(crate) struct StartOrder {
    pub(crate) module: String,
    pub(crate) token: String,
    pub(crate) serial: Option<String>,
    pub(crate) pin: Zeroizing<String>,
    pub(crate) lanes: usize,
    pub(crate) dialect: Dialect,
    pub(crate) key_frames: usize,
    /// A session unused for so long signs once, so that no firewall forgets it. Milliseconds; 0 never.
    pub(crate) keep_alive_ms: u64,
    /// Longest time such a signature may take before the worker gives itself up, milliseconds.
    pub(crate) stuck_ms: u64,
    /// Unwrapped keys each session keeps.
    pub(crate) wrapped_cache: usize,
}

/// Keys in one frame: far below [`MAX_FRAME`] both as order and as answer, whatever their kind.
pub(crate) const KEYS_PER_FRAME: usize = 128;

/// A key to look for.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct KeyOrder {
    pub(crate) cka_id: Vec<u8>,
    pub(crate) algorithm: Algorithm,
}

/// A worker's answer to the start order, or why it cannot run. A frame `Vec<Found>` follows for each frame of keys.
pub(crate) type StartAnswer = Result<Started, StartError>;

#[derive(Serialize, Deserialize)]
pub(crate) struct Started {
    pub(crate) token: TokenFacts,
    /// Sessions the device gave; fewer than asked for when it reached its limit.
    pub(crate) lanes: usize,
}

/// What a token shows for a key it was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Found {
    /// No private key with that CKA_ID, or no public key beside it.
    Nothing,
    /// Objects of another kind than asked for.
    AnotherKind,
    /// This public key.
    Key(PublicKey),
}

/// What the token says of itself (CK_TOKEN_INFO), padding removed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenFacts {
    /// manufacturerID.
    pub manufacturer: String,
    /// model.
    pub model: String,
    /// serialNumber.
    pub serial: String,
    /// firmwareVersion, `major.minor`.
    pub firmware: String,
}

/// One signature to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SignFrame {
    pub(crate) id: u64,
    pub(crate) key: u16,
    pub(crate) algorithm: Algorithm,
    /// CLOCK_MONOTONIC, nanoseconds: after it nobody waits for the answer.
    pub(crate) deadline: u64,
    pub(crate) digest: [u8; 32],
}

/// One answer: a signature as the device gave it, or the call that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AnswerFrame {
    pub(crate) id: u64,
    pub(crate) outcome: Result<Vec<u8>, (Function, ReturnValue)>,
    /// Who did it.
    pub(crate) lane: u8,
    /// Time in the lane's calls, microseconds.
    pub(crate) micros: u32,
}

/// First octet of a payload that is JSON: an [`Order`] or its outcome.
const JSON: u8 = 0xFE;
/// First octet of an answer that is a signature.
const SIGNATURE: u8 = 0xFF;

/// What a worker is asked in its daily life.
pub(crate) enum Asked {
    Sign(SignFrame),
    Order { id: u64, order: Box<Order> },
}

impl Asked {
    /// Nothing if the payload is neither.
    pub(crate) fn parse(id: u64, payload: &[u8]) -> Option<Self> {
        if let Some((&JSON, json)) = payload.split_first() {
            return Some(Self::Order { id, order: serde_json::from_slice(json).ok()? });
        }
        SignFrame::parse(id, payload).map(Self::Sign)
    }
}

/// What a worker answers.
pub(crate) enum Answered {
    Sign(AnswerFrame),
    Order { id: u64, outcome: OrderOutcome },
}

impl Answered {
    /// Nothing if the payload is neither.
    pub(crate) fn parse(id: u64, payload: &[u8]) -> Option<Self> {
        if let Some((&JSON, json)) = payload.split_first() {
            return Some(Self::Order { id, outcome: serde_json::from_slice(json).ok()? });
        }
        AnswerFrame::parse(id, payload).map(Self::Sign)
    }
}

/// An order, or its outcome, as a frame. An error if it is longer than a frame may be.
pub(crate) fn put_order<T: Serialize>(buffer: &mut Vec<u8>, id: u64, value: &T) -> Result<(), Nonsense> {
    let json = Zeroizing::new(serde_json::to_vec(value).map_err(|_| Nonsense)?);
    if json.len() + 9 > MAX_FRAME {
        return Err(Nonsense);
    }
    put(buffer, id, &[&[JSON], &json]);
    Ok(())
}

/// The C functions a signature goes through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Function {
    Expired,
    OpenSession,
    Login,
    FindObjects,
    SignInit,
    Sign,
}

const FUNCTIONS: [Function; 6] = [
    Function::Expired,
    Function::OpenSession,
    Function::Login,
    Function::FindObjects,
    Function::SignInit,
    Function::Sign,
];
impl Function {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Expired => "(expired before any call)",
            Self::OpenSession => "C_OpenSession",
            Self::Login => "C_Login",
            Self::FindObjects => "C_FindObjects",
            Self::SignInit => "C_SignInit",
            Self::Sign => "C_Sign",
        }
    }
}

fn put(buffer: &mut Vec<u8>, id: u64, payload: &[&[u8]]) {
    let length: usize = 8 + payload.iter().map(|part| part.len()).sum::<usize>();
    debug_assert!(length <= MAX_FRAME, "a frame of {length} octets");
    buffer.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes());
    buffer.extend_from_slice(&id.to_le_bytes());
    payload.iter().for_each(|part| buffer.extend_from_slice(part));
}

pub(crate) fn put_json<T: Serialize>(buffer: &mut Vec<u8>, value: &T) -> serde_json::Result<()> {
    let json = serde_json::to_vec(value)?;
    put(buffer, START_ID, &[&json]);
    Ok(())
}

impl SignFrame {
    pub(crate) fn put(&self, buffer: &mut Vec<u8>) {
        let algorithm = Algorithm::ALL.iter().position(|a| *a == self.algorithm).unwrap_or_default();
        let head = [u8::try_from(algorithm).unwrap_or_default()];
        put(buffer, self.id, &[&head, &self.key.to_le_bytes(), &self.deadline.to_le_bytes(), &self.digest]);
    }

    /// Nothing if the payload is not a request.
    pub(crate) fn parse(id: u64, payload: &[u8]) -> Option<Self> {
        let (&algorithm, rest) = payload.split_first()?;
        let (key, rest) = rest.split_first_chunk()?;
        let (deadline, rest) = rest.split_first_chunk()?;
        Some(Self {
            id,
            key: u16::from_le_bytes(*key),
            algorithm: *Algorithm::ALL.get(usize::from(algorithm))?,
            deadline: u64::from_le_bytes(*deadline),
            digest: rest.try_into().ok()?,
        })
    }
}

impl AnswerFrame {
    pub(crate) fn put(&self, buffer: &mut Vec<u8>) {
        match &self.outcome {
            Ok(signature) => {
                put(buffer, self.id, &[&[SIGNATURE, self.lane], &self.micros.to_le_bytes(), signature]);
            }
            Err((function, rv)) => {
                let index = FUNCTIONS.iter().position(|f| f == function).unwrap_or_default();
                let head = [u8::try_from(index).unwrap_or_default(), self.lane];
                put(buffer, self.id, &[&head, &self.micros.to_le_bytes(), &rv.0.to_le_bytes()]);
            }
        }
    }

    /// Nothing if the payload is not an answer.
    pub(crate) fn parse(id: u64, payload: &[u8]) -> Option<Self> {
        let ([head, lane], rest) = payload.split_first_chunk::<2>()?;
        let (micros, rest) = rest.split_first_chunk()?;
        let outcome = if *head == SIGNATURE {
            Ok(rest.to_vec())
        } else {
            let rv = u64::from_le_bytes(rest.try_into().ok()?);
            Err((*FUNCTIONS.get(usize::from(*head))?, ReturnValue(rv)))
        };
        Some(Self { id, outcome, lane: *lane, micros: u32::from_le_bytes(*micros) })
    }
}

/// Splits received octets into frames; keeps what is not whole yet.
#[derive(Default)]
pub(crate) struct FrameBuffer {
    bytes: Vec<u8>,
    start: usize,
}

/// The other side sent a length that no frame has.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Nonsense;

impl FrameBuffer {
    pub(crate) fn extend(&mut self, bytes: &[u8]) {
        if self.start > 0 && self.start == self.bytes.len() {
            self.bytes.clear();
            self.start = 0;
        } else if self.start > MAX_FRAME {
            self.bytes.drain(..self.start);
            self.start = 0;
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// The next whole frame's id and payload, if there is one.
    pub(crate) fn next(&mut self) -> Result<Option<(u64, &[u8])>, Nonsense> {
        let waiting = &self.bytes[self.start..];
        let Some((length, _)) = waiting.split_first_chunk::<4>() else { return Ok(None) };
        let length = u32::from_le_bytes(*length) as usize;
        if !(8..=MAX_FRAME).contains(&length) {
            return Err(Nonsense);
        }
        if waiting.len() < 4 + length {
            return Ok(None);
        }
        let from = self.start;
        self.start += 4 + length;
        let frame = &self.bytes[from..self.start];
        let mut id = [0; 8];
        id.copy_from_slice(&frame[4..HEADER]);
        Ok(Some((u64::from_le_bytes(id), &frame[HEADER..])))
    }
}

/// CLOCK_MONOTONIC in nanoseconds: the one clock that parent and worker share.
pub(crate) fn monotonic() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    u64::try_from(now.tv_sec).unwrap_or_default() * 1_000_000_000
        + u64::try_from(now.tv_nsec).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::order::Answer;

    fn sample() -> (SignFrame, AnswerFrame, AnswerFrame) {
        let ask =
            SignFrame { id: 7, key: 300, algorithm: Algorithm::RsaPss, deadline: 1 << 40, digest: [9; 32] };
        let good = AnswerFrame { id: 7, outcome: Ok(vec![1; 256]), lane: 3, micros: 70_000 };
        let outcome = Err((Function::Sign, ReturnValue(0x8000_1234_5678)));
        let bad = AnswerFrame { id: 8, outcome, lane: 255, micros: u32::MAX };
        (ask, good, bad)
    }

    #[test]
    fn frames_survive_any_cut_of_the_stream() {
        let (ask, good, bad) = sample();
        let mut stream = Vec::new();
        ask.put(&mut stream);
        good.put(&mut stream);
        bad.put(&mut stream);
        for piece in 1..stream.len() {
            let mut buffer = FrameBuffer::default();
            let mut seen = Vec::new();
            for chunk in stream.chunks(piece) {
                buffer.extend(chunk);
                while let Some((id, payload)) = buffer.next().unwrap() {
                    seen.push((id, payload.to_vec()));
                }
            }
            assert_eq!(seen.len(), 3, "cut every {piece}");
            assert_eq!(SignFrame::parse(seen[0].0, &seen[0].1).unwrap(), ask);
            assert_eq!(AnswerFrame::parse(seen[1].0, &seen[1].1).unwrap(), good);
            assert_eq!(AnswerFrame::parse(seen[2].0, &seen[2].1).unwrap(), bad);
        }
    }

    #[test]
    fn an_order_and_its_outcome_come_back_as_they_went() {
        let mut stream = Vec::new();
        put_order(&mut stream, 5, &Order::Random { octets: 9 }).unwrap();
        put_order(&mut stream, 5, &OrderOutcome::Ok(Answer::Done(3))).unwrap();
        let mut buffer = FrameBuffer::default();
        buffer.extend(&stream);
        let (id, payload) = buffer.next().unwrap().unwrap();
        assert!(matches!(
            Asked::parse(id, payload),
            Some(Asked::Order { id: 5, order }) if matches!(*order, Order::Random { octets: 9 })
        ));
        let (id, payload) = buffer.next().unwrap().unwrap();
        let parsed = Answered::parse(id, payload);
        assert!(matches!(parsed, Some(Answered::Order { id: 5, outcome: Ok(Answer::Done(3)) })));
        let long = Order::Derive { cka_id: Vec::new(), text: "x".repeat(MAX_FRAME) };
        assert_eq!(put_order(&mut stream, 6, &long), Err(Nonsense));
    }

    #[test]
    fn a_length_no_frame_has_is_refused() {
        for length in [0u32, 7, MAX_FRAME as u32 + 1, u32::MAX] {
            let mut buffer = FrameBuffer::default();
            buffer.extend(&length.to_le_bytes());
            assert_eq!(buffer.next(), Err(Nonsense));
        }
    }

    #[test]
    fn a_payload_that_is_no_request_or_answer_is_nothing() {
        for payload in [&[][..], &[1], &[9; 43], &[0; 42], &[0; 44]] {
            assert_eq!(SignFrame::parse(1, payload), None);
        }
        for payload in [&[][..], &[1], &[1, 2, 3], &[7; 14], &[1; 13], &[0xFF; 5]] {
            assert_eq!(AnswerFrame::parse(1, payload), None);
        }
        for payload in [&[JSON][..], &[JSON, b'{'], b"\xfe\"Nothing\""] {
            assert!(Asked::parse(1, payload).is_none() && Answered::parse(1, payload).is_none());
        }
    }
}
