//! The contracts in this repository parse, and their schemas are Avro.
#![allow(clippy::unwrap_used, reason = "a test that cannot unwrap has failed")]

use std::path::Path;

use lakegate::contract::lint::lint;
use lakegate::contract::model::Contract;
use lakegate::contract::parse::parse;

fn load(name: &str) -> Contract {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("contracts");
    let text = std::fs::read_to_string(folder.join(name)).expect("the contract is there");
    let contract = parse(name, &text).unwrap_or_else(|faults| panic!("{}", faults.iter().map(|f| format!("{f}\n")).collect::<String>()));
    let avro = contract.avro_path().map(|path| std::fs::read_to_string(folder.join(path)).expect("the schema is there"));
    match avro {
        Some(avro) => contract.with_avro(avro),
        None => contract,
    }
}

#[test]
fn committed_contracts_have_no_fault_and_name_real_schemas() {
    for (name, columns) in [("orders.yaml", 5), ("flights.yaml", 19)] {
        let contract = load(name);
        let schema: serde_json::Value = serde_json::from_str(contract.avro_text().expect("a schema")).expect("JSON");
        apache_avro::Schema::parse(&schema).expect("Avro");
        let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("contracts").join(name)).expect("the contract");
        let faults = lint(name, &text, &contract);
        assert!(faults.is_empty(), "{}", faults.iter().map(|f| format!("{f}\n")).collect::<String>());
        assert_eq!(schema["fields"].as_array().expect("fields").len(), columns, "{name}");
    }
}
