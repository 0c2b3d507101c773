//! Status codes and reasons of close frames (RFC 6455, section 7.4).

use std::str;

use thiserror::Error;

pub(crate) const NORMAL: u16 = 1000;
pub(crate) const PROTOCOL_ERROR: u16 = 1002;
/// The peer's close frame had no code. Never sent.
pub(crate) const NO_STATUS: u16 = 1005;
/// There was no close frame. Never sent.
pub(crate) const ABNORMAL: u16 = 1006;
pub(crate) const INVALID_PAYLOAD: u16 = 1007;
pub(crate) const MESSAGE_TOO_BIG: u16 = 1009;
pub(crate) const INTERNAL_ERROR: u16 = 1011;
pub(crate) const SERVICE_RESTART: u16 = 1012;

/// Bytes of a reason: what a control frame has room for beside the code (section 5.5).
pub(crate) const MAX_REASON: usize = 123;

/// Why a connection has ended, as an application is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Close {
    pub(crate) code: u16,
    pub(crate) reason: String,
}

impl Close {
    /// The reason is cut if it is too long.
    pub(crate) fn new(code: u16, reason: &str) -> Self {
        let end =
            (0..=reason.len().min(MAX_REASON)).rev().find(|&end| reason.is_char_boundary(end));
        let reason = end.and_then(|end| reason.get(..end)).unwrap_or_default();
        Self { code, reason: reason.to_owned() }
    }

    /// The connection was lost without a close frame.
    pub(crate) fn abnormal() -> Self {
        Self::new(ABNORMAL, "")
    }

    /// Reads the payload of a client's close frame.
    pub(crate) fn parse(payload: &[u8]) -> Result<Self, CloseError> {
        let Some((code, reason)) = payload.split_first_chunk::<2>() else {
            return match payload {
                [] => Ok(Self::new(NO_STATUS, "")),
                _ => Err(CloseError::Short),
            };
        };
        let code = u16::from_be_bytes(*code);
        if !is_sendable(code) {
            return Err(CloseError::Code(code));
        }
        let reason = str::from_utf8(reason).map_err(|_invalid| CloseError::Reason)?;
        Ok(Self::new(code, reason))
    }

    /// The payload of the close frame. It is empty if the code is never sent.
    pub(crate) fn payload(&self) -> Vec<u8> {
        let mut payload = Vec::with_capacity(2 + self.reason.len());
        if is_sendable(self.code) {
            payload.extend_from_slice(&self.code.to_be_bytes());
            payload.extend_from_slice(self.reason.as_bytes());
        }
        payload
    }
}

/// A close frame that a client must not send. The text is the reason in the answer.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub(crate) enum CloseError {
    #[error("close frame with half a code")]
    Short,
    #[error("close code {0} must not be sent")]
    Code(u16),
    #[error("reason of the close frame is not UTF-8")]
    Reason,
}

impl CloseError {
    /// The status code of the answer.
    pub(crate) fn code(self) -> u16 {
        match self {
            Self::Reason => INVALID_PAYLOAD,
            Self::Short | Self::Code(_) => PROTOCOL_ERROR,
        }
    }
}

/// May a close frame have this code? These are the codes that IANA's registry says are sent, and those of libraries
/// and applications.
pub(crate) fn is_sendable(code: u16) -> bool {
    matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_sendable_or_not() {
        let sendable: Vec<u16> = (0..=u16::MAX).filter(|&code| is_sendable(code)).collect();
        let expected: Vec<u16> = (1000..1004).chain(1007..1015).chain(3000..5000).collect();
        assert_eq!(sendable, expected);
        for code in [NO_STATUS, ABNORMAL, 1004, 1015, 0, 999, 1016, 2999, 5000] {
            assert_eq!(Close::parse(&code.to_be_bytes()), Err(CloseError::Code(code)));
            assert_eq!(CloseError::Code(code).code(), PROTOCOL_ERROR);
        }
    }

    #[test]
    fn a_close_frame_is_read() {
        assert_eq!(Close::parse(b""), Ok(Close::new(NO_STATUS, "")));
        assert_eq!(Close::parse(b"\x03"), Err(CloseError::Short));
        assert_eq!(Close::parse(b"\x03\xe8"), Ok(Close::new(NORMAL, "")));
        let going = Close::parse(b"\x03\xe9gr\xc3\xbcn").unwrap();
        assert_eq!((going.code, going.reason.as_str()), (1001, "grün"));
        let invalid = Close::parse(b"\x03\xe8\xff").unwrap_err();
        assert_eq!((invalid, invalid.code()), (CloseError::Reason, INVALID_PAYLOAD));
    }

    #[test]
    fn a_close_frame_is_written() {
        assert_eq!(Close::new(NORMAL, "").payload(), [3, 0xe8]);
        assert_eq!(Close::new(4000, "ü").payload(), [0x0f, 0xa0, 0xc3, 0xbc]);
        for code in [NO_STATUS, ABNORMAL, 1015] {
            assert!(Close::new(code, "never sent").payload().is_empty());
        }
    }

    #[test]
    fn a_long_reason_is_cut_at_a_character() {
        let close = Close::new(NORMAL, &"ü".repeat(99));
        assert_eq!(close.reason, "ü".repeat(61));
        assert_eq!(close.payload().len(), 2 + 122);
        assert_eq!(Close::new(NORMAL, &"x".repeat(123)).reason.len(), 123);
        assert_eq!(Close::new(NORMAL, &"x".repeat(124)).reason.len(), 123);
    }
}
