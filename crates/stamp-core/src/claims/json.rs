//! JSON as a token may hold it (RFC 8259), read strictly: no member twice, no deep nesting, nothing
//! after the value. `serde_json` alone would let the last of two equal members win.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use super::TokenError;

/// The deepest nesting of objects and lists that is read.
pub const LEVELS_MAX: u8 = 32;

/// Members by name.
pub(super) type Object = BTreeMap<String, Json>;

/// A JSON value, as far as claims need it.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Json {
    Text(String),
    Whole(u64),
    Decimal(f64),
    List(Vec<Self>),
    Object(Object),
    /// `null`, `true`, `false` and negative whole numbers: no claim that is read may be one.
    Other,
}

/// Reads one object and nothing else.
pub(super) fn read_object(bytes: &[u8]) -> Result<Object, TokenError> {
    let refused = Cell::new(TokenError::Json);
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value = Value { levels_left: LEVELS_MAX, refused: &refused }.deserialize(&mut reader);
    let value = value.and_then(|value| reader.end().map(|()| value));
    match value {
        Ok(Json::Object(members)) => Ok(members),
        Ok(Json::Text(_) | Json::Whole(_) | Json::Decimal(_) | Json::List(_) | Json::Other) => {
            Err(TokenError::NotAnObject)
        }
        // What serde_json says quotes the token's bytes; the log gets the kind of mistake only.
        Err(_) => Err(refused.get()),
    }
}

#[derive(Clone, Copy)]
struct Value<'c> {
    levels_left: u8,
    /// Why this reader refused, for serde's own errors carry text only.
    refused: &'c Cell<TokenError>,
}

impl Value<'_> {
    fn deeper<E: Error>(self) -> Result<Self, E> {
        match self.levels_left.checked_sub(1) {
            Some(levels_left) => Ok(Self { levels_left, ..self }),
            None => Err(self.refuse(TokenError::TooDeep)),
        }
    }

    fn refuse<E: Error>(self, why: TokenError) -> E {
        self.refused.set(why);
        E::custom(why)
    }
}

impl<'de> DeserializeSeed<'de> for Value<'_> {
    type Value = Json;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Json, D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Value<'_> {
    type Value = Json;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("JSON")
    }

    fn visit_unit<E: Error>(self) -> Result<Json, E> {
        Ok(Json::Other)
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<Json, E> {
        Ok(Json::Other)
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<Json, E> {
        Ok(Json::Other)
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Json, E> {
        Ok(Json::Whole(number))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Json, E> {
        Ok(Json::Decimal(number))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Json, E> {
        Ok(Json::Text(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Json, A::Error> {
        let inner = self.deeper()?;
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(inner)? {
            list.push(item);
        }
        Ok(Json::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Json, A::Error> {
        let inner = self.deeper()?;
        let mut object = Object::new();
        while let Some(name) = members.next_key::<String>()? {
            if object.contains_key(&name) {
                return Err(self.refuse(TokenError::DuplicateMember));
            }
            object.insert(name, members.next_value_seed(inner)?);
        }
        Ok(Json::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn refused(text: &str, error: TokenError) {
        assert_eq!(read_object(text.as_bytes()), Err(error), "{text}");
    }

    fn nested(levels: usize) -> String {
        format!("{{\"a\":{}{}}}", "[".repeat(levels - 1), "]".repeat(levels - 1))
    }

    #[test]
    fn an_object_is_read() {
        let object = read_object(br#" {"a":[1,2.5,"x"],"b":{"c":null}} "#).unwrap();
        assert_eq!(
            object["a"],
            Json::List(vec![Json::Whole(1), Json::Decimal(2.5), Json::Text("x".to_owned())])
        );
    }

    #[test]
    fn a_member_twice_is_refused_at_every_level() {
        refused(r#"{"a":1,"a":1}"#, TokenError::DuplicateMember);
        refused(r#"{"a":[{"b":1,"c":2,"b":3}]}"#, TokenError::DuplicateMember);
    }

    #[test]
    fn a_member_twice_is_seen_through_escapes() {
        refused(r#"{"tid":1,"\u0074id":2}"#, TokenError::DuplicateMember);
    }

    #[test]
    fn thirty_two_levels_are_read_and_thirty_three_refused() {
        assert!(read_object(nested(32).as_bytes()).is_ok());
        refused(&nested(33), TokenError::TooDeep);
        refused(&nested(5000), TokenError::TooDeep);
    }

    #[test]
    fn anything_but_one_object_is_refused() {
        refused("[1]", TokenError::NotAnObject);
        refused("\"a\"", TokenError::NotAnObject);
        refused("null", TokenError::NotAnObject);
        refused("-1", TokenError::NotAnObject);
        for text in ["", "{", "{}{}", "{} x", "not json", "{\"a\":NaN}", "{\"a\":1e999}", "{'a':1}"]
        {
            refused(text, TokenError::Json);
        }
    }

    #[test]
    fn bytes_that_are_no_utf8_are_refused() {
        assert_eq!(read_object(b"{\"a\":\"\xff\"}"), Err(TokenError::Json));
        assert_eq!(read_object(b"\xef\xbb\xbf{}"), Err(TokenError::Json));
        refused(r#"{"a":"\ud800"}"#, TokenError::Json);
    }
}
