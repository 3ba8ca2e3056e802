//! Timestamps as Postgres stores them.

use bytes::BytesMut;
use domain::Timestamp;
use postgres_types::{FromSql, IsNull, ToSql, Type, accepts, to_sql_checked};

/// A `timestamptz`: microseconds since 2000-01-01T00:00Z.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Timestamptz(i64);

impl Timestamptz {
    /// `-infinity`.
    pub(crate) const MIN: Self = Self(i64::MIN);
    /// `infinity`.
    pub(crate) const MAX: Self = Self(i64::MAX);

    const EPOCH_AS_UNIX: i64 = 946_684_800_000_000;
    /// 4714-11-24 BC, the earliest time of Postgres. Earlier timestamps are stored as `-infinity`.
    const EARLIEST: i64 = -211_813_488_000_000_000;

    /// The time this many microseconds after 1970 began. Numbers that are no timestamps become infinite.
    pub(crate) fn of_microsecond(microseconds: i64) -> Self {
        let infinite = if microseconds < 0 { Self::MIN } else { Self::MAX };
        Timestamp::from_microsecond(microseconds).map_or(infinite, Self::from)
    }

    pub(crate) fn timestamp(self) -> Result<Timestamp, jiff::Error> {
        if self == Self::MIN {
            return Ok(Timestamp::MIN);
        }
        Timestamp::from_microsecond(self.0.saturating_add(Self::EPOCH_AS_UNIX))
    }
}

impl From<Timestamp> for Timestamptz {
    fn from(timestamp: Timestamp) -> Self {
        let microseconds = timestamp.as_microsecond() - Self::EPOCH_AS_UNIX;
        if microseconds < Self::EARLIEST { Self::MIN } else { Self(microseconds) }
    }
}

impl ToSql for Timestamptz {
    fn to_sql(
        &self,
        _: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        self.0.to_sql(&Type::INT8, out)
    }

    accepts!(TIMESTAMPTZ);
    to_sql_checked!();
}

impl<'a> FromSql<'a> for Timestamptz {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        i64::from_sql(&Type::INT8, raw).map(Self)
    }

    accepts!(TIMESTAMPTZ);
}
