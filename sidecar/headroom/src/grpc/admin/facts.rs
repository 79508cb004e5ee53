//! Facts on the wire are protobuf values; inside they are JSON text.

use headroom_proto::v1::ErrorReason;
use prost_types::value::Kind;
use prost_types::{ListValue, Struct, Value};
use serde_json::{Map, Number, Value as Json};

use crate::grpc::status::WireError;

const NAME_BYTES_MAX: usize = 64;

/// How deep a fact may nest. Deeper ones are refused: reading them back would take a stack as deep.
const DEPTH_MAX: usize = 16;

/// Facts as names and JSON text; a null is a fact to remove.
pub fn to_json(facts: &Struct) -> Result<Vec<(String, Option<String>)>, WireError> {
    facts
        .fields
        .iter()
        .map(|(name, value)| {
            let fits = (1..=NAME_BYTES_MAX).contains(&name.len());
            if !fits || name.chars().any(char::is_control) {
                let problem =
                    format!("has a name that is not 1 to {NAME_BYTES_MAX} bytes of plain text");
                return Err(WireError::field("facts", problem));
            }
            let json = json_of(value, 0)
                .ok_or_else(|| WireError::field(&format!("facts.{name}"), "is not JSON"))?;
            Ok((name.clone(), (json != Json::Null).then(|| json.to_string())))
        })
        .collect()
}

/// A struct as a JSON object.
pub fn object(said: &Struct) -> Result<Map<String, Json>, WireError> {
    let fields = said.fields.iter().map(|(name, value)| {
        let json = json_of(value, 0);
        let json = json.ok_or_else(|| WireError::field(&format!("data.{name}"), "is not JSON"))?;
        Ok((name.clone(), json))
    });
    fields.collect()
}

/// A JSON object as a struct.
pub fn of_object(object: &Map<String, Json>) -> Struct {
    let fields = object.iter().map(|(name, value)| (name.clone(), value_of(value)));
    Struct { fields: fields.collect() }
}

/// JSON text as facts.
pub(super) fn of_json(facts: &[(String, String)]) -> Struct {
    let fields = facts
        .iter()
        .map(|(name, text)| {
            let json = serde_json::from_str(text).unwrap_or(Json::Null);
            (name.clone(), value_of(&json))
        })
        .collect();
    Struct { fields }
}

/// Whether a text is JSON.
pub(super) fn check_json(field: &str, text: &str) -> Result<(), WireError> {
    match serde_json::from_str::<serde::de::IgnoredAny>(text) {
        Ok(_) => Ok(()),
        Err(error) => Err(WireError {
            reason: ErrorReason::InvalidField,
            ..WireError::field(field, format!("is not JSON: {error}"))
        }),
    }
}

fn json_of(value: &Value, depth: usize) -> Option<Json> {
    if depth > DEPTH_MAX {
        return None;
    }
    Some(match value.kind.as_ref()? {
        Kind::NullValue(_) => Json::Null,
        Kind::BoolValue(yes) => Json::Bool(*yes),
        Kind::StringValue(text) => Json::String(text.clone()),
        Kind::NumberValue(number) => Json::Number(number_of(*number)?),
        Kind::ListValue(list) => {
            Json::Array(list.values.iter().map(|v| json_of(v, depth + 1)).collect::<Option<_>>()?)
        }
        Kind::StructValue(fields) => {
            let fields = fields.fields.iter();
            let fields = fields.map(|(name, v)| Some((name.clone(), json_of(v, depth + 1)?)));
            Json::Object(fields.collect::<Option<Map<_, _>>>()?)
        }
    })
}

/// A whole number stays one: protobuf values know only doubles, and "5.0 seats" reads badly.
#[expect(clippy::cast_possible_truncation, reason = "tested to be whole and below 2^53")]
fn number_of(number: f64) -> Option<Number> {
    if number.fract() == 0.0 && number.abs() < 9_007_199_254_740_992.0 {
        return Some(Number::from(number as i64));
    }
    Number::from_f64(number)
}

fn value_of(json: &Json) -> Value {
    let kind = match json {
        Json::Null => Kind::NullValue(0),
        Json::Bool(yes) => Kind::BoolValue(*yes),
        Json::String(text) => Kind::StringValue(text.clone()),
        Json::Number(number) => Kind::NumberValue(number.as_f64().unwrap_or_default()),
        Json::Array(values) => {
            Kind::ListValue(ListValue { values: values.iter().map(value_of).collect() })
        }
        Json::Object(fields) => {
            let fields = fields.iter().map(|(name, v)| (name.clone(), value_of(v))).collect();
            Kind::StructValue(Struct { fields })
        }
    };
    Value { kind: Some(kind) }
}
