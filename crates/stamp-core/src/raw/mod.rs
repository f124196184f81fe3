//! routing.toml as written: every leaf is parsed, nothing is checked against anything else yet.
//! `table::load` does that.

mod endpoint;
mod identity;
mod jwks_url;
mod leaf;
mod placement;
mod stamp;
mod tier;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::document::{self, FromToml, Json, Named, Report, Value, Version, Written, lay_under};
use crate::id::{StampId, TenantId};
use crate::table::TenantState;
use crate::{as_written, words};

pub use endpoint::{EndpointUrl, UrlError};
pub use identity::{
    RawCookie, RawHeader, RawHost, RawIdentity, RawIssuer, RawToken, UnknownTenant,
};
pub use jwks_url::JwksUrlError;
pub use leaf::{
    CertificateName, ClaimPath, CookieName, DomainError, DomainName, HasShortForm, HostPattern,
    IdentityHeader, ProbePath, ShortOrLong, StatusRange, Zone, parse_certificate_name,
    parse_domain, parse_zone,
};
pub use placement::{RawPlace, RawPlacement};
pub use stamp::{
    OwnId, RawEdge, RawEndpoint, RawFailback, RawHealth, RawPassive, RawPool, RawRetry, RawStamp,
    RawStampPolicy, RawTls,
};
pub use tier::{RawTier, TierName};

as_written! {
    /// routing.toml: stamps, tenants, policies. Hot-reloaded as one atomic snapshot.
    pub struct RawRouting {
        /// The version of this file's format. Must be the first key.
        pub version: Version,
        /// How a request names its stamp.
        pub identity: RawIdentity = {},
        /// Policies of stamps that say nothing else.
        pub defaults: RawDefaults = {},
        /// The stamps.
        pub stamp: Vec<RawStamp> = [],
        /// Where tenants live: for small fleets.
        pub tenants: Named<ShortOrLong<RawTenant>> = {},
        /// Where tenants live: for large fleets.
        pub tenant_file: Vec<RawTenantFile> = [],
        /// Hosts that belong to customers, and the tenant that each names.
        pub domains: Named<Written<TenantId<'static>>> = {},
        /// Limits and priorities of tenants, by name. `standard` is the tier of those that name none.
        pub tier: Named<RawTier> = {},
        /// Where tenants live that have no entry: with `unknown_tenant = "hash"` only.
        pub placement: RawPlacement = {},
    }

    /// Policies of stamps that say nothing else.
    pub struct RawDefaults {
        /// Any key of `[[stamp]]` but `id`, `endpoints` and `failover`.
        pub stamp: RawStampPolicy = {},
    }

    /// A file of tenants.
    pub struct RawTenantFile {
        /// CSV (RFC 4180) with a header line: `tenant`, `stamp`, and optionally `tier`, `residency`
        /// (zones separated by `|`) and `state`. Relative to this file.
        pub path: Written<std::path::PathBuf>,
    }

    /// Where one tenant lives, in full.
    pub struct RawTenant {
        /// Its home stamp.
        pub stamp: Written<StampId<'static>>,
        /// The zones that its data may be in. Default: that of its home stamp.
        pub residency: Option<Written<Vec<Zone>>>,
        /// What it may do.
        pub state: TenantState = "active",
        /// Its limits and its priority. Default: those of `standard`.
        pub tier: Option<Written<TierName>>,
    }
}

words! {
    TenantState {
        "active" => Self::Active,
        "suspended" => Self::Suspended,
        "offboarded" => Self::Offboarded,
    }
}

/// The keys of `[[stamp]]` that `[defaults.stamp]` may not have.
const OWN_KEYS: [&str; 3] = ["id", "endpoints", "failover"];

/// Reads the whole tree of a routing.toml.
pub fn read(mut tree: DeTable<'_>, report: &mut Report) -> Option<RawRouting> {
    lay_stamps_over_defaults(&mut tree);
    document::read(tree, report)
}

fn lay_stamps_over_defaults(tree: &mut DeTable<'_>) {
    let defaults = tree.get("defaults").and_then(|defaults| defaults.get_ref().as_table());
    let defaults = defaults.and_then(|defaults| defaults.get("stamp")?.get_ref().as_table());
    let Some(defaults) = defaults.cloned() else { return };
    let stamps = tree.get_mut("stamp").map(Spanned::get_mut);
    let Some(DeValue::Array(stamps)) = stamps else { return };
    for stamp in stamps.iter_mut() {
        if let DeValue::Table(stamp) = stamp.get_mut() {
            lay_under(stamp, &defaults, &OWN_KEYS);
        }
    }
}

impl HasShortForm for RawTenant {
    const EXPECTED: &'static str = "the id of a stamp, or a table with `stamp`";

    fn read_short(value: &Value<'_>, report: &mut Report) -> Option<Self> {
        let stamp = Written::read(value, report)?;
        Some(Self { stamp, residency: None, state: TenantState::Active, tier: None })
    }

    fn short_schema() -> Json {
        StampId::schema()
    }
}

/// The JSON Schema of routing.toml.
#[must_use]
pub fn schema() -> Json {
    document::file_schema::<RawRouting>("stampgate routing.toml")
}
