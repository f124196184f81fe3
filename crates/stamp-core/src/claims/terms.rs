//! What a claims set must say before it counts (RFC 7519, section 4.1; RFC 8725, section 3).

use super::json::{Json, Object, read_object};
use super::{Claims, Tenants, TokenError};
use crate::id::{StampId, TenantId};
use crate::table::IssuerRule;
use crate::time::UnixSeconds;

/// The longest from `iat` to `exp`, in seconds: a stolen token is good for a day at most.
pub const LIFETIME_SECONDS_MAX: u64 = 24 * 60 * 60;
/// The most that clocks may differ, in seconds, whatever is configured.
pub const LEEWAY_SECONDS_MAX: u64 = 60;

/// Dates beyond the year 9999 are mistakes, or attempts to overflow something.
const SECONDS_MAX: u64 = 253_402_300_799;

/// A claims set that was read, and that nobody vouches for yet.
#[derive(Clone, Debug, PartialEq)]
pub struct Unverified(Object);

impl Unverified {
    /// Reads the claims set of a token.
    pub fn read(json: &[u8]) -> Result<Self, TokenError> {
        read_object(json).map(Self)
    }

    /// Whom the token names as its issuer: good for finding the keys to check it with, and for
    /// nothing else.
    #[must_use]
    pub fn issuer(&self) -> Option<&str> {
        match self.0.get("iss") {
            Some(Json::Text(issuer)) => Some(issuer),
            _ => None,
        }
    }

    /// Checks everything but the signature, and takes out what routing needs.
    ///
    /// A token without the tenant claim does not say whose it is, so it is refused, even where a
    /// stamp claim is there.
    pub fn check(&self, rule: &IssuerRule, now: UnixSeconds) -> Result<Claims, TokenError> {
        if self.issuer() != Some(&*rule.issuer) {
            return Err(TokenError::Issuer);
        }
        self.check_audience(rule)?;
        let expires_at = self.check_dates(rule, now)?;
        Ok(Claims {
            issuer: rule.issuer.clone(),
            tenants: self.tenants(&rule.tenant_claim)?,
            stamp: self.stamp(rule.stamp_claim.as_deref())?,
            expires_at,
        })
    }

    fn check_audience(&self, rule: &IssuerRule) -> Result<(), TokenError> {
        let is_ours = |name: &String| rule.audiences.iter().any(|ours| **ours == **name);
        let mut found = false;
        match self.0.get("aud") {
            Some(Json::Text(name)) => found = is_ours(name),
            Some(Json::List(names)) => {
                for name in names {
                    let Json::Text(name) = name else { return Err(TokenError::Audience) };
                    found |= is_ours(name);
                }
            }
            _ => {}
        }
        if found { Ok(()) } else { Err(TokenError::Audience) }
    }

    fn check_dates(&self, rule: &IssuerRule, now: UnixSeconds) -> Result<UnixSeconds, TokenError> {
        let leeway = rule.leeway.as_secs().min(LEEWAY_SECONDS_MAX);
        let expires_at = self.date("exp")?.ok_or(TokenError::Date)?;
        let begins_at = self.date("nbf")?;
        let issued_at = self.date("iat")?;
        if now.0 >= expires_at + leeway {
            return Err(TokenError::Expired);
        }
        if begins_at.into_iter().chain(issued_at).any(|date| date > now.0.saturating_add(leeway)) {
            return Err(TokenError::NotYetValid);
        }
        if issued_at.is_some_and(|date| expires_at.saturating_sub(date) > LIFETIME_SECONDS_MAX) {
            return Err(TokenError::LivesTooLong);
        }
        Ok(UnixSeconds(expires_at))
    }

    /// A `NumericDate`: whole seconds, parts of a second cut off (RFC 7519, section 2).
    fn date(&self, name: &str) -> Result<Option<u64>, TokenError> {
        let seconds = match self.0.get(name) {
            None => return Ok(None),
            Some(Json::Whole(seconds)) => *seconds,
            Some(Json::Decimal(seconds)) if (0.0..1e12).contains(seconds) => {
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "in range and not negative, by the guard"
                )]
                let whole = *seconds as u64;
                whole
            }
            Some(_) => return Err(TokenError::Date),
        };
        if seconds > SECONDS_MAX {
            return Err(TokenError::Date);
        }
        Ok(Some(seconds))
    }

    /// The tenant claim: a tenant id, or a list of them. What is in a list that is no tenant id
    /// spoils the list.
    fn tenants(&self, path: &[Box<str>]) -> Result<Tenants, TokenError> {
        match self.at(path) {
            Some(Json::List(list)) => {
                let tenants: Result<Vec<_>, _> = list.iter().map(tenant).collect();
                Tenants::of(tenants?).ok_or(TokenError::Tenant)
            }
            Some(value) => tenant(value).map(Tenants::one),
            None => Err(TokenError::Tenant),
        }
    }

    fn stamp(&self, path: Option<&[Box<str>]>) -> Result<Option<StampId<'static>>, TokenError> {
        let text = match path.and_then(|path| self.at(path)) {
            None => return Ok(None),
            Some(Json::Text(text)) => text,
            Some(_) => return Err(TokenError::Stamp),
        };
        match StampId::parse(text) {
            Ok(id) if id.as_str() == text => Ok(Some(id.into_owned())),
            Ok(_) | Err(_) => Err(TokenError::Stamp),
        }
    }

    fn at(&self, path: &[Box<str>]) -> Option<&Json> {
        let (first, rest) = path.split_first()?;
        rest.iter().try_fold(self.0.get(&**first)?, |value, name| match value {
            Json::Object(members) => members.get(&**name),
            Json::Text(_) | Json::Whole(_) | Json::Decimal(_) | Json::List(_) | Json::Other => None,
        })
    }
}

/// A tenant id as it stands. Upper case is not folded here: two tenants of an issuer that tells case
/// apart must not become one.
fn tenant(value: &Json) -> Result<TenantId<'static>, TokenError> {
    let Json::Text(text) = value else { return Err(TokenError::Tenant) };
    match TenantId::parse(text) {
        Ok(id) if id.as_str() == text => Ok(id.into_owned()),
        Ok(_) | Err(_) => Err(TokenError::Tenant),
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::time::Duration;

    use super::*;
    use crate::table::{Algorithm, KeySource};

    const NOW: u64 = 1_000_000;

    fn rule() -> IssuerRule {
        IssuerRule {
            issuer: "https://issuer.test".into(),
            audiences: vec!["gateway".into(), "api".into()],
            algorithms: vec![Algorithm::RS256],
            keys: KeySource::JwksFile(PathBuf::new()),
            tenant_claim: vec!["org".into(), "id".into()],
            stamp_claim: Some(vec!["stamp".into()]),
            leeway: Duration::from_secs(30),
        }
    }

    fn checked(json: &str) -> Result<Claims, TokenError> {
        Unverified::read(json.as_bytes()).unwrap().check(&rule(), UnixSeconds(NOW))
    }

    /// A good claims set in which `member` stands in the place of its namesake.
    fn with(member: &str) -> Result<Claims, TokenError> {
        let good = [
            r#""iss":"https://issuer.test""#,
            r#""aud":"gateway""#,
            r#""exp":1000300"#,
            r#""org":{"id":"acme"}"#,
        ];
        let name = member.split(':').next().unwrap();
        let others = good.into_iter().filter(|other| !other.starts_with(name));
        let members: Vec<&str> = others.chain([member]).collect();
        checked(&format!("{{{}}}", members.join(",")))
    }

    #[track_caller]
    fn refused(member: &str, error: TokenError) {
        assert_eq!(with(member), Err(error), "{member}");
    }

    #[track_caller]
    fn accepted(member: &str) -> Claims {
        with(member).unwrap_or_else(|error| panic!("{member}: {error}"))
    }

    #[test]
    fn a_good_claims_set_names_its_tenant() {
        let claims = accepted(r#""sub":"u1""#);
        assert_eq!(claims.tenants, Tenants::one(TenantId::parse("acme").unwrap()));
        assert_eq!(claims.stamp, None);
        assert_eq!(claims.expires_at, UnixSeconds(1_000_300));
    }

    #[test]
    fn the_issuer_must_be_equal() {
        for issuer in [r#""https://issuer.test/""#, r#""HTTPS://issuer.test""#, "null", "[]"] {
            refused(&format!(r#""iss":{issuer}"#), TokenError::Issuer);
        }
    }

    #[test]
    fn one_of_our_audiences_must_be_named() {
        accepted(r#""aud":"api""#);
        accepted(r#""aud":["x","gateway"]"#);
        for other in [
            r#""other""#,
            r#""gateway.evil.test""#,
            r#""gatewa""#,
            r#""Gateway""#,
            r#""gateway x""#,
            "[]",
            "null",
            "1",
            r#"[["gateway"]]"#,
            r#"["gateway",1]"#,
            r#"{"gateway":1}"#,
        ] {
            refused(&format!(r#""aud":{other}"#), TokenError::Audience);
        }
    }

    #[test]
    fn a_token_is_good_until_its_expiry_and_leeway() {
        accepted(r#""exp":999971"#);
        refused(r#""exp":999970"#, TokenError::Expired);
        accepted(r#""exp":999971.9"#);
        refused(r#""exp":999970.9"#, TokenError::Expired);
        refused(r#""exp":0"#, TokenError::Expired);
        refused(r#""exp":-0.0"#, TokenError::Expired);
    }

    #[test]
    fn an_expiry_is_demanded_and_must_be_a_date() {
        let without = r#"{"iss":"https://issuer.test","aud":"api","org":{"id":"acme"}}"#;
        assert_eq!(checked(without), Err(TokenError::Date));
        for other in [
            r#""1000300""#,
            "null",
            "true",
            "-1",
            "-1.5",
            "[1000300]",
            "1e300",
            "253402300800",
            "18446744073709551615",
            "18446744073709551616",
        ] {
            refused(&format!(r#""exp":{other}"#), TokenError::Date);
        }
    }

    #[test]
    fn a_token_is_not_good_before_its_time() {
        accepted(r#""nbf":1000030"#);
        refused(r#""nbf":1000031"#, TokenError::NotYetValid);
        refused(r#""nbf":"1""#, TokenError::Date);
        refused(r#""nbf":null"#, TokenError::Date);
        accepted(r#""iat":1000030"#);
        refused(r#""iat":1000031"#, TokenError::NotYetValid);
        refused(r#""iat":{}"#, TokenError::Date);
    }

    #[test]
    fn a_token_lives_for_a_day_at_most() {
        let lives = |from: u64, until: u64| {
            checked(&format!(
                r#"{{"iss":"https://issuer.test","aud":"api","org":{{"id":"a"}},"iat":{from},"exp":{until}}}"#
            ))
        };
        assert!(lives(NOW, NOW + LIFETIME_SECONDS_MAX).is_ok());
        assert_eq!(lives(NOW, NOW + LIFETIME_SECONDS_MAX + 1), Err(TokenError::LivesTooLong));
    }

    #[test]
    fn no_configuration_makes_the_leeway_longer_than_a_minute() {
        let lax = IssuerRule { leeway: Duration::from_secs(86_400), ..rule() };
        let json = br#"{"iss":"https://issuer.test","aud":"api","exp":999940,"org":{"id":"a"}}"#;
        let claims = Unverified::read(json).unwrap();
        assert_eq!(claims.check(&lax, UnixSeconds(NOW)), Err(TokenError::Expired));
        assert!(claims.check(&lax, UnixSeconds(NOW - 1)).is_ok());
    }

    #[test]
    fn the_tenant_claim_is_a_tenant_id_as_it_stands() {
        for other in [
            r#"{"id":"ACME"}"#,
            r#"{"id":""}"#,
            r#"{"id":"a b"}"#,
            r#"{"id":"a,b"}"#,
            r#"{"id":"acme\u0000globex"}"#,
            r#"{"id":"acme\r\nX-Stamp-Id: eu-2"}"#,
            r#"{"id":"acmé"}"#,
            r#"{"id":" acme"}"#,
            r#"{"id":[]}"#,
            r#"{"id":[["acme"]]}"#,
            r#"{"id":["acme","ACME"]}"#,
            r#"{"id":["acme",1]}"#,
            r#"{"id":["acme",""]}"#,
            r#"{"id":1}"#,
            r#"{"id":null}"#,
            r#"{"id":{"id":"acme"}}"#,
            r#"{}"#,
            r#""acme""#,
            r#"[{"id":"acme"}]"#,
        ] {
            refused(&format!(r#""org":{other}"#), TokenError::Tenant);
        }
    }

    #[test]
    fn a_list_of_tenants_names_each_of_them_once() {
        let named = |json: &str| {
            let claims = accepted(&format!(r#""org":{{"id":{json}}}"#));
            let names: Vec<String> = claims.tenants.iter().map(ToString::to_string).collect();
            (names.join(" "), claims.tenants.only().map(ToString::to_string))
        };
        assert_eq!(named(r#"["globex","acme","globex"]"#), ("acme globex".to_owned(), None));
        assert_eq!(named(r#"["acme"]"#), ("acme".to_owned(), Some("acme".to_owned())));
        assert_eq!(named(r#"["acme","acme"]"#).1.as_deref(), Some("acme"));
    }

    #[test]
    fn a_dotted_member_is_not_a_path() {
        let json = r#"{"iss":"https://issuer.test","aud":"api","exp":1000300,"org.id":"acme"}"#;
        assert_eq!(checked(json), Err(TokenError::Tenant));
    }

    #[test]
    fn a_stamp_claim_is_a_stamp_id_or_absent() {
        assert_eq!(accepted(r#""stamp":"eu-1""#).stamp.unwrap().as_str(), "eu-1");
        for other in [r#""EU-1""#, r#""eu_1""#, r#"["eu-1"]"#, "null", r#""""#] {
            refused(&format!(r#""stamp":{other}"#), TokenError::Stamp);
        }
    }

    #[test]
    fn a_stamp_claim_that_is_not_configured_is_not_read() {
        let rule = IssuerRule { stamp_claim: None, ..rule() };
        let json = br#"{"iss":"https://issuer.test","aud":"api","exp":1000300,"org":{"id":"a"},"stamp":"EU 1"}"#;
        let claims = Unverified::read(json).unwrap().check(&rule, UnixSeconds(NOW)).unwrap();
        assert_eq!(claims.stamp, None);
    }
}
