//! `[identity]` as written.

use std::path::PathBuf;

use super::leaf::{ClaimPath, CookieName, DomainName, HostPattern, IdentityHeader};
use crate::document::{Lasting, Written};
use crate::jwks::JwksUrl;
use crate::table::{AcceptFrom, Algorithm, ConflictRule, Placeholder, UnknownHost};
use crate::{as_written, words};

as_written! {
    /// How a request names its stamp.
    pub struct RawIdentity {
        /// What to do when clues disagree: `reject` (403 or 400) or `report` (count and log; the
        /// strongest class wins).
        pub conflict: ConflictRule = "reject",
        /// What to do with a tenant that has no entry: `reject` (404) or `hash` (it lives on the
        /// stamp of `[placement]` that a hash of its name chooses).
        pub unknown_tenant: Written<UnknownTenant> = "reject",
        /// What hosts mean.
        pub host: RawHost = {},
        /// What headers mean.
        pub header: RawHeader = {},
        /// What a cookie means. Absent: cookies are not read.
        pub cookie: Option<RawCookie>,
        /// Where tokens are read from. Absent: `Authorization: Bearer`.
        pub token: Option<Written<RawToken>>,
        /// Token issuers, chosen by the token's `iss`.
        pub jwt: Vec<RawIssuer> = [],
    }

    /// What hosts mean.
    pub struct RawHost {
        /// `{tenant}.` or `{stamp}.` and a domain: the one label before it is the id.
        pub patterns: Vec<Written<HostPattern>> = [],
        /// Hosts that are ours and name nobody.
        pub neutral: Vec<Written<DomainName>> = [],
        /// A host that is no pattern, domain or neutral host: `ignore` (no clue) or `reject` (421).
        pub unknown: UnknownHost = "ignore",
        /// Hosts on which only a verified identity selects a stamp: else 401.
        pub verified_only: Vec<Written<DomainName>> = [],
    }

    /// What headers mean.
    pub struct RawHeader {
        /// The header that names a stamp.
        pub name: Written<IdentityHeader> = "X-Stamp-Id",
        /// Whose headers count: `any`, `trusted` (`[trust].proxies` of gateway.toml) or `never`.
        pub accept_from: AcceptFrom = "any",
        /// A second header, which names a tenant.
        pub tenant_name: Option<Written<IdentityHeader>>,
    }

    /// What a cookie means.
    pub struct RawCookie {
        /// Its name.
        pub name: CookieName,
        /// What its value is: `stamp` or `tenant`.
        pub names: Placeholder = "stamp",
    }

    /// Where tokens are read from: one of the two, and nowhere else.
    pub struct RawToken {
        /// The cookie whose value is the token.
        pub cookie: Option<Written<CookieName>>,
        /// The header whose value is the token, without a scheme before it.
        pub header: Option<Written<IdentityHeader>>,
    }

    /// One token issuer.
    pub struct RawIssuer {
        /// Must equal the token's `iss`.
        pub issuer: Written<String>,
        /// One of these must be in the token's `aud`.
        pub audiences: Written<Vec<Written<String>>>,
        /// The algorithms that are accepted.
        pub algorithms: Written<Vec<Written<Algorithm>>>,
        /// A JSON Web Key Set (RFC 7517). Relative to this file.
        pub jwks_file: Option<Written<PathBuf>>,
        /// Where the issuer publishes such a set: `https://`, or `http://` at a loopback address.
        pub jwks_url: Option<Written<JwksUrl>>,
        /// How long a fetched set is used before it is fetched again, at least one second.
        pub jwks_refresh: Written<Lasting<1000>> = "10m",
        /// How long fetched keys stay good when they cannot be fetched again.
        pub jwks_stale: Written<Lasting<1000>> = "24h",
        /// The certificates (PEM) that vouch for the issuer's own; absent: those that the system
        /// trusts. Relative to this file.
        pub jwks_ca: Option<Written<PathBuf>>,
        /// One PEM public key. Relative to this file.
        pub public_key_file: Option<Written<PathBuf>>,
        /// One shared secret, as raw bytes without the final newline. Relative to this file.
        pub hmac_secret_file: Option<Written<PathBuf>>,
        /// The claim that names the tenant, or lists those that the token is good for; dots descend:
        /// `org.id`.
        pub tenant_claim: ClaimPath,
        /// The claim that names the stamp.
        pub stamp_claim: Option<ClaimPath>,
        /// How far clocks may differ, at most one minute.
        pub leeway: Written<Lasting<0>> = "30s",
    }
}

/// What to do with a tenant that has no entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnknownTenant {
    /// 404 `unknown_tenant`.
    Reject,
    /// It is placed by a hash of its name.
    Hash,
}

words! {
    UnknownTenant { "reject" => Self::Reject, "hash" => Self::Hash }
    ConflictRule { "reject" => Self::Reject, "report" => Self::Report }
    UnknownHost { "ignore" => Self::Ignore, "reject" => Self::Reject }
    AcceptFrom { "any" => Self::Any, "trusted" => Self::Trusted, "never" => Self::Never }
    Placeholder { "stamp" => Self::Stamp, "tenant" => Self::Tenant }
    Algorithm {
        "HS256" => Self::HS256,
        "RS256" => Self::RS256,
        "PS256" => Self::PS256,
        "ES256" => Self::ES256,
        "EdDSA" => Self::EdDSA,
    }
}
