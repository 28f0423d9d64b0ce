//! Metrics have one table, `src/telemetry/names.rs`: nobody counts beside it, every row of it is counted, and
//! `docs/metrics.md` says of each what it is.

use super::documents::{documents, read};
use super::{contains, root, scan, sources};

/// The table, below `src`.
const TABLE: &str = "telemetry/names.rs";
/// What other modules may take of the facade: handles that the table gave them.
const HANDLES: [&str; 3] = ["Counter", "Gauge", "Histogram"];

/// One row: the constant in the code, the name in `/metrics`, and what stands behind it there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    constant: String,
    pub name: String,
    /// `counter`, `gauge`, `histogram`.
    pub kind: String,
    pub labels: Vec<String>,
}

impl Row {
    /// A row of any metric, for tests of whoever reads the table.
    pub fn of(name: &str, kind: &str, labels: &[&str]) -> Self {
        let labels = labels.iter().map(|label| (*label).to_owned()).collect();
        Row { constant: String::new(), name: name.to_owned(), kind: kind.to_owned(), labels }
    }
}

/// The rows of `table! { ... }`.
fn rows(text: &str) -> Vec<Row> {
    let (_, table) = text.split_once("\ntable! {\n").expect("the table begins");
    let (table, _) = table.split_once("\n}\n").expect("the table ends");
    let row = |line: &str| {
        let (constant, rest) = line.trim().split_once(" = ")?;
        let (kind, rest) = rest.split_once(' ')?;
        let name = rest.split('"').nth(1)?;
        let (labels, _) = rest.split_once('[')?.1.split_once(']')?;
        let labels = labels.split_whitespace().map(|label| label.trim_matches('"').to_owned()).collect();
        let (constant, kind) = (constant.to_owned(), kind.to_lowercase());
        Some(Row { constant, name: format!("millstream_{name}"), kind, labels })
    };
    let lines = table.lines().filter(|line| !line.trim().is_empty());
    lines.map(|line| row(line).unwrap_or_else(|| panic!("not a row of the table: {line}"))).collect()
}

/// The table of the code.
pub fn table() -> Vec<Row> {
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

/// The rows of the tables of `docs/metrics.md`: name, type, labels, and the cells behind them.
fn documented(text: &str) -> Vec<(Row, Vec<String>)> {
    // Buckets have a table of their own, of two cells.
    let of_metrics = |line: &&str| line.starts_with("| `millstream_") && line.matches('|').count() > 3;
    let row = |line: &str| {
        let cells: Vec<_> = line.trim().trim_matches('|').split('|').map(str::trim).collect();
        let [name, kind, labels, rest @ ..] = &cells[..] else { panic!("not a row of a metric: {line}") };
        let word = |cell: &str| cell.trim_matches('`').to_owned();
        let labels = labels.split(',').map(|label| word(label.trim())).filter(|label| !label.is_empty()).collect();
        let row = Row { constant: String::new(), name: word(name), kind: (*kind).to_owned(), labels };
        (row, rest.iter().map(|cell| (*cell).to_owned()).collect())
    };
    text.lines().filter(of_metrics).map(row).collect()
}

#[test]
fn each_metric_is_documented_as_it_is_and_no_other() {
    let documented = documented(&read(&root().join("docs/metrics.md")));
    let without_constant = |row: Row| Row { constant: String::new(), ..row };
    let table: Vec<_> = table().into_iter().map(without_constant).collect();
    for row in &table {
        let found: Vec<_> = documented.iter().filter(|(other, _)| other.name == row.name).collect();
        assert_eq!(found.len(), 1, "docs/metrics.md has {} rows of {}", found.len(), row.name);
        assert_eq!(found[0].0, *row, "docs/metrics.md and src/{TABLE} differ");
    }
    for (row, rest) in &documented {
        assert!(table.contains(row), "docs/metrics.md tells of a metric that is not there: {row:?}");
        let [unit, means, _when_it_moves] = &rest[..] else { panic!("cells of {}: {rest:?}", row.name) };
        assert!(!unit.is_empty() && !means.is_empty(), "{} says nothing of itself", row.name);
    }
}

/// The words of labels, as `docs/metrics.md` lists them; a unit test compares that list with the one in the code.
pub struct Words(Vec<(String, String, Vec<String>)>);

impl Words {
    /// Those of the document.
    pub fn read() -> Self {
        Words::of_document(&read(&root().join("docs/metrics.md")))
    }

    /// Those of a text with such a table.
    pub fn of_document(text: &str) -> Self {
        let (_, rows) = text.split_once("| label | of | words |\n").expect("the table is there");
        let word = |cell: &str| cell.trim().trim_matches('`').to_owned();
        let row = |line: &str| {
            let cells: Vec<_> = line.trim_matches('|').split('|').collect();
            let [label, of, words] = cells[..] else { panic!("not a row of words: {line}") };
            (word(label), word(of), words.split(',').map(word).collect())
        };
        Words(rows.lines().skip(1).take_while(|line| line.starts_with('|')).map(row).collect())
    }

    /// What `label` of `metric` may hold; `None` when it holds ids or names.
    pub fn of(&self, metric: &str, label: &str) -> Option<&[String]> {
        let row = |of: &str| self.0.iter().find(|(name, metric, _)| name == label && metric == of);
        row(metric).or_else(|| row("")).map(|(_, _, words)| words.as_slice())
    }
}

/// A word of the list that no code says is one that nobody counts any more. Roles of threads are made of longer names.
#[test]
fn every_word_of_a_label_is_said_somewhere() {
    let others: String =
        sources().into_iter().filter(|(file, _)| file != "telemetry/words.rs").map(|(_, text)| text).collect();
    let Words(rows) = Words::read();
    for (label, of, words) in rows.iter().filter(|(label, ..)| label != "stage") {
        let unsaid: Vec<_> = words.iter().filter(|word| !others.contains(&format!("\"{word}\""))).collect();
        assert!(unsaid.is_empty(), "{label} {of}: nothing in src says {unsaid:?}");
    }
}

#[test]
fn rows_of_the_document_are_read_as_they_are_written() {
    let text = "| name | type |\n|---|---|\n| `millstream_a` | gauge | `b`, `c` | s | means | moves |\n| `millstream_d_total` | counter | | bytes | it | |\n";
    let read: Vec<_> = documented(text).into_iter().map(|(row, rest)| (row.name, row.kind, row.labels, rest)).collect();
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let expected = [
        ("millstream_a".to_owned(), "gauge".to_owned(), words(&["b", "c"]), words(&["s", "means", "moves"])),
        ("millstream_d_total".to_owned(), "counter".to_owned(), Vec::new(), words(&["bytes", "it", ""])),
    ];
    assert_eq!(read, expected);
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
    let text = "x\ntable! {\n    A_B = Gauge \"a_b\" [\"c\" \"e\"] Count \"Help.\";\n\n    D = Counter \"d_total\" [] Bytes \"Help.\";\n}\ny";
    let row = |constant: &str, name, kind, labels: &[&str]| Row {
        constant: constant.to_owned(),
        ..Row::of(name, kind, labels)
    };
    let expected = [row("A_B", "millstream_a_b", "gauge", &["c", "e"]), row("D", "millstream_d_total", "counter", &[])];
    assert_eq!(rows(text), expected);
}
