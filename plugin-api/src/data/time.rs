//! [`Data`] for times. The encoding is serde's, but the seconds may be negative: serde cannot encode a time before 1970.

use super::Data;
use crate::{
    describe::{Type, Types},
    shape::{End, Pair},
};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};
use std::time::{Duration, SystemTime};

const NANOS_PER_SEC: u32 = 1_000_000_000;

/// A time, as it is encoded: the seconds since the beginning of 1970, rounded down, and the nanoseconds since then.
#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a time with the fields `secs_since_epoch` and `nanos_since_epoch`")]
struct Time {
    secs_since_epoch: i64,
    nanos_since_epoch: u32,
}

impl Time {
    fn of(time: SystemTime) -> Self {
        let (secs, nanos) = match time.duration_since(SystemTime::UNIX_EPOCH) {
            Ok(after) => (0_i64.checked_add_unsigned(after.as_secs()), after.subsec_nanos()),
            Err(before) => {
                let before = before.duration();
                let nanos = (NANOS_PER_SEC - before.subsec_nanos()) % NANOS_PER_SEC;
                let secs = before.as_secs() + u64::from(nanos > 0);
                (0_i64.checked_sub_unsigned(secs), nanos)
            }
        };
        // On Linux, the seconds of every `SystemTime` are an `i64`.
        Self { secs_since_epoch: secs.unwrap_or_default(), nanos_since_epoch: nanos }
    }

    fn time(self) -> Result<SystemTime, String> {
        let Self { secs_since_epoch: secs, nanos_since_epoch: nanos } = self;
        if nanos >= NANOS_PER_SEC {
            return Err(format!("`nanos_since_epoch` is {nanos}, but must be less than {NANOS_PER_SEC}"));
        }
        let whole = Duration::from_secs(secs.unsigned_abs());
        let second = if secs < 0 {
            SystemTime::UNIX_EPOCH.checked_sub(whole)
        } else {
            SystemTime::UNIX_EPOCH.checked_add(whole)
        };
        let time = second.and_then(|second| second.checked_add(Duration::new(0, nanos)));
        time.ok_or_else(|| format!("a `SystemTime` cannot be {secs} seconds after 1970"))
    }
}

// SAFETY: 1: a time contains no pointer.
unsafe impl Data for SystemTime {
    type Ffi = Pair<i64, Pair<u32, End>>;

    fn into_ffi(self) -> Self::Ffi {
        let Time { secs_since_epoch, nanos_since_epoch } = Time::of(self);
        Pair(secs_since_epoch, Pair(nanos_since_epoch, End))
    }

    // The other side makes the numbers from a `SystemTime`, so they are one.
    fn from_ffi(Pair(secs_since_epoch, Pair(nanos_since_epoch, End)): Self::Ffi) -> Self {
        Time { secs_since_epoch, nanos_since_epoch }.time().unwrap_or(Self::UNIX_EPOCH)
    }

    fn describe(_: &mut Types) -> Type {
        Type::Library("SystemTime".into())
    }

    const BY_SERDE: bool = false;

    fn serialize_data<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Time::of(*self).serialize(serializer)
    }

    fn deserialize_data<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Time::deserialize(deserializer)?.time().map_err(D::Error::custom)
    }
}
