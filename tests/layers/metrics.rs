//! Metrics have one table, `src/telemetry/names.rs`: nobody counts beside it, and every row of it is counted.

use super::documents::{documents, read};
use super::{contains, root, scan, sources};

/// The table, below `src`.
const TABLE: &str = "telemetry/names.rs";
/// What other modules may take of the facade: handles that the table gave them.
const HANDLES: [&str; 3] = ["Counter", "Gauge", "Histogram"];

/// One row: the constant in the code, the name in `/metrics`.
#[derive(Debug, PartialEq, Eq)]
struct Row {
    constant: String,
    name: String,
}

/// The rows of `table! { ... }`.
fn rows(text: &str) -> Vec<Row> {
    let (_, table) = text.split_once("\ntable! {\n").expect("the table begins");
    let (table, _) = table.split_once("\n}\n").expect("the table ends");
    let row = |line: &str| {
        let (constant, rest) = line.trim().split_once(" = ")?;
        let name = rest.split('"').nth(1)?;
        Some(Row { constant: constant.to_owned(), name: format!("millstream_{name}") })
    };
    let lines = table.lines().filter(|line| !line.trim().is_empty());
    lines.map(|line| row(line).unwrap_or_else(|| panic!("not a row of the table: {line}"))).collect()
}

fn table() -> Vec<Row> {
    rows(&read(&root().join("src").join(TABLE)))
}

/// Where `text` counts beside the table: through the facade, which takes any name.
fn beside_the_table(file: &str, text: &str) -> Vec<String> {
    let names = scan::scan(text).names;
    let reaches = |name: &&scan::Named| {
        let segments = &name.segments;
        segments.len() > 1 && segments[0] == "metrics" && !HANDLES.contains(&segments[1].as_str())
    };
    names.iter().filter(reaches).map(|name| format!("src/{file}:{}: {}", name.line, name.segments.join("::"))).collect()
}

#[test]
fn nobody_counts_beside_the_table() {
    let others = sources().into_iter().filter(|(file, _)| !file.starts_with("telemetry/"));
    let found: Vec<_> = others.flat_map(|(file, text)| beside_the_table(&file, &text)).collect();
    assert!(found.is_empty(), "metrics outside of src/{TABLE}:\n{}", found.join("\n"));
}

#[test]
fn every_row_of_the_table_is_counted() {
    let others = sources().into_iter().filter(|(file, _)| !file.starts_with("telemetry/"));
    let named: Vec<_> = others.flat_map(|(_, text)| scan::scan(&text).names).collect();
    let mut idle = table();
    idle.retain(|row| {
        let path = format!("names::{}", row.constant);
        !named.iter().any(|name| contains(&name.segments, &path))
    });
    assert!(idle.is_empty(), "rows that nobody counts: {idle:?}");
}

#[test]
fn documents_name_metrics_of_the_table() {
    let names: Vec<_> = table().into_iter().map(|row| row.name).collect();
    for document in documents() {
        let text = read(&document);
        let words = text.split(|char: char| !char.is_ascii_alphanumeric() && char != '_');
        let unknown: Vec<_> =
            words.filter(|word| word.starts_with("millstream_") && !names.iter().any(|name| name == word)).collect();
        assert!(unknown.is_empty(), "{}: no such metrics: {unknown:?}", document.display());
    }
}

#[test]
fn what_the_facade_is_named_for_is_found() {
    let found = |text| beside_the_table("listen/rtmp/mod.rs", text);
    assert_eq!(found("use metrics::{Counter, counter};"), ["src/listen/rtmp/mod.rs:1: metrics::counter"]);
    assert_eq!(
        found("fn f() {\n    metrics::gauge!(\"a\").set(1.0);\n}"),
        ["src/listen/rtmp/mod.rs:2: metrics::gauge"]
    );
    assert_eq!(found("use metrics::Counter;\nuse crate::telemetry::names;\nmetrics.render();"), [""; 0]);
    assert_eq!(found("#[cfg(test)]\nmod tests { fn f() { metrics::with_local_recorder(a, b); } }"), [""; 0]);
}

#[test]
fn rows_are_read_as_they_are_written() {
    let text = "x\ntable! {\n    A_B = Gauge \"a_b\" [\"c\"] Count \"Help.\";\n\n    D = Counter \"d_total\" [] Bytes \"Help.\";\n}\ny";
    let expected = [("A_B", "millstream_a_b"), ("D", "millstream_d_total")];
    let expected = expected.map(|(constant, name)| Row { constant: constant.to_owned(), name: name.to_owned() });
    assert_eq!(rows(text), expected);
}
