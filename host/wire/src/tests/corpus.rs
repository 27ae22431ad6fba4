//! Replays the fuzzer's seeds and earlier findings: nothing may panic.

use super::{messages::*, *};
use std::{collections::BTreeSet, fs, path::PathBuf};

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/wire")
}

/// One frame for every message of every kind.
fn seeds() -> Vec<Vec<u8>> {
    let hello = Hello { protocol: PROTOCOL, api: "0.1.0".into() };
    let mut seeds = vec![frame(1, 0, &hello.encode().unwrap())];
    seeds.extend(requests().iter().map(|it| frame(2, 1, &it.encode().unwrap())));
    seeds.extend(replies().iter().map(|it| frame(3, 1, &it.encode().unwrap())));
    seeds.push(frame(4, 1, b"\0\0\x01\0\0\0\0[1,2]"));
    seeds.extend(answers().iter().map(|answer| {
        let (outcome, body) = answer.encode();
        frame(5, 1, &[&[outcome], body.bytes()].concat())
    }));
    seeds.extend(commands().iter().map(|it| frame(7, 0, &it.encode().unwrap())));
    seeds.push(frame(8, 0, b""));
    seeds.extend(reports().iter().map(|it| frame(6, 0, &it.encode().unwrap())));
    seeds
}

#[test]
fn no_file_of_the_corpus_makes_a_decoder_panic() {
    let mut read = 0;
    for entry in fs::read_dir(folder()).unwrap() {
        read_anything(&fs::read(entry.unwrap().path()).unwrap());
        read += 1;
    }
    assert!(read > 20, "the corpus is missing");
}

#[test]
fn the_corpus_contains_every_message() {
    let write = std::env::var_os("REPLUG_WRITE_CORPUS").is_some();
    let known: BTreeSet<Vec<u8>> =
        fs::read_dir(folder()).unwrap().map(|entry| fs::read(entry.unwrap().path()).unwrap()).collect();
    for (number, seed) in seeds().into_iter().enumerate().filter(|(_, seed)| !known.contains(seed)) {
        assert!(write, "seed {number} is missing: run this test with REPLUG_WRITE_CORPUS=1, and commit");
        fs::write(folder().join(format!("seed-{number:02}")), seed).unwrap();
    }
}

#[test]
fn no_damaged_frame_makes_a_decoder_panic() {
    for seed in seeds() {
        for at in 0..seed.len() {
            for value in [0, 1, 0x7f, 0x80, 0xff] {
                let mut damaged = seed.clone();
                damaged[at] = value;
                read_anything(&damaged);
            }
            read_anything(&seed[..at]);
        }
    }
}
