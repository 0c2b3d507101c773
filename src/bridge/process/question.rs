//! What the master asks a process over the socket by which web workers meet it: whether it may go on when nginx is
//! reloaded (`keep=on`), and what it answers. Each is one message.
//!
//! The process may be anybody's: an answer says no more than that it stays, and a text for the log.

use std::borrow::Cow;

/// A question's number, which the answer repeats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Question(pub(crate) u64);

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) question: Question,
    /// An error: why it may not, as a sentence.
    pub(crate) result: Result<(), String>,
}

/// A link has as many bytes less.
pub(crate) const QUESTION: usize = 16;

/// The longest answer.
pub(crate) const ANSWER: usize = 1024;

/// In the place of the size of a link's rings.
const MARK: u64 = 0;

const HEAD: usize = 9;

impl Question {
    pub(crate) fn to_bytes(self) -> [u8; QUESTION] {
        let mut bytes = [0; QUESTION];
        let (mark, number) = bytes.split_at_mut(QUESTION / 2);
        mark.copy_from_slice(&MARK.to_ne_bytes());
        number.copy_from_slice(&self.0.to_ne_bytes());
        bytes
    }

    pub(crate) fn of_bytes(bytes: &[u8]) -> Option<Self> {
        let (mark, number) = bytes.split_first_chunk()?;
        let number = number.try_into().ok().map(u64::from_ne_bytes)?;
        (u64::from_ne_bytes(*mark) == MARK).then_some(Self(number))
    }
}

impl Answer {
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let text = self.result.as_ref().err().map_or("", String::as_str);
        let mut bytes = self.question.0.to_ne_bytes().to_vec();
        bytes.push(self.result.is_ok().into());
        bytes.extend_from_slice(text.as_bytes());
        bytes.truncate(ANSWER);
        bytes
    }

    pub(crate) fn of_bytes(bytes: &[u8]) -> Option<Self> {
        let (head, text) = bytes.split_first_chunk::<HEAD>()?;
        let [number @ .., is_kept] = *head;
        let said = || String::from_utf8_lossy(text).chars().map(printable).collect();
        let result = if is_kept == 1 { Ok(()) } else { Err(said()) };
        Some(Self { question: Question(u64::from_ne_bytes(number)), result })
    }
}

/// It stays one line of the log.
fn printable(letter: char) -> Cow<'static, str> {
    match letter.is_control() {
        true => Cow::Owned(letter.escape_default().to_string()),
        false => Cow::Owned(letter.to_string()),
    }
}

#[cfg(test)]
#[cfg(not(feature = "loom"))]
mod tests {
    use super::*;

    #[test]
    fn a_question_and_its_answers() {
        let question = Question(7 << 40);
        assert_eq!(Question::of_bytes(&question.to_bytes()), Some(question));
        assert_eq!(Question::of_bytes(&[0; 8]), None);
        assert_eq!(Question::of_bytes(&[1; QUESTION]), None, "it has another mark");
        for result in [Ok(()), Err("\"/srv/größer.py\" has changed".to_owned())] {
            let answer = Answer { question, result };
            assert_eq!(Answer::of_bytes(&answer.to_bytes()), Some(answer));
        }
    }

    #[test]
    fn what_a_process_may_answer_is_short_and_one_line() {
        let result = Err("x\n[alert] y".repeat(1000));
        let answer = Answer { question: Question(1), result };
        let Answer { result, .. } = Answer::of_bytes(&answer.to_bytes()).unwrap();
        let text = result.unwrap_err();
        assert!(text.starts_with("x\\n[alert] y") && text.len() < 2 * ANSWER);
        assert!(!text.contains('\n'));
        assert_eq!(Answer::of_bytes(&[1; 8]), None);
        assert!(Answer::of_bytes(&[2; 9]).unwrap().result.is_err());
    }
}
