use super::*;

const AVRO: &str = r#"{"type":"record","name":"A","fields":[{"name":"x","type":"string"}]}"#;

fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        write(&folder, name, text);
    }
    folder
}

fn write(folder: &tempfile::TempDir, name: &str, text: &str) {
    let path = folder.path().join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

fn at(folder: &tempfile::TempDir) -> String {
    folder.path().to_str().unwrap().to_owned()
}

async fn faults(at: &str) -> Vec<String> {
    match load(at, &Stores::default()).await {
        Err(ReadError::Faults(e)) => e.faults,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn every_contract_of_a_folder_is_read_with_the_schema_beside_it() {
    let folder = folder(&[
        ("b.yaml", "dataset: b\nschema: { avro: schemas/a.avsc }\n"),
        ("a.json", "{\"dataset\": \"a\", \"schema\": {\"avro\": \"./schemas/../schemas/a.avsc\"}}"),
        ("c.yml", "dataset: c\n"),
        ("notes.txt", "no contract"),
        ("schemas/a.avsc", AVRO),
        ("deeper/d.yaml", "not: read"),
    ]);
    for at in [at(&folder), format!("file://{}/", at(&folder))] {
        let datasets = load(&at, &Stores::default()).await.unwrap();
        assert_eq!(datasets.iter().map(|d| d.name()).collect::<Vec<_>>(), ["a", "b", "c"], "{at}");
        assert_eq!(datasets[1].contract.avro_text(), Some(AVRO));
    }
    assert_eq!(one(&format!("{}/b.yaml", at(&folder)), &Stores::default()).await.unwrap().contract.avro_text(), Some(AVRO));
    assert!(matches!(one(&at(&folder), &Stores::default()).await, Err(ReadError::Faults(e)) if e.faults[0].contains("holds 3 contracts")));
}

#[tokio::test]
async fn any_store_holds_contracts_as_a_folder_does() {
    let url = "memory://contracts-of-a-store";
    let store = Stores::default().open(url, crate::lake::local::Sync::Never).unwrap();
    store.put(&Path::from("a.yaml"), "dataset: a\nschema: { avro: s/a.avsc }\n".into()).await.unwrap();
    assert_eq!(faults(url).await, [format!("{url}/a.yaml:2:11: schema.avro: {url}/s/a.avsc is not there")]);
    store.put(&Path::from("s/a.avsc"), AVRO.into()).await.unwrap();
    assert_eq!(load(url, &Stores::default()).await.unwrap()[0].contract.avro_text(), Some(AVRO));
}

#[tokio::test]
async fn a_schema_is_never_taken_from_outside() {
    let outside = folder(&[("secret.avsc", AVRO), ("in/a.yaml", "")]);
    for path in ["../secret.avsc", "x/../../secret.avsc", "/etc/passwd", "file:///etc/passwd", "..", "."] {
        write(&outside, "in/a.yaml", &format!("dataset: a\nschema:\n  avro: \"{path}\"\n"));
        let [fault] = faults(&format!("{}/in", at(&outside))).await.try_into().unwrap();
        assert!(fault.contains("a.yaml:3:3: schema.avro: ") && fault.contains("no path within"), "{path}: {fault}");
    }
}

#[tokio::test]
async fn what_is_wrong_is_told_all_at_once_and_nothing_is_created() {
    let folder = folder(&[
        ("a.yaml", "dataset: a\n"),
        ("b.yaml", "dataset: a\n"),
        ("c.yaml", "datset: c\n"),
        ("d.yaml", "dataset: d\nlayout: \"{nonsense\"\nroute: { object: 1 }\nquality: { rules: 'Rules = [ RowCont > 0 ]' }\n"),
        ("e.yaml", &format!("dataset: e # {}", "x".repeat(5 << 20))),
        ("f.yaml", "dataset: f\nschema: { avro: f.avsc }\n"),
        ("f.avsc", "\u{fffd}not json"),
    ]);
    std::fs::write(folder.path().join("g.yaml"), b"dataset: \xff\n").unwrap();
    let told = faults(&at(&folder)).await;
    for part in [
        "b.yaml: dataset a has two contracts here",
        "c.yaml:1:1: datset: unknown key",
        "d.yaml:2:1: layout: ",
        "d.yaml:3:8: route: ",
        "d.yaml:4:",
        "e.yaml has 5242893 bytes; at most",
        "f.yaml:2:11: schema.avro: cannot be used as a schema",
        "g.yaml is not UTF-8 text",
    ] {
        assert!(told.iter().any(|f| f.contains(part)), "{part:?} is not among {told:#?}");
    }
    let missing = format!("{}/nowhere", at(&folder));
    assert!(matches!(load(&missing, &Stores::default()).await, Err(ReadError::Open(url::OpenError::Missing { .. }))));
    assert!(!std::path::Path::new(&missing).exists());
    let empty = tempfile::tempdir().unwrap();
    assert!(faults(&at(&empty)).await[0].contains("no contract here"));
}

#[tokio::test]
async fn every_change_is_noticed_and_nothing_else_is_one() {
    let folder = folder(&[("a.yaml", "dataset: a\nschema: { avro: s/a.avsc }\n")]);
    let shelf = Shelf::open(&at(&folder), &Stores::default()).unwrap();
    let mut reading = shelf.read().await.unwrap();
    let steps: [(&str, &dyn Fn()); 5] = [
        ("a schema that was missing", &|| write(&folder, "s/a.avsc", AVRO)),
        ("a schema", &|| write(&folder, "s/a.avsc", &AVRO.replace('x', "long_name"))),
        ("a contract", &|| write(&folder, "a.yaml", "dataset: other\n")),
        ("one more contract", &|| write(&folder, "b.yaml", "dataset: b\n")),
        ("one contract less", &|| std::fs::remove_file(folder.path().join("a.yaml")).unwrap()),
    ];
    for (what, step) in steps {
        write(&folder, "unrelated.txt", what);
        assert!(!shelf.has_changed(&reading).await.unwrap(), "before {what}");
        step();
        assert!(shelf.has_changed(&reading).await.unwrap(), "{what}");
        reading = shelf.read().await.unwrap();
    }
}
