//! Tests frames that are complete, in pieces, truncated, too large, or invalid.

use super::*;

fn refusal(bytes: impl Into<Vec<u8>>) -> String {
    Channel::with_max_frame(Memory::of(bytes), 1 << 16).receive().unwrap_err().to_string()
}

#[test]
fn a_frame_has_the_bytes_that_the_protocol_specifies() {
    let mut channel = Channel::new(Memory::default());
    channel.send(Kind::Call, RequestId(0x0102), [b"ab", b"c"]).unwrap();
    assert_eq!(channel.stream().output, [12, 0, 0, 0, 4, 2, 1, 0, 0, 0, 0, 0, 0, b'a', b'b', b'c']);
}

#[test]
fn frames_of_every_size_arrive_complete_if_reads_return_parts() {
    let sizes = [0, 1, 100, 4096, 8178, 8179, 8180, 8192, 8193, 20_000, 300_000, 3_000_000, 5];
    for at_once in [0, 1, 7, 4096] {
        let sizes = &sizes[..if at_once == 1 { 9 } else { sizes.len() }];
        let mut out = Channel::new(Memory { at_once, ..Memory::default() });
        let payload = |size: usize| (0..size).map(|i| (i * 31 + size) as u8).collect::<Vec<_>>();
        for (id, size) in sizes.iter().enumerate() {
            let payload = payload(*size);
            let (head, body) = payload.split_at(size / 3);
            out.send(Kind::Answer, RequestId(id as u64), [head, body]).unwrap();
        }
        let input = Cursor::new(std::mem::take(&mut out.stream_mut().output));
        let mut channel = Channel::new(Memory { input, at_once, ..Memory::default() });
        for (id, size) in sizes.iter().enumerate() {
            let frame = channel.receive().unwrap();
            assert_eq!((frame.kind, frame.id), (Kind::Answer, RequestId(id as u64)));
            assert_eq!(frame.payload, payload(*size), "{size} bytes, {at_once} at once");
        }
        assert!(matches!(channel.receive(), Err(WireError::Closed)));
    }
}

#[test]
fn a_stream_that_ends_within_a_frame_is_truncated_and_not_closed() {
    assert!(matches!(Channel::new(Memory::default()).receive(), Err(WireError::Closed)));
    let whole = frame(2, 1, &[7; 20_000]);
    for len in [1, 4, 12, 13, 14, 8192, 19_999] {
        let error = Channel::new(Memory::of(&whole[..len])).receive().unwrap_err();
        assert!(matches!(error, WireError::Truncated { .. }), "{len}: {error}");
    }
    assert!(refusal(&whole[..100]).contains("19913 bytes of it are missing"), "{}", refusal(&whole[..100]));
}

#[test]
fn a_length_is_checked_before_the_payload_is_read() {
    assert_eq!(
        refusal([0xff; 13]),
        "a frame of 4294967295 bytes exceeds the limit of 65536 bytes; pass less at once"
    );
    assert!(refusal([vec![8, 0, 0, 0], vec![1; 9]].concat()).contains("less than its header"));
    assert!(refusal(frame(2, 1, &[0; 1 << 16])).contains("65545 bytes exceeds the limit of 65536"));
}

#[test]
fn a_truncated_frame_with_a_large_length_takes_little_memory() {
    let mut lie = frame(2, 1, b"little");
    lie[..4].copy_from_slice(&MAX_FRAME.to_le_bytes());
    let mut channel = Channel::new(Memory::of(lie));
    let error = channel.receive().unwrap_err();
    assert!(matches!(error, WireError::Truncated { missing } if missing == MAX_FRAME as usize - 9 - 6));
    assert!(channel.memory() < 1 << 16);
}

#[test]
fn the_memory_of_a_very_large_frame_is_freed_at_the_next_frame() {
    let mut channel = Channel::new(Memory::of([frame(2, 1, &[0; 4 << 20]), frame(2, 2, &[])].concat()));
    channel.receive().unwrap();
    channel.receive().unwrap();
    assert!(channel.memory() < 1 << 16);
}

#[test]
fn shrink_frees_the_memory_of_a_very_large_frame() {
    let mut channel = Channel::new(Memory::of(frame(2, 1, &[0; 4 << 20])));
    channel.receive().unwrap();
    channel.shrink();
    assert!(channel.memory() < 1 << 16);
}

#[test]
fn a_frame_that_is_too_large_to_send_leaves_the_channel_usable() {
    let mut channel = Channel::with_max_frame(Memory::default(), 100);
    let error = channel.send(Kind::Call, RequestId(1), [&[], &[0; 92]]).unwrap_err();
    assert!(matches!(error, WireError::TooLarge { len: 101, max: 100 }));
    assert!(channel.stream().output.is_empty());
    channel.send(Kind::Call, RequestId(1), [&[], &[0; 91]]).unwrap();
}

#[test]
fn a_frame_of_an_unknown_kind_is_rejected() {
    for kind in [0, 9, 255] {
        assert!(refusal(frame(kind, 1, &[])).starts_with(&format!("a frame has the unknown kind {kind}")));
    }
}

#[test]
fn the_kind_of_a_frame_is_known_before_its_payload_has_arrived() {
    let mut channel = Channel::new(Memory::of([BELL.to_vec(), frame(5, 3, &[7; 20_000])].concat()));
    assert_eq!(channel.next_kind().unwrap(), Kind::Bell);
    assert_eq!(channel.receive().unwrap().kind, Kind::Bell);
    for _ in 0..2 {
        assert_eq!(channel.next_kind().unwrap(), Kind::Answer);
    }
    let frame = channel.receive().unwrap();
    assert_eq!((frame.kind, frame.id, frame.payload), (Kind::Answer, RequestId(3), &[7; 20_000][..]));
    assert!(matches!(channel.next_kind(), Err(WireError::Closed)));
}

#[test]
fn a_reply_must_be_of_the_right_kind_and_to_the_right_request() {
    let reply = |kind| Frame { kind, id: RequestId(3), payload: &[] };
    assert_eq!(reply(Kind::Reply).reply_to(RequestId(3), Kind::Reply).unwrap(), b"");
    let other = reply(Kind::Reply).reply_to(RequestId(4), Kind::Reply).unwrap_err();
    assert_eq!(other.to_string(), "expected the reply to request 4, got the reply to 3");
    let other = reply(Kind::Report).reply_to(RequestId(3), Kind::Reply).unwrap_err();
    assert_eq!(other.to_string(), "expected a frame of kind Reply, got Report");
}
