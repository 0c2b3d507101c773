use super::*;
use crate::http::random::Random;

/// A client's frame with a length in the shortest form.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    masked(encode_first(first, payload), [0x37, 0xfa, 0x21, 0x3d])
}

fn encode_first(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = encode(Opcode::Text, false, payload);
    frame[0] = first;
    frame
}

/// Masks a server's frame.
fn masked(frame: Vec<u8>, mask: [u8; 4]) -> Vec<u8> {
    let head = match frame[1] {
        126 => 4,
        127 => 10,
        _ => 2,
    };
    let mut masked = frame[..head].to_vec();
    masked[1] |= MASK;
    masked.extend(mask);
    masked.extend(frame[head..].iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    masked
}

/// What a test compares.
#[derive(Debug, PartialEq, Eq)]
enum Seen {
    Message(Kind, bool, Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Vec<u8>),
}

/// Decodes `input`, which arrives in pieces of the lengths that `size` gives.
fn decode(
    decoder: &mut Decoder,
    input: &[u8],
    mut size: impl FnMut() -> usize,
) -> Result<Vec<Seen>, FrameError> {
    let (mut seen, mut message) = (Vec::new(), None::<Vec<u8>>);
    let mut left = input;
    while !left.is_empty() {
        let (piece, rest) = left.split_at(size().clamp(1, left.len()));
        left = rest;
        let mut piece = piece.to_vec();
        let mut at = 0;
        while at < piece.len() {
            let (used, event) = decoder.decode(&mut piece[at..])?;
            assert!(used > 0);
            match event {
                None => {}
                Some(Event::Ping(payload)) => seen.push(Seen::Ping(payload.bytes().to_vec())),
                Some(Event::Pong(payload)) => seen.push(Seen::Pong(payload.bytes().to_vec())),
                Some(Event::Close(payload)) => seen.push(Seen::Close(payload.bytes().to_vec())),
                Some(Event::Part(part)) => {
                    assert_eq!(part.first, message.is_none());
                    assert!(part.last || !part.payload.is_empty());
                    let mut whole = message.take().unwrap_or_default();
                    whole.extend_from_slice(part.payload);
                    if part.last {
                        seen.push(Seen::Message(part.kind, part.compressed, whole));
                    } else {
                        message = Some(whole);
                    }
                }
            }
            at += used;
        }
    }
    Ok(seen)
}

fn decode_all(input: &[u8]) -> Result<Vec<Seen>, FrameError> {
    decode(&mut Decoder::new(true, 1000), input, || usize::MAX)
}

fn text(payload: &[u8]) -> Seen {
    Seen::Message(Kind::Text, false, payload.to_vec())
}

#[test]
fn the_example_of_rfc_6455_5_7_is_read() {
    let hello = [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
    assert_eq!(decode_all(&hello), Ok(vec![text(b"Hello")]));
}

#[test]
fn fragments_are_one_message_with_control_frames_between_them() {
    let input = [
        frame(0x01, b"Hel"),
        frame(0x89, b"are you there"),
        frame(0x00, b""),
        frame(0x8a, b""),
        frame(0x80, b"lo"),
        frame(0x82, b""),
        frame(0x88, b"\x03\xe8bye"),
    ]
    .concat();
    let seen = vec![
        Seen::Ping(b"are you there".to_vec()),
        Seen::Pong(b"".to_vec()),
        text(b"Hello"),
        Seen::Message(Kind::Binary, false, vec![]),
        Seen::Close(b"\x03\xe8bye".to_vec()),
    ];
    assert_eq!(decode_all(&input).as_ref(), Ok(&seen));
    for size in 1..9 {
        let mut decoder = Decoder::new(false, 1000);
        assert_eq!(decode(&mut decoder, &input, || size).as_ref(), Ok(&seen));
        assert!(decoder.is_idle());
    }
}

#[test]
fn an_empty_first_fragment_still_begins_the_message() {
    let input = [frame(0x41, b""), frame(0x00, b""), frame(0x80, b"x")].concat();
    assert_eq!(decode_all(&input), Ok(vec![Seen::Message(Kind::Text, true, b"x".to_vec())]));
    let input = [frame(0x02, b""), frame(0x80, b"")].concat();
    assert_eq!(decode_all(&input), Ok(vec![Seen::Message(Kind::Binary, false, vec![])]));
}

#[test]
fn reserved_opcodes_are_refused() {
    for opcode in [3, 4, 5, 6, 7, 11, 12, 13, 14, 15] {
        assert_eq!(decode_all(&frame(FIN | opcode, b"")), Err(FrameError::Opcode(opcode)));
    }
}

#[test]
fn reserved_bits_are_refused_but_for_rsv1_of_a_compressed_message() {
    for opcode in [1, 2, 8, 9, 10] {
        for (number, bit) in [(1, RSV1), (2, RSV2), (3, RSV3)] {
            let input = frame(FIN | bit | opcode, b"");
            let error = Err(FrameError::ReservedBit(number));
            assert_eq!(decode(&mut Decoder::new(false, 99), &input, || 1), error);
            if bit != RSV1 || opcode > 2 {
                assert_eq!(decode_all(&input), error);
            } else {
                assert!(decode_all(&input).is_ok());
            }
        }
    }
    let input = [frame(RSV1 | 1, b"a"), frame(FIN | RSV1, b"b")].concat();
    assert_eq!(decode_all(&input), Err(FrameError::ReservedBit(1)));
}

#[test]
fn a_frame_without_a_mask_is_refused() {
    for opcode in [Opcode::Text, Opcode::Ping] {
        assert_eq!(decode_all(&encode(opcode, false, b"")), Err(FrameError::NotMasked));
    }
}

#[test]
fn control_frames_are_whole_and_short() {
    for opcode in [8, 9, 10] {
        assert_eq!(decode_all(&frame(opcode, b"")), Err(FrameError::FragmentedControl));
        let longest = [b'x'; 125];
        assert!(decode_all(&frame(FIN | opcode, &longest)).is_ok());
        let long = frame(FIN | opcode, &[b'x'; 126]);
        assert_eq!(decode_all(&long), Err(FrameError::LongControl));
        assert_eq!(decode_all(&[FIN | opcode, MASK | 127]), Err(FrameError::LongControl));
    }
}

#[test]
fn fragments_follow_one_another() {
    assert_eq!(decode_all(&frame(0x80, b"x")), Err(FrameError::NoMessage));
    assert_eq!(decode_all(&frame(0x00, b"")), Err(FrameError::NoMessage));
    for second in [0x01, 0x81, 0x82] {
        let input = [frame(0x01, b"x"), frame(second, b"y")].concat();
        assert_eq!(decode_all(&input), Err(FrameError::InsideMessage));
    }
    let input = [frame(0x81, b"x"), frame(0x80, b"y")].concat();
    assert_eq!(decode_all(&input), Err(FrameError::NoMessage));
}

#[test]
fn lengths_are_in_their_shortest_form() {
    for length in [0u16, 125] {
        let input = [&[0x82, MASK | 126][..], &length.to_be_bytes(), &[0; 4]].concat();
        assert_eq!(decode_all(&input), Err(FrameError::LengthForm));
    }
    for length in [0u64, 126, 65535] {
        let input = [&[0x82, MASK | 127][..], &length.to_be_bytes(), &[0; 4]].concat();
        assert_eq!(decode_all(&input), Err(FrameError::LengthForm));
    }
    for length in [1 << 63, u64::MAX] {
        let input = [&[0x82, MASK | 127][..], &length.to_be_bytes(), &[0; 4]].concat();
        assert_eq!(decode_all(&input), Err(FrameError::Length));
    }
}

#[test]
fn a_large_message_is_refused_by_its_heads() {
    let mut decoder = Decoder::new(true, 1000);
    assert!(decode(&mut decoder, &frame(0x82, &[0; 1000]), || 9).is_ok());
    let head = &frame(0x82, &[0; 1001])[..8];
    assert_eq!(decode(&mut decoder, head, || 9), Err(FrameError::TooLarge(1000)));
    let fragments = [frame(0x02, &[0; 600]), frame(0x80, &[0; 401])].concat();
    let error = decode_all(&fragments).unwrap_err();
    assert_eq!((error, error.code()), (FrameError::TooLarge(1000), 1009));
    // The most that a head can say, twice.
    let huge = [&[0x02, MASK | 127][..], &(u64::MAX >> 1).to_be_bytes(), &[0; 4]].concat();
    assert_eq!(decode_all(&huge), Err(FrameError::TooLarge(1000)));
    // How large a compressed one is, only inflating it shows.
    assert!(decode_all(&frame(0xc2, &[0; 1001])).is_ok());
    assert_eq!(FrameError::NotMasked.code(), 1002);
}

#[test]
fn the_server_encodes_in_the_shortest_form() {
    let head = |len: usize| {
        let frame = encode(Opcode::Binary, false, &vec![7; len]);
        let head = frame.len() - len;
        assert!(frame[head..].iter().all(|&byte| byte == 7));
        frame[..head].to_vec()
    };
    assert_eq!(head(0), [0x82, 0]);
    assert_eq!(head(125), [0x82, 125]);
    assert_eq!(head(126), [0x82, 126, 0, 126]);
    assert_eq!(head(65535), [0x82, 126, 0xff, 0xff]);
    assert_eq!(head(65536), [0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0]);
    assert_eq!(encode(Opcode::Text, true, b"x"), [0xc1, 1, b'x']);
    assert_eq!(encode(Opcode::Close, false, b""), [0x88, 0]);
}

#[test]
fn random_messages_in_random_pieces_come_out_as_they_went_in() {
    for seed in 0..500 {
        let mut random = Random::new(seed);
        let (mut input, mut seen) = (Vec::new(), Vec::new());
        for _ in 0..=random.below(5) {
            let len = *[0, 1, 5, 125, 126, 300, 65535, 65536].get(random.below(8)).unwrap();
            let payload = random.bytes(len);
            let (kind, compressed) =
                ([Kind::Text, Kind::Binary][random.below(2)], random.chance(2));
            let mut opcode = Opcode::from(kind);
            let mut left = &payload[..];
            loop {
                let (part, rest) = left.split_at(random.below(left.len() + 1));
                let (part, fin) = if random.chance(3) { (left, true) } else { (part, false) };
                left = if fin { &[] } else { rest };
                let rsv1 = compressed && opcode != Opcode::Continuation;
                let mut frame = encode(opcode, rsv1, part);
                frame[0] &= if fin { 0xff } else { !FIN };
                input.extend(masked(frame, (random.next() as u32).to_ne_bytes()));
                opcode = Opcode::Continuation;
                if fin {
                    break;
                }
                if random.chance(2) {
                    let control = random.below(126);
                    let control = random.bytes(control);
                    input.extend(masked(encode(Opcode::Ping, false, &control), [1, 2, 3, 4]));
                    seen.push(Seen::Ping(control));
                }
            }
            seen.push(Seen::Message(kind, compressed, payload));
        }
        let mut decoder = Decoder::new(true, 65536);
        let largest = 1 << random.below(18);
        let decoded = decode(&mut decoder, &input, || random.below(largest) + 1);
        assert_eq!(decoded, Ok(seen), "seed {seed}");
        assert!(decoder.is_idle(), "seed {seed}");
    }
}

#[test]
fn random_bytes_never_break_the_decoder() {
    for seed in 0..20_000 {
        let mut random = Random::new(seed);
        let len = random.below(64);
        let mut input = random.bytes(len);
        if random.chance(2) {
            // More of them get beyond the first head.
            input.splice(0..0, frame([0x81, 0x02, 0xc1, 0x89][random.below(4)], b"payload"));
        }
        let (deflate, max) = (random.chance(2), random.below(100));
        let _decoded = decode(&mut Decoder::new(deflate, max), &input, || random.below(9) + 1);
    }
}
