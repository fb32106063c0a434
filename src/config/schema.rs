//! JSON Schemas for editors: one for `lifeboat.toml`, one for a job file.

use schemars::{JsonSchema, Schema};
use serde_json::{Value, json};

use super::raw::{RawJob, RawLifeboat};

/// Which file a schema describes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SchemaOf {
    Lifeboat,
    Job,
}

/// The schemas of the tables that the capability rooms own, by their `type`. What has no schema is any table.
#[derive(Debug, Clone, Default)]
pub struct RoomSchemas {
    /// `[source]`.
    pub sources: Vec<(String, Schema)>,
    /// `[targets.NAME]`.
    pub targets: Vec<(String, Schema)>,
    /// `[[restore_test.check]]`.
    pub checks: Vec<(String, Schema)>,
    /// `[scratch.ENGINE]`.
    pub scratch: Vec<(String, Schema)>,
}

/// The JSON Schema (draft 2020-12) of one kind of file.
pub fn schema(of: SchemaOf, rooms: &RoomSchemas) -> Value {
    match of {
        SchemaOf::Lifeboat => {
            let mut root = root::<RawLifeboat>("lifeboat.toml");
            place(&mut root, "/properties/targets/additionalProperties", "target", &rooms.targets);
            for engine in &rooms.scratch {
                let pointer = format!("/$defs/RawScratch/properties/{}", engine.0);
                place(&mut root, &pointer, "scratch", std::slice::from_ref(engine));
            }
            root
        }
        SchemaOf::Job => {
            let mut root = root::<RawJob>("a job of Lifeboat");
            place(&mut root, "/properties/source", "source", &rooms.sources);
            place(&mut root, "/$defs/RawRestoreTest/properties/check/items", "check", &rooms.checks);
            root
        }
    }
}

fn root<T: JsonSchema>(title: &str) -> Value {
    let mut root = schemars::SchemaGenerator::default().into_root_schema_for::<T>().to_value();
    root["title"] = json!(title);
    root
}

/// Puts the rooms' schemas where `pointer` stands, each definition under a name of its own.
fn place(root: &mut Value, pointer: &str, family: &str, schemas: &[(String, Schema)]) {
    let mut choices = Vec::new();
    for (name, schema) in schemas {
        let mut schema = schema.clone().to_value();
        let prefix = format!("{family}-{name}-");
        let definitions = schema.as_object_mut().and_then(|object| {
            object.remove("$schema");
            object.remove("$defs")
        });
        rename_references(&mut schema, &prefix);
        if let Some(Value::Object(definitions)) = definitions {
            for (definition, mut value) in definitions {
                rename_references(&mut value, &prefix);
                root["$defs"][format!("{prefix}{definition}")] = value;
            }
        }
        choices.push(schema);
    }
    let Some(target) = root.pointer_mut(pointer) else { return };
    match choices.len() {
        0 => {}
        1 => *target = choices.remove(0),
        _ => *target = json!({ "anyOf": choices }),
    }
}

fn rename_references(value: &mut Value, prefix: &str) {
    match value {
        Value::Object(object) => {
            for (key, value) in object.iter_mut() {
                match (key.as_str(), value.as_str().and_then(|text| text.strip_prefix("#/$defs/"))) {
                    ("$ref", Some(name)) => *value = json!(format!("#/$defs/{prefix}{name}")),
                    _ => rename_references(value, prefix),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| rename_references(item, prefix)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::SecretRef;

    #[derive(JsonSchema)]
    #[expect(dead_code, reason = "only its schema is wanted")]
    struct Room {
        password: SecretRef,
    }

    #[test]
    fn the_rooms_schemas_stand_in_their_places_and_every_reference_leads_somewhere() {
        let room = || schemars::schema_for!(Room);
        let rooms = RoomSchemas {
            sources: vec![("postgres".into(), room())],
            targets: vec![("s3".into(), room()), ("directory".into(), room())],
            checks: vec![("sql".into(), room())],
            scratch: vec![("postgres".into(), room()), ("redis".into(), room()), ("objects".into(), room())],
        };
        let job = schema(SchemaOf::Job, &rooms);
        assert!(job.pointer("/properties/source/properties/password").is_some(), "{job:#}");
        assert!(job.pointer("/$defs/RawRestoreTest/properties/check/items/properties/password").is_some(), "{job:#}");
        let lifeboat = schema(SchemaOf::Lifeboat, &rooms);
        assert_eq!(lifeboat["properties"]["targets"]["additionalProperties"]["anyOf"].as_array().unwrap().len(), 2);
        assert!(lifeboat.pointer("/$defs/RawScratch/properties/postgres/properties/password").is_some());
        assert!(lifeboat.pointer("/$defs/RawScratch/properties/redis/properties/password").is_some());
        for root in [job, lifeboat] {
            assert_references(&root, &root);
        }
    }

    fn assert_references(root: &Value, value: &Value) {
        match value {
            Value::Object(object) => {
                if let Some(reference) = object.get("$ref").and_then(Value::as_str) {
                    assert!(root.pointer(reference.trim_start_matches('#')).is_some(), "{reference} leads nowhere");
                }
                object.values().for_each(|value| assert_references(root, value));
            }
            Value::Array(items) => items.iter().for_each(|item| assert_references(root, item)),
            _ => {}
        }
    }
}
