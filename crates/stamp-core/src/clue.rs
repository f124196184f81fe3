//! What the sources of one request say about whom it is for.

use crate::claims::Tenants;
use crate::id::{StampId, TenantId};

/// Where a clue came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    /// The tenant (or stamp) claim of a verified token.
    Jwt,
    /// The authority of the request.
    Host,
    /// `X-Stamp-Id`, or the tenant header.
    Header,
    /// The configured cookie.
    Cookie,
}

impl Source {
    /// The label used in metrics, logs and explanations.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Jwt => "jwt",
            Self::Host => "host",
            Self::Header => "header",
            Self::Cookie => "cookie",
        }
    }

    /// How much the word of this source counts.
    #[must_use]
    pub const fn class(self) -> Class {
        match self {
            Self::Jwt => Class::Verified,
            Self::Host => Class::Bound,
            Self::Header | Self::Cookie => Class::Claimed,
        }
    }
}

/// How much a source's word counts, weakest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// The client says so.
    Claimed,
    /// The name that the client connected to says so.
    Bound,
    /// A trusted issuer's signature says so.
    Verified,
}

/// What one source says: a tenant, a stamp, or both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Clue<'a> {
    /// Who says it.
    pub source: Source,
    /// The tenant named, if any.
    pub tenant: Option<TenantId<'a>>,
    /// The stamp named, if any.
    pub stamp: Option<StampId<'a>>,
}

/// Everything that one request says: at most one clue a source.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Clues<'a> {
    /// From a verified token.
    pub jwt: Option<Clue<'a>>,
    /// From the authority.
    pub host: Option<Clue<'a>>,
    /// From the headers.
    pub header: Option<Clue<'a>>,
    /// From the cookie.
    pub cookie: Option<Clue<'a>>,
    /// The token is good for each of these, and another clue must pick one: the clue of the token
    /// itself names no tenant then.
    pub one_of: Option<&'a Tenants>,
    /// The host demands a verified identity (`verified_only`).
    pub verified_demanded: bool,
}

impl<'a> Clues<'a> {
    /// The clues that are there, strongest source first.
    pub fn iter(&self) -> impl Iterator<Item = &Clue<'a>> {
        [&self.jwt, &self.host, &self.header, &self.cookie].into_iter().flatten()
    }
}

impl Clue<'_> {
    /// The same clue, owning its names.
    #[must_use]
    pub fn into_owned(self) -> Clue<'static> {
        Clue {
            source: self.source,
            tenant: self.tenant.map(TenantId::into_owned),
            stamp: self.stamp.map(StampId::into_owned),
        }
    }
}

impl std::fmt::Display for Source {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(self.as_str())
    }
}
