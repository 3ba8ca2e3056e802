//! The JSON Schema of an event's data, derived from the golden files and from what decodes. The golden files show the
//! members and their types. A member is required if no event decodes without it.

use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::examples::{decodes, forms};

/// A name that no event knows. Structs ignore it, and maps of texts refuse its value.
const UNKNOWN_MEMBER: &str = "?";

pub fn schema(type_name: &str) -> Value {
    let forms = forms(type_name);
    let places: Vec<Place> =
        forms.iter().map(|form| Place { type_name, form, pointer: String::new() }).collect();
    schema_of(&places)
}

/// A value in a golden file.
struct Place<'a> {
    type_name: &'a str,
    form: &'a Value,
    /// RFC 6901. No name of a member needs escaping.
    pointer: String,
}

impl<'a> Place<'a> {
    fn value(&self) -> &'a Value {
        self.form.pointer(&self.pointer).unwrap()
    }

    fn at(&self, name: &str) -> Place<'a> {
        Place { pointer: format!("{}/{name}", self.pointer), ..*self }
    }

    fn member(&self, name: &str) -> Option<Place<'a>> {
        self.value().get(name).map(|_| self.at(name))
    }

    fn items(&self) -> Vec<Place<'a>> {
        let count = self.value().as_array().map_or(0, Vec::len);
        (0..count).map(|index| self.at(&index.to_string())).collect()
    }

    /// True if the event decodes after a change of the object at this place.
    fn decodes_with(&self, change: impl FnOnce(&mut Map<String, Value>)) -> bool {
        let mut changed = self.form.clone();
        change(changed.pointer_mut(&self.pointer).unwrap().as_object_mut().unwrap());
        decodes(self.type_name, &serde_json::to_vec(&changed).unwrap())
    }

    fn decodes_without(&self, name: &str) -> bool {
        self.decodes_with(|members| drop(members.remove(name)))
    }

    fn is_map(&self) -> bool {
        !self.decodes_with(|members| drop(members.insert(UNKNOWN_MEMBER.to_owned(), Value::Null)))
    }
}

/// The schema of the same value in several events.
fn schema_of(places: &[Place]) -> Value {
    let mut schema = match places.iter().find(|place| !place.value().is_null()).map(Place::value) {
        Some(Value::Object(_)) => object(places),
        Some(Value::Array(_)) => {
            let items: Vec<Place> = places.iter().flat_map(Place::items).collect();
            json!({ "type": "array", "items": schema_of(&items) })
        }
        Some(Value::String(_)) => text(places),
        Some(Value::Number(_)) => json!({ "type": "integer" }),
        Some(Value::Bool(_)) => json!({ "type": "boolean" }),
        Some(Value::Null) | None => json!({}),
    };
    if places.iter().any(|place| place.value().is_null()) && !schema["type"].is_null() {
        schema["type"] = json!([schema["type"], "null"]);
    }
    schema
}

fn object(places: &[Place]) -> Value {
    let objects: Vec<&Place> = places.iter().filter(|place| place.value().is_object()).collect();
    let names = objects.iter().flat_map(|place| place.value().as_object().unwrap().keys());
    if objects.iter().any(|place| place.is_map()) {
        let values: Vec<Place> = names.flat_map(|name| members(&objects, name)).collect();
        return json!({ "type": "object", "additionalProperties": schema_of(&values) });
    }
    let properties: Map<String, Value> =
        names.map(|name| (name.clone(), schema_of(&members(&objects, name)))).collect();
    let is_required = |name: &String| objects.iter().all(|place| !place.decodes_without(name));
    let required: Vec<&String> = properties.keys().filter(|name| is_required(name)).collect();
    json!({ "type": "object", "required": required, "properties": properties })
}

fn members<'a>(objects: &[&Place<'a>], name: &str) -> Vec<Place<'a>> {
    objects.iter().filter_map(|place| place.member(name)).collect()
}

fn text(places: &[Place]) -> Value {
    let all = |is: fn(&str) -> bool| places.iter().filter_map(|place| place.value().as_str()).all(is);
    if all(|text| Uuid::try_parse(text).is_ok()) {
        json!({ "type": "string", "format": "uuid" })
    } else if all(|text| text.parse::<domain::Timestamp>().is_ok()) {
        json!({ "type": "string", "format": "date-time" })
    } else {
        json!({ "type": "string" })
    }
}

#[test]
fn a_schema_requires_what_an_event_cannot_lack() {
    let placed = schema("order.placed.v2");
    assert_eq!(placed["required"], json!(["currency", "lines", "order_id", "placed_at", "total"]));
    let line = &placed["properties"]["lines"]["items"];
    assert_eq!(line["required"], json!(["quantity", "sku", "unit_price"]));
    assert_eq!(line["properties"]["shares"]["required"], json!([]));
    assert_eq!(placed["properties"]["payment_due_at"]["type"], json!(["string", "null"]));
}

#[test]
fn a_schema_has_the_members_of_every_golden_file() {
    let placed = schema("order.placed.v2");
    for name in ["payment", "payments", "prices_include_tax", "terms"] {
        assert!(placed["properties"][name].is_object(), "{name}");
    }
    // Any names, with texts.
    let metadata = json!({ "type": "object", "additionalProperties": { "type": "string" } });
    assert_eq!(placed["properties"]["metadata"], metadata);
}
