//! Changes the settings of the client library. It has no setters, but its settings can be serialized.

use eventstore::ClientSettings;
use serde::{
    Deserialize, Deserializer,
    de::{IntoDeserializer, Visitor, value::MapDeserializer},
    forward_to_deserialize_any,
};
use serde_json::{Error, Map, Value};

pub(super) fn of(settings: &ClientSettings) -> Result<Map<String, Value>, Error> {
    let mut fields: Map<String, Value> = serde_json::from_value(serde_json::to_value(settings)?)?;
    // The library writes texts of credentials as bytes and reads only texts.
    if let Some(Value::Object(credentials)) = fields.get_mut("default_user_name") {
        for value in credentials.values_mut() {
            let bytes: Vec<u8> = serde_json::from_value(value.take())?;
            *value = Value::String(String::from_utf8_lossy(&bytes).into_owned());
        }
    }
    Ok(fields)
}

pub(super) fn into_settings(fields: Map<String, Value>) -> Result<ClientSettings, Error> {
    let fields = fields.into_iter().map(|(name, value)| (name, Field(value)));
    ClientSettings::deserialize(MapDeserializer::<_, Error>::new(fields))
}

/// The value of a setting. The library writes times as unsigned numbers and reads only signed ones, with -1 for
/// the largest.
struct Field(Value);

impl IntoDeserializer<'_, Error> for Field {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

impl<'de> Deserializer<'de> for Field {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.0.as_u64() {
            Some(number) => visitor.visit_i64(i64::try_from(number).unwrap_or(-1)),
            None => self.0.deserialize_any(visitor),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if self.0.is_null() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.0.deserialize_enum(name, variants, visitor)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct
        newtype_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}
