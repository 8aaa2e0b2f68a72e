//! What an answer of the registry says. Pure; statuses and codes of Confluent's API as Confluent, Apicurio, Karapace
//! and Redpanda use them.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::registry::RegistryError;

/// An answer that a registry gave, as far as it is one.
#[derive(Debug, PartialEq)]
pub(super) enum Reply {
    Found(Value),
    /// No such subject, version, schema or setting.
    Missing,
    /// The schema does not fit the subject's others.
    Conflict {
        message: String,
    },
    /// The schema, or the mode, is none.
    Invalid {
        message: String,
    },
}

/// A refusal's body.
#[derive(Deserialize)]
struct Complaint {
    error_code: i64,
    #[serde(default)]
    message: String,
}

/// `GET /subjects/S/versions/V`
#[derive(Debug, Deserialize)]
pub(super) struct VersionBody {
    pub(super) id: u32,
    pub(super) version: u32,
    #[serde(flatten)]
    pub(super) schema: SchemaBody,
}

/// `GET /schemas/ids/I`
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct SchemaBody {
    schema: String,
    /// Absent: Avro.
    schema_type: Option<String>,
    references: Option<Vec<Value>>,
}

impl SchemaBody {
    /// The schema, if it is Avro and stands alone.
    pub(super) fn avro(self, at: &str) -> Result<String, RegistryError> {
        let corrupt = |detail: String| Err(RegistryError::Corrupt { at: at.to_owned(), detail });
        match self.schema_type.as_deref() {
            None | Some("AVRO") if self.references.as_ref().is_none_or(Vec::is_empty) => Ok(self.schema),
            None | Some("AVRO") => corrupt("its schema refers to other subjects".to_owned()),
            Some(other) => corrupt(format!("its schema is {}, not AVRO", quoted(other))),
        }
    }
}

/// `POST /subjects/S/versions`
#[derive(Debug, Deserialize)]
pub(super) struct IdBody {
    pub(super) id: u32,
}

/// `GET /config/S`; the second name is what older servers and `PUT` use.
#[derive(Debug, Deserialize)]
pub(super) struct ModeBody {
    #[serde(rename = "compatibilityLevel", alias = "compatibility")]
    pub(super) level: String,
}

/// `POST /compatibility/…`; `messages` only where the server has them.
#[derive(Debug, Deserialize)]
pub(super) struct CompatibilityBody {
    pub(super) is_compatible: bool,
    #[serde(default)]
    pub(super) messages: Vec<String>,
}

/// A subject that may only be read (Confluent, "READONLY mode").
const READ_ONLY: i64 = 42205;

/// Sorts an answer by its status and body; `location` is where a redirect points.
///
/// # Errors
/// `Unreachable`, `Denied` and `NoRegistry` when it is no answer about the schema.
pub(super) fn read(status: u16, location: Option<&str>, body: &[u8]) -> Result<Reply, RegistryError> {
    let complaint = serde_json::from_slice::<Complaint>(body).ok();
    let told = || match &complaint {
        Some(c) if !c.message.is_empty() => format!("{status}: {}", quoted(&c.message)),
        _ => format!("{status} {}", quoted(&String::from_utf8_lossy(&body[..body.len().min(TOLD_BYTES_MAX)]))).trim_end().to_owned(),
    };
    let no_registry = |detail: String| Err(RegistryError::NoRegistry { detail });
    let message = |c: &Complaint| quoted(&c.message);
    match (status, &complaint) {
        (200..=299, _) => match serde_json::from_slice(body) {
            Ok(value) => Ok(Reply::Found(value)),
            Err(e) => no_registry(format!("its answer is not JSON: {e}")),
        },
        (300..=399, _) => no_registry(match location {
            Some(to) => format!("it redirects to {}; say that URL instead", quoted(to)),
            None => told(),
        }),
        (401, _) => Err(RegistryError::Denied { detail: format!("the credentials are missing or wrong ({})", told()) }),
        (403, _) => Err(RegistryError::Denied { detail: format!("the credentials have no right to this ({})", told()) }),
        // 404 itself is a path that is not there.
        (404, Some(c)) if (40400..=40499).contains(&c.error_code) => Ok(Reply::Missing),
        (404 | 405, _) => no_registry(format!("{}; is the path of its URL right?", told())),
        (409, Some(c)) => Ok(Reply::Conflict { message: message(c) }),
        (422, Some(c)) if c.error_code != READ_ONLY => Ok(Reply::Invalid { message: message(c) }),
        (408 | 429 | 500..=599, _) => Err(RegistryError::Unreachable { detail: told() }),
        _ => Err(RegistryError::Denied { detail: told() }),
    }
}

/// Reads what was found as `T`; `at` names it.
///
/// # Errors
/// `NoRegistry`: JSON, but not the API's.
pub(super) fn found<T: DeserializeOwned>(value: Value, at: &str) -> Result<T, RegistryError> {
    serde_json::from_value(value).map_err(|e| RegistryError::NoRegistry { detail: format!("its answer about {at}: {e}") })
}

/// Bytes of an answer that are repeated in an error.
const TOLD_BYTES_MAX: usize = 200;

/// A text from outside, on one line and not too long.
fn quoted(text: &str) -> String {
    let mut short: String = text.chars().take(MESSAGE_CHARS_MAX).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short.trim().to_owned()
}

/// Characters of a server's message that are kept; a list of many differences is long.
const MESSAGE_CHARS_MAX: usize = 2_000;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn answers_are_sorted_by_what_they_say_about_the_schema() {
        let kind = |status, body: &str| match read(status, None, body.as_bytes()) {
            Ok(Reply::Found(_)) => "found",
            Ok(Reply::Missing) => "missing",
            Ok(Reply::Conflict { .. }) => "conflict",
            Ok(Reply::Invalid { .. }) => "invalid",
            Err(RegistryError::Unreachable { .. }) => "unreachable",
            Err(RegistryError::Denied { .. }) => "denied",
            Err(RegistryError::NoRegistry { .. }) => "no registry",
            Err(_) => "another error",
        };
        for (status, body, expected) in [
            (200, r#"{"id":1}"#, "found"),
            (200, "[1,2]", "found"),
            (200, "<html>Back soon</html>", "no registry"),
            (200, "", "no registry"),
            (301, "", "no registry"),
            (400, "", "denied"),
            (401, r#"{"error_code":40101,"message":"Unauthorized"}"#, "denied"),
            (403, "", "denied"),
            // Confluent's codes of subjects, versions, schemas and settings that are not there; Apicurio has 40401 for the last.
            (404, r#"{"error_code":40401,"message":"Subject not found."}"#, "missing"),
            (404, r#"{"error_code":40402}"#, "missing"),
            (404, r#"{"error_code":40403,"message":"Schema not found"}"#, "missing"),
            (404, r#"{"error_code":40408,"message":"no subject-level compatibility"}"#, "missing"),
            // A path that is not there, by Confluent, Apicurio and a proxy.
            (404, r#"{"error_code":404,"message":"HTTP 404 Not Found"}"#, "no registry"),
            (404, "", "no registry"),
            (404, "default backend - 404", "no registry"),
            (405, r#"{"error_code":405}"#, "no registry"),
            (409, r#"{"error_code":409,"message":"incompatible"}"#, "conflict"),
            (409, "conflict", "denied"),
            (422, r#"{"error_code":42201,"message":"Invalid schema"}"#, "invalid"),
            (422, r#"{"error_code":42205,"message":"Subject x is in read-only mode"}"#, "denied"),
            (422, "", "denied"),
            (429, "", "unreachable"),
            (500, r#"{"error_code":50001,"message":"Error in the backend data store"}"#, "unreachable"),
            (503, "<html>", "unreachable"),
        ] {
            assert_eq!(kind(status, body), expected, "{status} {body}");
        }
    }

    #[test]
    fn what_is_told_of_an_answer_is_short_and_on_one_line() {
        let detail = read(503, None, "a\r\nb\u{1b}[31m".repeat(10_000).as_bytes()).unwrap_err().to_string();
        assert!(detail.len() < 400 && !detail.contains(char::is_control), "{detail:?}");
        let moved = read(308, Some("https://other/"), b"").unwrap_err().to_string();
        assert!(moved.contains("https://other/"), "{moved}");
    }

    #[test]
    fn schemas_that_are_not_avro_or_do_not_stand_alone_are_not_ours() {
        let avro = |body: Value| found::<SchemaBody>(body, "x").and_then(|b| b.avro("x"));
        assert_eq!(avro(json!({ "schema": "\"int\"" })), Ok("\"int\"".to_owned()));
        assert_eq!(avro(json!({ "schema": "\"int\"", "schemaType": "AVRO", "references": [] })), Ok("\"int\"".to_owned()));
        for (body, told) in [
            (json!({ "schema": "{}", "schemaType": "JSON" }), "is JSON"),
            (json!({ "schema": "\"a\"", "references": [{ "name": "a", "subject": "a", "version": 1 }] }), "refers to"),
        ] {
            let error = avro(body).unwrap_err();
            assert!(matches!(&error, RegistryError::Corrupt { detail, .. } if detail.contains(told)), "{error}");
        }
        assert!(matches!(avro(json!({ "id": 1 })), Err(RegistryError::NoRegistry { .. })));
    }
}
