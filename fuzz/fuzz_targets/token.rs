//! Any bytes as a bearer token, and as its header and claims: claims come out that keep their
//! terms, or a refusal.
#![no_main]

use std::path::PathBuf;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use stamp_core::claims::{Header, LEEWAY_SECONDS_MAX, Unverified, is_jwt_like, split};
use stamp_core::id::TenantId;
use stamp_core::table::{Algorithm, IssuerRule, KeySource};
use stamp_core::time::UnixSeconds;

const NOW: UnixSeconds = UnixSeconds(1_800_000_000);

fuzz_target!(|bytes: &[u8]| {
    if let Ok(token) = std::str::from_utf8(bytes)
        && let Ok(parts) = split(token)
    {
        assert!(is_jwt_like(token));
        let _: Result<Header, _> = Header::read(&parts.header);
        check(&parts.claims);
    }
    // Straight to the JSON as well, for base64 hides it from the fuzzer.
    let _: Result<Header, _> = Header::read(bytes);
    check(bytes);
});

fn check(json: &[u8]) {
    let Ok(claims) = Unverified::read(json) else { return };
    let rule = rule(claims.issuer().unwrap_or_default());
    let Ok(claims) = claims.check(&rule, NOW) else { return };
    let names: Vec<&str> = claims.tenants.iter().map(TenantId::as_str).collect();
    assert!(names.is_sorted_by(|one, next| one < next) && !names.is_empty());
    for tenant in names {
        let id = TenantId::parse(tenant).expect("a tenant id");
        assert!(id.as_str() == tenant && claims.tenants.has(&id));
    }
    assert!(claims.expires_at.0 + LEEWAY_SECONDS_MAX > NOW.0);
}

fn rule(issuer: &str) -> IssuerRule {
    IssuerRule {
        issuer: issuer.into(),
        audiences: vec!["a".into(), "".into()],
        algorithms: vec![Algorithm::RS256],
        keys: KeySource::JwksFile(PathBuf::new()),
        tenant_claim: vec!["t".into()],
        stamp_claim: Some(vec!["s".into(), "s".into()]),
        leeway: Duration::from_secs(60),
    }
}
