//! Both ends of a lane, on two threads of this process.

use super::{spin_turn::SpinTurn, *};
use replug_wire::{Answer, Call, Encoding, Lane};
use rustix::thread::sched_getaffinity;
use std::{
    cell::Cell,
    fs,
    os::fd::BorrowedFd,
    path::Path,
    sync::atomic::Ordering,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

type HostLane = Lane<Line<Timed>>;

/// A lane with memory, as the host and as the shim get it.
fn pair() -> (HostLane, (UnixStream, ShimMemory)) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let (memory, files) = HostMemory::make().unwrap();
    let line = Line::of_host(ours.into(), Some(memory));
    (Lane::over(line), (theirs, ShimMemory { files, bytes: LANE_BYTES as u32 }))
}

/// Answers each call with its arguments, until the host closes the lane.
fn echo(stream: UnixStream, memory: Option<ShimMemory>) -> JoinHandle<()> {
    thread::spawn(move || {
        let mut line = Line::of_shim(stream, memory);
        while let Ok(frame) = line.receive() {
            let id = frame.id;
            let arguments = Call::decode(frame.of_kind(Kind::Call).unwrap()).unwrap().arguments.to_vec();
            if line.send(Kind::Answer, id, [&[0], &arguments]).is_err() {
                break;
            }
        }
    })
}

fn call(arguments: &[u8]) -> Call<'_> {
    Call { interface: 3, method: 4, encoding: Encoding::Binary, arguments }
}

/// Lengths around whole words, and around the most that fits in the memory.
fn lengths() -> impl Iterator<Item = usize> {
    let words = LANE_BYTES / 8;
    let around = [words * 8 - 35 * 8, words * 8].map(|edge| edge - 9..edge + 10);
    (0..40).chain(around.into_iter().flatten()).chain([1 << 20, 3])
}

fn bytes(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at * 7 + len) as u8).collect()
}

#[test]
fn messages_of_every_length_round_trip_in_memory_and_over_the_socket() {
    for with_memory in [true, false] {
        let (mut lane, (theirs, memory)) = pair();
        let shim = echo(theirs, with_memory.then_some(memory));
        for len in lengths() {
            let sent = bytes(len);
            assert!(lane.call(call(&sent)).unwrap() == Answer::Returned(&sent), "{len} bytes");
        }
        assert_eq!(lane.carrier().uses_memory(), with_memory);
        drop(lane);
        shim.join().unwrap();
    }
}

#[test]
fn ends_that_sleep_before_each_message_lose_none() {
    let (mut lane, (theirs, memory)) = pair();
    lane.carrier_mut().memory.as_mut().unwrap().spin = Spin::never();
    let shim = thread::spawn(move || {
        let mut line = Line::of_shim(theirs, Some(memory));
        line.memory.as_mut().unwrap().spin = Spin::never();
        while let Ok(frame) = line.receive() {
            let (id, payload) = (frame.id, frame.payload.to_vec());
            line.send(Kind::Answer, id, [&[0], &payload]).unwrap();
        }
    });
    for number in 0..5000_u32 {
        let answer = lane.call(call(&number.to_le_bytes())).unwrap();
        assert!(matches!(answer, Answer::Returned(bytes) if bytes.ends_with(&number.to_le_bytes())));
    }
    drop(lane);
    shim.join().unwrap();
}

#[test]
fn a_turn_of_an_end_that_spins_ends_with_a_yield_or_a_sleep() {
    for spin in [Spin::always, Spin::never] {
        let (mut lane, (theirs, memory)) = pair();
        let shim = echo(theirs, Some(memory));
        // This end sleeps during the first call if the shim has not mapped the memory yet.
        lane.call(call(b"first")).unwrap();
        let mut ends_turn = || {
            let memory = lane.carrier_mut().memory.as_mut().unwrap();
            memory.spin = spin();
            memory.spin.turn = SpinTurn::over();
            lane.call(call(b"x")).unwrap();
            !lane.carrier().memory.as_ref().unwrap().spin.turn.is_over()
        };
        // A call does not end the turn if the answer is there before this end sleeps, or if this end spins for another
        // turn.
        assert!((0..1000).any(|_| ends_turn()));
        drop(lane);
        shim.join().unwrap();
    }
}

/// A stream that counts each use. Apart from rare yields, nothing else of a lane makes system calls for a call.
struct Counted {
    stream: UnixStream,
    uses: Cell<u32>,
}

impl Counted {
    fn used(&self) -> &UnixStream {
        self.uses.set(self.uses.get() + 1);
        &self.stream
    }
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.used().read(buffer)
    }
}

impl Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.used().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.used().flush()
    }
}

impl AsFd for Counted {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.used().as_fd()
    }
}

impl Stream for Counted {
    fn check(&self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn ends_that_spin_make_no_system_call_for_a_call() {
    let (stream, theirs) = UnixStream::pair().unwrap();
    let (HostMemory(mut memory), files) = HostMemory::make().unwrap();
    memory.spin = Spin::always();
    memory.port.announce();
    let stream = Counted { stream, uses: Cell::new(0) };
    let mut lane =
        Lane::over(Line { channel: Channel::new(stream), receives: Kind::Answer, memory: Some(memory) });
    let shim = thread::spawn(move || {
        let mut line = Line::of_shim(theirs, Some(ShimMemory { files, bytes: LANE_BYTES as u32 }));
        for _ in 0..101 {
            let id = line.receive().unwrap().id;
            // From the second call on, all messages come through the memory. The first call may have come over the
            // socket, and a thread that spins looks only at the memory.
            line.memory.as_mut().unwrap().spin = Spin::always();
            line.send(Kind::Answer, id, [&[0], b"here"]).unwrap();
        }
    });
    // If the shim maps the memory only during the first call, that call comes over the socket.
    assert_eq!(lane.call(call(b"first")).unwrap(), Answer::Returned(b"here"));
    let before = lane.carrier().channel.stream().uses.get();
    for _ in 0..100 {
        assert_eq!(lane.call(call(b"x")).unwrap(), Answer::Returned(b"here"));
    }
    assert_eq!(lane.carrier().channel.stream().uses.get(), before);
    shim.join().unwrap();
}

#[test]
fn a_shim_on_the_processor_of_its_caller_leaves_it() {
    let (mut lane, (theirs, memory)) = pair();
    let mut shim = Line::of_shim(theirs, Some(memory));
    let mask = sched_getaffinity(None).unwrap();
    for number in 0.. {
        let (host, memory) = (lane.carrier_mut().memory.as_mut().unwrap(), shim.memory.as_mut().unwrap());
        memory.spin = Spin::about_to_move();
        let here = processor::current();
        host.port.runs_on(Some(here));
        assert!(!host.port.send(number, [b"head", b""]), "nobody sleeps");
        assert_eq!(shim.receive().unwrap().id, RequestId(number));
        let memory = shim.memory.as_mut().unwrap();
        // The kernel may have moved this thread before it waited.
        if !memory.spin.measures(PeerPlace::Here) || memory.spin.next_wait(PeerPlace::Here) == Waiting::Move {
            continue;
        }
        assert_eq!(sched_getaffinity(None).unwrap(), mask, "it may use the same processors as before");
        // The kernel may have moved this thread back.
        if mask.count() == 1 || !lane.carrier().memory.as_ref().unwrap().port.peer_runs_on(here) {
            break;
        }
    }
}

#[test]
fn bells_that_nobody_reads_block_no_sender_and_lose_no_message() {
    let (mut lane, (theirs, memory)) = pair();
    let stream = lane.carrier_mut().stream_mut();
    // The deadline has passed, and the bells are sent nevertheless.
    stream.until(Some(Instant::now()));
    // A socket does not have room for so many bells.
    (0..100_000).for_each(|_| ring(&*stream));
    stream.until(None);
    let shim = echo(theirs, Some(memory));
    for number in 0..1000_u32 {
        let sent = number.to_le_bytes();
        assert_eq!(lane.call(call(&sent)).unwrap(), Answer::Returned(&sent));
    }
    drop(lane);
    shim.join().unwrap();
}

#[test]
fn a_bell_with_a_payload_is_an_error() {
    let (mut lane, (theirs, _memory)) = pair();
    let mut channel = Channel::new(theirs);
    channel.send(Kind::Bell, RequestId::default(), [b"x", b""]).unwrap();
    assert!(matches!(lane.call(call(b"x")), Err(WireError::Garbled { what: "a bell", .. })));
}

#[test]
fn a_deadline_releases_the_caller_and_the_late_answer_frees_the_lane() {
    let (mut lane, (theirs, memory)) = pair();
    let mut shim = Line::of_shim(theirs, Some(memory));
    for len in [10, LANE_BYTES] {
        let sent = bytes(len);
        // On a busy machine, the deadline may pass before the call is sent. Then the call is made again.
        while lane.awaited().is_none() {
            lane.carrier_mut().stream_mut().until(Some(Instant::now() + Duration::from_millis(1)));
            assert!(matches!(lane.call(call(b"x")), Err(WireError::TimedOut)));
        }
        lane.carrier_mut().stream_mut().until(None);
        let id = shim.receive().unwrap().id;
        // A longer answer comes over the socket, whose buffer has room for it. So this does not block.
        shim.send(Kind::Answer, id, [&[0], &sent]).unwrap();
        assert!(lane.late_answer().unwrap() == Answer::Returned(&sent));
        assert!(lane.awaited().is_none());
    }
    lane.carrier_mut().stream_mut().until(Some(Instant::now()));
    assert!(matches!(lane.call(call(b"late")), Err(WireError::TimedOut)));
    assert!(lane.awaited().is_none(), "the call was not sent");
}

#[test]
fn a_call_counts_as_begun_once_the_shim_has_taken_it() {
    for len in [0, LANE_BYTES] {
        let sent = bytes(len);
        let (mut lane, (theirs, memory)) = pair();
        let shim = Line::of_shim(theirs, Some(memory));
        let end = thread::spawn(move || drop(shim));
        let ended = lane.call(call(&sent));
        assert!(matches!(ended, Err(WireError::Unread | WireError::Closed)), "{ended:?}");
        assert!(lane.awaited().is_none(), "nobody has taken the call");
        end.join().unwrap();

        let (mut lane, (theirs, memory)) = pair();
        let mut shim = Line::of_shim(theirs, Some(memory));
        let end = thread::spawn(move || {
            shim.receive().unwrap();
        });
        assert!(matches!(lane.call(call(&sent)), Err(WireError::Closed)));
        assert!(lane.awaited().is_some(), "the call had begun");
        end.join().unwrap();
    }
}

#[test]
fn a_call_counts_as_begun_if_the_number_of_received_messages_is_invalid() {
    let (mut lane, (theirs, memory)) = pair();
    let region = LaneMapping::written(&memory.files[1], LANE_BYTES).unwrap();
    let mut shim = Line::of_shim(theirs, Some(memory));
    let end = thread::spawn(move || {
        shim.receive().unwrap();
        // The word `TAKEN`: the number of the last message that the shim has received.
        region[16].store(u64::MAX, Ordering::Relaxed);
    });
    assert!(matches!(lane.call(call(b"x")), Err(WireError::Closed)));
    assert!(lane.awaited().is_some());
    end.join().unwrap();
}

#[test]
fn an_answer_that_a_shim_sends_before_it_exits_is_received() {
    let (mut lane, (theirs, memory)) = pair();
    let mut shim = Line::of_shim(theirs, Some(memory));
    let end = thread::spawn(move || {
        let id = shim.receive().unwrap().id;
        shim.send(Kind::Answer, id, [&[0], b"last"]).unwrap();
    });
    assert_eq!(lane.call(call(b"x")).unwrap(), Answer::Returned(b"last"));
    end.join().unwrap();
    assert!(lane.call(call(b"x")).is_err());
    assert!(lane.awaited().is_none());
}

#[test]
fn an_answer_made_of_garbage_is_never_longer_than_the_memory() {
    // A deterministic source of numbers (splitmix64).
    let mut state = 7_u64;
    let mut random = move || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    };
    for round in 0..300 {
        let (mut lane, (theirs, memory)) = pair();
        let region = LaneMapping::written(&memory.files[1], LANE_BYTES).unwrap();
        region.iter().for_each(|word| word.store(random(), Ordering::Relaxed));
        // The word `PUBLISHED`: in half of the rounds, it has the sequence number that the host expects.
        let lengths = random() >> (random() % 64);
        let number = if round % 2 == 0 { 1 } else { random() & 0xffff_ffff };
        region[32].store(number << 32 | lengths & 0xffff_ffff, Ordering::Relaxed);
        drop(theirs);
        let outcome = lane.call(call(b"x"));
        // By accident, garbage may be a valid answer.
        if let Ok(Answer::Returned(bytes) | Answer::Refused(bytes)) = outcome {
            assert!(bytes.len() <= LANE_BYTES);
        }
        assert!(lane.memory() <= 2 * LANE_BYTES);
    }
}

#[test]
fn the_memory_of_a_lane_cannot_be_resized_or_written_by_the_wrong_end() {
    use rustix::fs::ftruncate;
    let (_host, [calls, answers]) = HostMemory::make().unwrap();
    for file in [&calls, &answers] {
        for len in [0, LANE_BYTES as u64 / 2, LANE_BYTES as u64 * 2] {
            assert!(ftruncate(file, len).is_err());
        }
    }
    assert!(LaneMapping::written(&answers, LANE_BYTES).is_ok());
    // If the kernel supports the seal, it rejects a new writable mapping of the memory for calls.
    let seals = rustix::fs::fcntl_get_seals(&calls).unwrap();
    if seals.contains(rustix::fs::SealFlags::FUTURE_WRITE) {
        assert!(LaneMapping::written(&calls, LANE_BYTES).is_err());
    }
    assert!(LaneMapping::read(calls.as_fd(), LANE_BYTES).is_ok());
    assert!(LaneMapping::read(calls.as_fd(), LANE_BYTES * 2).is_err(), "it is longer than the file");
}

/// Steps of a shim that answers every call, in the form of `damage.rs`.
fn well_behaved(answers: u8) -> Vec<u8> {
    let lengths = |body: u8| (u64::from(body) << 4 | 1).to_ne_bytes();
    // The shim announces itself. Then each step publishes a message.
    let announced = [0].into_iter().chain(1_u64.to_ne_bytes());
    announced.chain((0..answers).flat_map(|body| [0x80].into_iter().chain(lengths(body)))).collect()
}

#[test]
fn no_input_of_the_fuzzer_makes_the_host_read_beyond_a_message() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../wire/fuzz/corpus/lane");
    let inputs: Vec<_> =
        fs::read_dir(corpus).unwrap().map(|it| fs::read(it.unwrap().path()).unwrap()).collect();
    assert!(inputs.len() > 10, "the corpus is missing");
    let received: u32 = inputs.iter().map(|bytes| damage::run(bytes)).sum();
    assert!(received > 10, "the inputs reach what follows a message");
    assert_eq!(damage::run(&well_behaved(40)), 40);
    // The memory has room for a body of 40 bytes.
    assert_eq!(damage::run(&well_behaved(80)), 41);
}
