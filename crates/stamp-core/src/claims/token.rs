//! A compact JWS taken apart (RFC 7515, section 7.1): three parts, decoded, and the header read.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::TokenError;
use super::json::{Json, Object, read_object};
use crate::table::Algorithm;

/// The longest token that is looked at, in bytes.
pub const TOKEN_BYTES_MAX: usize = 8 * 1024;

/// Is this bearer token meant as a JWT? Anything else is opaque and says nothing to a gateway.
///
/// `eyJ` is how every base64url text of a JSON object begins; two dots are a JWS whatever else.
#[must_use]
pub fn is_jwt_like(bearer: &str) -> bool {
    bearer.starts_with("eyJ") || bearer.bytes().filter(|byte| *byte == b'.').count() >= 2
}

/// The three parts of a token, decoded and not yet believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parts<'t> {
    /// What the signature covers: header and claims as they came, with the dot between them.
    pub signed: &'t str,
    /// The JOSE header, as JSON text.
    pub header: Vec<u8>,
    /// The claims set, as JSON text.
    pub claims: Vec<u8>,
    /// The signature.
    pub signature: Vec<u8>,
}

/// Takes a token apart.
pub fn split(token: &str) -> Result<Parts<'_>, TokenError> {
    if token.len() > TOKEN_BYTES_MAX {
        return Err(TokenError::TooLong);
    }
    let (signed, signature) = token.rsplit_once('.').ok_or(TokenError::Parts)?;
    let (header, claims) = signed.split_once('.').ok_or(TokenError::Parts)?;
    if claims.contains('.') {
        return Err(TokenError::Parts);
    }
    Ok(Parts {
        signed,
        header: decode(header)?,
        claims: decode(claims)?,
        signature: decode(signature)?,
    })
}

fn decode(part: &str) -> Result<Vec<u8>, TokenError> {
    // This engine refuses padding, other alphabets, white space and stray trailing bits.
    URL_SAFE_NO_PAD.decode(part).or(Err(TokenError::Encoding))
}

/// The part of a JOSE header that counts (RFC 7515, section 4.1). `jku`, `jwk`, `x5u` and `x5c`
/// are not even read: keys come from configuration only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// How the token says it is signed: an index into the configured keys, never a choice.
    pub algorithm: Algorithm,
    /// Which key the token says signed it: an index as well.
    pub key_id: Option<String>,
}

impl Header {
    /// Reads the header of a token.
    pub fn read(json: &[u8]) -> Result<Self, TokenError> {
        let members = read_object(json)?;
        if members.contains_key("crit") || members.contains_key("b64") {
            return Err(TokenError::Critical);
        }
        check_type(&members)?;
        let algorithm = match members.get("alg") {
            Some(Json::Text(name)) => algorithm_named(name).ok_or(TokenError::Algorithm)?,
            _ => return Err(TokenError::Algorithm),
        };
        let key_id = match members.get("kid") {
            None => None,
            Some(Json::Text(id)) => Some(id.clone()),
            Some(_) => return Err(TokenError::KeyId),
        };
        Ok(Self { algorithm, key_id })
    }
}

/// Exactly as registered (RFC 7518, section 3.1): `none` is not among them, in no spelling.
fn algorithm_named(name: &str) -> Option<Algorithm> {
    match name {
        "HS256" => Some(Algorithm::HS256),
        "RS256" => Some(Algorithm::RS256),
        "PS256" => Some(Algorithm::PS256),
        "ES256" => Some(Algorithm::ES256),
        "EdDSA" => Some(Algorithm::EdDSA),
        _ => None,
    }
}

/// `typ` may be absent, `JWT` or `at+jwt`, in any case, with or without `application/` (RFC 9068,
/// section 2.1): a logout token or a proof of possession is not one to route by.
fn check_type(members: &Object) -> Result<(), TokenError> {
    let kind = match members.get("typ") {
        None => return Ok(()),
        Some(Json::Text(kind)) => kind.to_ascii_lowercase(),
        Some(_) => return Err(TokenError::Type),
    };
    match kind.strip_prefix("application/").unwrap_or(&kind) {
        "jwt" | "at+jwt" => Ok(()),
        _ => Err(TokenError::Type),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn header(json: &str) -> Result<Header, TokenError> {
        Header::read(json.as_bytes())
    }

    #[test]
    fn a_token_is_three_parts() {
        let parts = split("e30.e30.AAAA").unwrap();
        assert_eq!(parts.signed, "e30.e30");
        assert_eq!(parts.header, b"{}");
        assert_eq!(parts.signature, [0, 0, 0]);
        for token in ["", "e30", "e30.e30", "e30.e30.AA.AA", "e30.e30.AA.AA.AA"] {
            assert_eq!(split(token), Err(TokenError::Parts), "{token}");
        }
    }

    #[test]
    fn only_base64url_without_padding_is_read() {
        for token in [
            "e30=.e30.AA",
            "e30.e30.A+/A",
            "e30.e 30.AA",
            "e30.e30.AA==",
            "e31.e30.AA",
            "e30.e30.é",
        ] {
            assert_eq!(split(token), Err(TokenError::Encoding), "{token}");
        }
    }

    #[test]
    fn a_token_has_at_most_8_kib() {
        let token = format!("e30.e30.{}", "A".repeat(TOKEN_BYTES_MAX - 8));
        assert!(split(&token).is_ok());
        assert_eq!(split(&format!("{token}A")), Err(TokenError::TooLong));
    }

    #[test]
    fn a_bearer_is_a_jwt_by_its_beginning_or_its_dots() {
        assert!(is_jwt_like("eyJhbGciOiJub25lIn0"));
        assert!(is_jwt_like("a.b.c"));
        assert!(!is_jwt_like("a.b"));
        assert!(!is_jwt_like("0123456789abcdef"));
        assert!(!is_jwt_like(""));
    }

    #[test]
    fn algorithm_and_key_id_are_read() {
        let read = header(r#"{"alg":"ES256","kid":"k1","typ":"JWT"}"#).unwrap();
        assert_eq!(read, Header { algorithm: Algorithm::ES256, key_id: Some("k1".to_owned()) });
    }

    #[test]
    fn an_algorithm_is_named_exactly() {
        let others = [
            r#""none""#,
            r#""NONE""#,
            r#""""#,
            r#""rs256""#,
            r#""RS256 ""#,
            r#""RS512""#,
            r#"["RS256"]"#,
            "null",
            "256",
            r#"{"RS256":1}"#,
        ];
        for other in others {
            assert_eq!(header(&format!(r#"{{"alg":{other}}}"#)), Err(TokenError::Algorithm));
        }
        assert_eq!(header("{}"), Err(TokenError::Algorithm));
    }

    #[test]
    fn every_critical_extension_is_refused() {
        for extension in [r#""crit":["b64"]"#, r#""crit":[]"#, r#""crit":null"#, r#""b64":false"#] {
            let json = format!(r#"{{"alg":"RS256",{extension}}}"#);
            assert_eq!(header(&json), Err(TokenError::Critical), "{json}");
        }
    }

    #[test]
    fn types_of_other_tokens_are_refused() {
        for kind in ["JWT", "jwt", "at+jwt", "AT+JWT", "application/jwt", "application/at+jwt"] {
            assert!(header(&format!(r#"{{"alg":"RS256","typ":"{kind}"}}"#)).is_ok(), "{kind}");
        }
        for kind in [r#""dpop+jwt""#, r#""logout+jwt""#, r#""""#, "1", "null"] {
            assert_eq!(
                header(&format!(r#"{{"alg":"RS256","typ":{kind}}}"#)),
                Err(TokenError::Type)
            );
        }
    }

    #[test]
    fn a_key_id_is_a_text() {
        for id in ["1", "null", r#"["k1"]"#] {
            assert_eq!(header(&format!(r#"{{"alg":"RS256","kid":{id}}}"#)), Err(TokenError::KeyId));
        }
    }

    #[test]
    fn keys_inside_a_token_are_not_read() {
        let json = r#"{"alg":"RS256","jwk":{"kty":"oct","k":"AA"},"jku":"http://evil.test/"}"#;
        assert_eq!(header(json), Ok(Header { algorithm: Algorithm::RS256, key_id: None }));
    }
}
