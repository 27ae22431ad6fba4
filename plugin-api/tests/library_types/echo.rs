//! An interface whose methods return their arguments, and the ways to call it.

use crate::both::{self, Both};
use replug_api::{
    Interface,
    abi::{BoundInterface, Encoding, Outcome, Refusal},
    serde_json::Value,
};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6},
    num::{NonZero, NonZeroI128, NonZeroU8, NonZeroU128},
    path::PathBuf,
    sync::Arc,
    time::SystemTime,
};

type Paths = (PathBuf, Vec<PathBuf>, HashMap<String, Option<PathBuf>>);
type Wide = (u128, i128, [u128; 2], BTreeMap<i128, u8>);
type NonZeros = (NonZeroU8, NonZero<i64>, NonZeroU128, Option<NonZeroI128>);
type Addresses = (IpAddr, (Ipv4Addr, Ipv6Addr), SocketAddrV4, BTreeSet<SocketAddr>);

/// Each method returns its arguments.
#[replug_api::interface]
pub(super) trait Echo {
    fn paths(
        &self,
        path: PathBuf,
        list: Vec<PathBuf>,
        map: HashMap<String, Option<PathBuf>>,
    ) -> (PathBuf, Vec<PathBuf>, HashMap<String, Option<PathBuf>>);
    fn path(&self, path: PathBuf) -> PathBuf;
    fn wide(
        &self,
        a: u128,
        b: i128,
        c: [u128; 2],
        map: BTreeMap<i128, u8>,
    ) -> (u128, i128, [u128; 2], BTreeMap<i128, u8>);
    fn time(
        &self,
        at: SystemTime,
        other: Result<u8, Box<SystemTime>>,
    ) -> (SystemTime, Result<u8, Box<SystemTime>>);
    fn json(&self, value: Value, list: Box<[Value]>) -> (Value, Box<[Value]>);
    fn non_zero(
        &self,
        a: NonZeroU8,
        b: NonZero<i64>,
        c: NonZeroU128,
        d: Option<NonZeroI128>,
    ) -> (NonZeroU8, NonZero<i64>, NonZeroU128, Option<NonZeroI128>);
    fn addresses(
        &self,
        ip: IpAddr,
        both: (Ipv4Addr, Ipv6Addr),
        v4: SocketAddrV4,
        set: BTreeSet<SocketAddr>,
    ) -> (IpAddr, (Ipv4Addr, Ipv6Addr), SocketAddrV4, BTreeSet<SocketAddr>);
    fn socket(&self, v6: SocketAddrV6) -> Result<SocketAddrV6, SocketAddr>;
    fn texts(&self, a: Arc<str>, b: Box<str>, c: Box<[u16]>) -> (Arc<str>, Box<str>, Box<[u16]>);
    fn text(&self, text: Arc<str>) -> Arc<str>;
    fn file(&self, file: File) -> File;
    fn kind(&self, kind: Kind) -> Result<(), Kind>;
}

/// Fields that serde alone would not encode in calls.
#[replug_api::data]
#[derive(Clone, Debug, PartialEq)]
pub(super) struct File {
    pub(super) path: PathBuf,
    pub(super) size: u128,
    pub(super) changed: Option<SystemTime>,
    pub(super) tags: BTreeMap<String, Value>,
    pub(super) next: Option<Box<File>>,
}

#[replug_api::data]
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Kind {
    Link(PathBuf),
    Peer { at: SocketAddr, since: SystemTime },
    Rest(Vec<Value>, u8),
}

struct All;

impl Echo for All {
    fn paths(&self, a: PathBuf, b: Vec<PathBuf>, c: HashMap<String, Option<PathBuf>>) -> Paths {
        (a, b, c)
    }
    fn path(&self, path: PathBuf) -> PathBuf {
        path
    }
    fn wide(&self, a: u128, b: i128, c: [u128; 2], d: BTreeMap<i128, u8>) -> Wide {
        (a, b, c, d)
    }
    fn time(
        &self,
        at: SystemTime,
        other: Result<u8, Box<SystemTime>>,
    ) -> (SystemTime, Result<u8, Box<SystemTime>>) {
        (at, other)
    }
    fn json(&self, value: Value, list: Box<[Value]>) -> (Value, Box<[Value]>) {
        (value, list)
    }
    fn non_zero(&self, a: NonZeroU8, b: NonZero<i64>, c: NonZeroU128, d: Option<NonZeroI128>) -> NonZeros {
        (a, b, c, d)
    }
    fn addresses(
        &self,
        ip: IpAddr,
        both: (Ipv4Addr, Ipv6Addr),
        v4: SocketAddrV4,
        set: BTreeSet<SocketAddr>,
    ) -> Addresses {
        (ip, both, v4, set)
    }
    fn socket(&self, v6: SocketAddrV6) -> Result<SocketAddrV6, SocketAddr> {
        if v6.port() == 0 { Err(v6.into()) } else { Ok(v6) }
    }
    fn texts(&self, a: Arc<str>, b: Box<str>, c: Box<[u16]>) -> (Arc<str>, Box<str>, Box<[u16]>) {
        (a, b, c)
    }
    fn text(&self, text: Arc<str>) -> Arc<str> {
        text
    }
    fn file(&self, file: File) -> File {
        file
    }
    fn kind(&self, kind: Kind) -> Result<(), Kind> {
        Err(kind)
    }
}

fn bound() -> BoundInterface {
    <dyn Echo as Interface>::bind(&All)
}

pub(super) fn invoke(method: u32, encoding: Encoding, arguments: &[u8]) -> Outcome<Vec<u8>, Refusal> {
    both::invoke(bound, method, encoding, arguments)
}

pub(super) fn index(method: &str) -> u32 {
    both::index(bound, method)
}

/// Calls the method by its name, with JSON.
pub(super) fn by_name(method: &str, arguments: &str) -> Result<Value, String> {
    both::by_name(bound, method, arguments)
}

/// Checks that a call by name returns its arguments.
pub(super) fn round_trips(method: &str, arguments: Value) {
    assert_eq!(by_name(method, &arguments.to_string()), Ok(arguments), "{method}");
}

/// A client of the edges, and one of the remote edges.
pub(super) fn clients() -> [EchoClient<Both>; 2] {
    // SAFETY: 1: `bound` binds a `static`.
    unsafe { both::clients::<dyn Echo>(bound) }
}
