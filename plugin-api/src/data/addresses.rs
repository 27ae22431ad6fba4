//! [`Data`] for the addresses of `std::net`. In JSON, an address is a string.

use super::{Coded, Data};
use crate::{
    describe::{Type, Types},
    shape::{Either, End, Pair},
};
use serde::{Deserialize, Deserializer, Serialize, Serializer, ser::Error};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

type Ip = Either<[u8; 4], [u8; 16]>;
type V4 = Pair<[u8; 4], Pair<u16, End>>;
type V6 = Pair<[u8; 16], Pair<u16, Pair<u32, Pair<u32, End>>>>;

macro_rules! addresses {
    ($($ty:ident as $ffi:ty: |$value:ident| $into:expr, |$form:pat_param| $from:expr, {$($encoding:tt)*};)*) => {$(
        // SAFETY: 1: an address contains no pointer.
        unsafe impl Data for $ty {
            type Ffi = $ffi;

            fn into_ffi(self) -> $ffi {
                let $value = self;
                $into
            }

            fn from_ffi(ffi: $ffi) -> Self {
                let $form = ffi;
                $from
            }

            fn describe(_: &mut Types) -> Type {
                Type::Library(stringify!($ty).into())
            }

            $($encoding)*
        }
    )*};
}

addresses! {
    Ipv4Addr as [u8; 4]: |it| it.octets(), |octets| octets.into(), {};
    Ipv6Addr as [u8; 16]: |it| it.octets(), |octets| octets.into(), {};
    IpAddr as Ip: |it| match it {
        Self::V4(v4) => Either::Left(v4.octets()),
        Self::V6(v6) => Either::Right(v6.octets()),
    }, |ip| match ip {
        Either::Left(v4) => Self::V4(v4.into()),
        Either::Right(v6) => Self::V6(v6.into()),
    }, {};
    SocketAddrV4 as V4: |it| Pair(it.ip().octets(), Pair(it.port(), End)),
        |Pair(ip, Pair(port, End))| Self::new(ip.into(), port), {};
    SocketAddrV6 as V6: |it| Pair(it.ip().octets(), Pair(it.port(), Pair(it.flowinfo(), Pair(it.scope_id(), End)))),
        |Pair(ip, Pair(port, Pair(flow, Pair(scope, End))))| Self::new(ip.into(), port, flow, scope), {
            const BY_SERDE: bool = false;

            fn serialize_data<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                if !serializer.is_human_readable() {
                    return (self.ip(), self.port(), self.flowinfo(), self.scope_id()).serialize(serializer);
                }
                match self.flowinfo() {
                    0 => self.serialize(serializer),
                    flow => Err(S::Error::custom(format_args!(
                        "the text `{self}` would lose the flow information {flow} of the address"
                    ))),
                }
            }

            fn deserialize_data<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                if deserializer.is_human_readable() {
                    return Self::deserialize(deserializer);
                }
                let (ip, port, flow, scope) = Deserialize::deserialize(deserializer)?;
                Ok(Self::new(ip, port, flow, scope))
            }
        };
    SocketAddr as Either<V4, V6>: |it| match it {
        Self::V4(v4) => Either::Left(v4.into_ffi()),
        Self::V6(v6) => Either::Right(v6.into_ffi()),
    }, |socket| match socket {
        Either::Left(v4) => Self::V4(Data::from_ffi(v4)),
        Either::Right(v6) => Self::V6(Data::from_ffi(v6)),
    }, {
        const BY_SERDE: bool = false;

        fn serialize_data<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            match *self {
                Self::V6(v6) if serializer.is_human_readable() => v6.serialize_data(serializer),
                Self::V4(_) if serializer.is_human_readable() => self.serialize(serializer),
                Self::V4(v4) => Socket::V4(v4).serialize(serializer),
                Self::V6(v6) => Socket::V6(Coded(v6)).serialize(serializer),
            }
        }

        fn deserialize_data<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            if deserializer.is_human_readable() {
                return Self::deserialize(deserializer);
            }
            Socket::deserialize(deserializer).map(|socket| match socket {
                Socket::V4(v4) => v4.into(),
                Socket::V6(Coded(v6)) => v6.into(),
            })
        }
    };
}

/// A [`SocketAddr`] in the binary encoding. serde's encoding loses the scope and the flow information.
#[derive(Serialize, Deserialize)]
enum Socket {
    V4(SocketAddrV4),
    V6(Coded<SocketAddrV6>),
}
