//! What every implementation of the registry seam promises.

use std::sync::Arc;

use lakegate::domain::names::{SchemaVersion, Subject};
use lakegate::registry::{RegistryError, SchemaRegistry};
use lakegate::schema::options::Compatibility;
use uuid::Uuid;

pub fn schema(fields: &[&str]) -> String {
    let fields: Vec<String> =
        fields.iter().map(|f| if f.starts_with('{') { (*f).to_owned() } else { format!(r#"{{"name":"{f}","type":"string"}}"#) }).collect();
    format!(r#"{{"type":"record","name":"r","fields":[{}]}}"#, fields.join(","))
}

const ADDED: &str = r#"{"name":"added","type":["null","string"],"default":null}"#;
const OTHER: &str = r#"{"name":"other","type":["null","string"],"default":null}"#;

/// Two instances of one registry; `fresh` makes a subject that nobody used before, of the same kind and length.
pub async fn contract(one: Arc<dyn SchemaRegistry>, other: Arc<dyn SchemaRegistry>, fresh: impl Fn(&str) -> Subject) {
    let subject = fresh("orders/2-value");
    assert_eq!(one.latest(&subject).await.unwrap(), None);
    assert_eq!(one.mode(&subject).await.unwrap(), Compatibility::BackwardTransitive);

    let first = one.register(&subject, &schema(&["a"])).await.unwrap();
    assert_eq!(first.version, SchemaVersion(1));
    assert_eq!(one.register(&subject, &schema(&["a"])).await.unwrap(), first, "the same schema again is the same version");
    assert_eq!(other.latest(&subject).await.unwrap(), Some(first.clone()), "seen by another instance");
    assert_eq!(other.by_id(first.id).await.unwrap(), first.schema);

    let second = other.register(&subject, &schema(&["a", ADDED])).await.unwrap();
    assert_eq!(second.version, SchemaVersion(2));
    assert_ne!(second.id, first.id);
    assert_eq!(one.versions(&subject).await.unwrap(), [first, second]);

    let refused = one.register(&subject, &schema(&["a", "required"])).await;
    assert!(matches!(refused, Err(RegistryError::Incompatible { ref messages, .. }) if !messages.is_empty()), "{refused:?}");
    assert_eq!(one.accepts(&subject, &schema(&["a", "required"])).await.map_err(Some), Err(refused.err()), "told without registering, too");
    one.accepts(&subject, &schema(&["a", ADDED])).await.unwrap();
    one.accepts(&subject, &schema(&["a", ADDED, OTHER])).await.unwrap();
    assert_eq!(one.versions(&subject).await.unwrap().len(), 2, "asking registers nothing");
    assert!(matches!(one.register(&subject, "{").await, Err(RegistryError::SchemaInvalid { .. })));
    assert!(matches!(one.accepts(&subject, "{").await, Err(RegistryError::SchemaInvalid { .. })));
    other.set_mode(&subject, Compatibility::None).await.unwrap();
    assert_eq!(one.register(&subject, &schema(&["a", "required"])).await.unwrap().version, SchemaVersion(3));
    assert!(one.by_id(lakegate::domain::names::SchemaId(999_999)).await.is_err());

    // Subjects are opaque text.
    for odd in ["a b+%2F?#\\\"", "ä", &"/".repeat(255), &"x".repeat(255)] {
        let odd = fresh(odd);
        assert_eq!(one.latest(&odd).await.unwrap(), None, "{odd} is a subject of its own");
        let registered = one.register(&odd, &schema(&["a"])).await.unwrap();
        assert_eq!(other.latest(&odd).await.unwrap(), Some(registered));
    }

    // Those two are the same on every run: another schema each time, and no mode.
    for dots in ["..", "."] {
        let subject: Subject = dots.parse().unwrap();
        let registered = one.register(&subject, &schema(&[&format!("f{}", Uuid::new_v4().simple())])).await.unwrap();
        assert_eq!(other.latest(&subject).await.unwrap(), Some(registered), "{dots}");
        one.set_mode(&subject, Compatibility::None).await.unwrap();
    }

    // Two that register at once: the same schema becomes one version, different ones two.
    let race = fresh("race-value");
    let (same, also) = (schema(&["x"]), schema(&["x"]));
    let (a, b) = futures::join!(one.register(&race, &same), other.register(&race, &also));
    let (a, b) = (a.unwrap(), b.unwrap());
    assert_eq!(a, b, "same id, same version");
    let elsewhere = fresh("elsewhere-value");
    assert_eq!(other.register(&elsewhere, &same).await.unwrap().id, a.id, "a schema has one id under every subject");
    let reordered = r#"{"fields":[{"type":"string","name":"x"}], "name":"r", "type":"record"}"#;
    assert_eq!(one.register(&race, reordered).await.unwrap(), a, "layout and key order make no new version");
    one.set_mode(&race, Compatibility::None).await.unwrap();
    let (left, right) = (schema(&["l"]), schema(&["r"]));
    let (a, b) = futures::join!(one.register(&race, &left), other.register(&race, &right));
    let mut versions = [a.unwrap().version.0, b.unwrap().version.0];
    versions.sort_unstable();
    assert_eq!(versions, [2, 3]);

    // Two that register the same schema at once, again and again: never two versions of it, and never an error.
    for n in 0..20 {
        let same = schema(&["x", "y", &format!("n{n}")]);
        let (a, b) = futures::join!(one.register(&race, &same), other.register(&race, &same));
        assert_eq!(a.unwrap(), b.unwrap());
    }
    assert_eq!(one.versions(&race).await.unwrap().len(), 23);

    // A subject without a mode of its own is judged by ours, whatever the registry's is, from its second version on.
    let plain = fresh("plain-value");
    one.register(&plain, &schema(&["a"])).await.unwrap();
    assert_eq!(other.mode(&plain).await.unwrap(), Compatibility::BackwardTransitive);
    assert!(matches!(other.register(&plain, &schema(&["b"])).await, Err(RegistryError::Incompatible { .. })));
    let aliased = schema(&[r#"{"name":"b","type":"string","aliases":["a"]}"#]);
    other.register(&plain, &aliased).await.expect("a renamed field with its alias reads what was written");

    // Every mode is kept as it was said.
    for mode in Compatibility::ALL {
        one.set_mode(&plain, mode).await.unwrap();
        assert_eq!(other.mode(&plain).await.unwrap(), mode);
    }
}
