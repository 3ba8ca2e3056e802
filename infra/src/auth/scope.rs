//! What a caller may do.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

macro_rules! scopes {
    ($($(#[$doc:meta])* $variant:ident = $name:literal;)*) => {
        /// A permission of a caller. Names are stable: keys and tokens contain them.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Scope { $($(#[$doc])* $variant,)* }

        impl Scope {
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
        }
    };
}

scopes! {
    /// Place, change, ship, return and exchange orders. What an order owes a customer is paid back.
    OrdersWrite = "orders:write";
    /// Charge, record and void payments.
    PaymentsWrite = "payments:write";
    /// Refund beyond what an order owes, and settle refunds by hand.
    RefundsWrite = "refunds:write";
    /// Receive and adjust stock.
    StockWrite = "stock:write";
    /// Change products and their prices.
    CatalogueWrite = "catalogue:write";
    /// Order at other prices than those of the catalogue.
    PricesWrite = "prices:write";
    /// Read every read model.
    Read = "read";
    /// Read events: who did what, under which key.
    Audit = "audit";
    /// Everything, webhook subscriptions and parked reactions included.
    Admin = "admin";
}

/// A text that is not a scope.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no scope; there are {names}", names = Scope::ALL.iter().map(|scope| scope.as_str()).collect::<Vec<_>>().join(", "))]
pub struct UnknownScope(String);

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Scope {
    type Err = UnknownScope;

    fn from_str(text: &str) -> Result<Self, UnknownScope> {
        let found = Self::ALL.iter().copied().find(|scope| scope.as_str() == text);
        found.ok_or_else(|| UnknownScope(text.to_owned()))
    }
}

/// The scopes of a caller, as bits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Scopes(u16);

impl Scopes {
    pub fn of(scopes: impl IntoIterator<Item = Scope>) -> Self {
        Self(scopes.into_iter().fold(0, |bits, scope| bits | Self::bit(scope)))
    }

    /// The scopes of a token, separated by spaces. Ignores names that belong to other services.
    pub fn of_claim(claim: &str) -> Self {
        Self::of(claim.split(' ').filter_map(|name| name.parse().ok()))
    }

    /// `admin` permits everything.
    pub fn permit(self, scope: Scope) -> bool {
        self.0 & (Self::bit(scope) | Self::bit(Scope::Admin)) != 0
    }

    pub fn iter(self) -> impl Iterator<Item = Scope> {
        Scope::ALL.iter().copied().filter(move |scope| self.0 & Self::bit(*scope) != 0)
    }

    fn bit(scope: Scope) -> u16 {
        1 << scope as u16
    }
}

impl fmt::Display for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.iter().map(Scope::as_str).collect::<Vec<_>>().join(", "))
    }
}

/// As a list of names.
impl Serialize for Scopes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter().map(Scope::as_str))
    }
}

/// Ignores the names of scopes that only a later build knows: a key then permits less, never more.
impl<'de> Deserialize<'de> for Scopes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let names = Vec::<String>::deserialize(deserializer)?;
        Ok(Self::of(names.iter().filter_map(|name| name.parse().ok())))
    }
}
