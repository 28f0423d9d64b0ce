//! The dashboard and the alert rules of `deploy/` use metrics and labels that exist, and every alert has its words for
//! the operator.

use std::collections::{BTreeMap, BTreeSet};

use super::documents::read;
use super::metrics::{Row, Words, table};
use super::root;

/// Labels that Prometheus adds to every sample.
const OF_PROMETHEUS: [&str; 2] = ["instance", "job"];
/// Counters and histograms are looked at through one of these, gauges never.
const OVER_TIME: [&str; 2] = ["rate(", "increase("];

fn is_word(character: char) -> bool {
    character.is_ascii_alphanumeric() || character == '_'
}

/// Where `word` stands alone in `text`.
fn places<'a>(text: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    text.match_indices(word).map(|(at, _)| at).filter(|at| !text[..*at].ends_with(is_word))
}

/// Labels in a selector and what is asked of each: `=`, `!=`, `=~` or `!~`, and the text in quotes.
fn selector_labels(selector: &str) -> Vec<(&str, &str, &str)> {
    let pieces: Vec<_> = selector.split('"').collect();
    let asked = pieces.chunks_exact(2).map(|pair| {
        let text = pair[0].trim_start_matches([',', ' ']).trim_end();
        let end = text.find(|character| !is_word(character)).unwrap_or(text.len());
        (&text[..end], &text[end..], pair[1])
    });
    asked.collect()
}

/// Whether `pattern` can be `word`: of the regular expressions of Prometheus as much as the files here use (letters, a class in
/// brackets, `.*` at the end).
fn matches(pattern: &str, word: &str) -> bool {
    if pattern == ".*" {
        return true;
    }
    let (here, rest) = match pattern.strip_prefix('[').and_then(|open| open.split_once(']')) {
        Some((class, rest)) => (class, rest),
        None => pattern.split_at(pattern.chars().next().map_or(0, char::len_utf8)),
    };
    match word.chars().next() {
        Some(first) => here.contains(first) && matches(rest, &word[first.len_utf8()..]),
        None => pattern.is_empty(),
    }
}

/// Whether a selector can find something: what it asks for is among `words`. A variable of a dashboard may be anything.
fn can_be(operator: &str, value: &str, words: &[String]) -> bool {
    let is_word = |pattern: &str| words.iter().any(|word| matches(pattern, word));
    value.starts_with('$')
        || match operator {
            "=" | "!=" => words.iter().any(|word| word == value),
            _ => value.split('|').all(is_word),
        }
}

/// Labels in the parentheses behind `by` and `on`.
fn grouped<'a>(expr: &'a str, words: &[&'a str]) -> BTreeSet<&'a str> {
    let lists = words.iter().flat_map(|word| places(expr, word).map(|at| &expr[at + word.len()..]).collect::<Vec<_>>());
    let inside = lists.filter_map(|rest| rest.strip_prefix(" (")?.split_once(')').map(|(inside, _)| inside));
    inside.flat_map(|inside| inside.split(',').map(str::trim)).collect()
}

/// What expressions may use.
struct Known {
    table: Vec<Row>,
    words: Words,
}

impl Known {
    /// As code and document have it.
    fn read() -> Self {
        Known { table: table(), words: Words::read() }
    }
}

/// The metrics that an expression names, and the labels that its result may have.
struct Looked<'a> {
    labels: BTreeSet<&'a str>,
    faults: Vec<String>,
}

/// Checks an expression against the table.
fn look<'a>(expr: &'a str, Known { table, words }: &'a Known) -> Looked<'a> {
    let mut labels: BTreeSet<&str> = OF_PROMETHEUS.into();
    let mut faults = Vec::new();
    for at in places(expr, "millstream_") {
        let end = expr[at..].find(|character| !is_word(character)).map_or(expr.len(), |len| at + len);
        let written = &expr[at..end];
        let Some((row, series)) = series_of(written, table) else {
            faults.push(format!("no metric {written}"));
            continue;
        };
        let over_time = OVER_TIME.iter().any(|function| expr[..at].ends_with(function));
        let appears = expr[..at].ends_with("unless ") || expr[end..].starts_with(" unless ");
        if over_time == (row.kind == "gauge") && !appears {
            faults.push(format!("{written} is a {}", row.kind));
        }
        let mut own: BTreeSet<&str> = row.labels.iter().map(String::as_str).chain(OF_PROMETHEUS).collect();
        own.extend((series == "_bucket").then_some("le"));
        if let Some((selector, _)) = expr[end..].strip_prefix('{').and_then(|rest| rest.split_once('}')) {
            for (label, operator, value) in selector_labels(selector) {
                if !own.contains(label) {
                    faults.push(format!("{written} has no label {label}"));
                } else if words.of(&row.name, label).is_some_and(|words| !can_be(operator, value, words)) {
                    faults.push(format!("{label} of {written} is never {operator}{value}"));
                }
            }
        }
        labels.extend(own);
    }
    let by = grouped(expr, &["by"]);
    let strangers = grouped(expr, &["by", "on"]).into_iter().filter(|label| !labels.contains(label));
    faults.extend(strangers.map(|label| format!("nothing here has the label {label}")));
    Looked { labels: if by.is_empty() { labels } else { by }, faults }
}

/// The metric behind a name in an expression, and what a histogram's series adds to it.
fn series_of<'a>(written: &str, table: &'a [Row]) -> Option<(&'a Row, &'static str)> {
    let of = |name: &str| table.iter().find(|row| row.name == name);
    if let Some(row) = of(written).filter(|row| row.kind != "histogram") {
        return Some((row, ""));
    }
    let series = ["_bucket", "_sum", "_count"].into_iter().find(|series| written.ends_with(series))?;
    Some((of(written.strip_suffix(series)?).filter(|row| row.kind == "histogram")?, series))
}

/// Faults of an expression and of a text that names labels of its result, each opened by `opens` and closed by `}}`.
fn faults(expr: &str, text: &str, opens: &str, known: &Known) -> Vec<String> {
    let looked = look(expr, known);
    let named = text.split(opens).skip(1).filter_map(|rest| rest.split("}}").next()).map(str::trim);
    let strangers = named.filter(|label| !looked.labels.contains(label)).map(|label| format!("{text}: no {label}"));
    let all = looked.faults.iter().cloned().chain(strangers);
    all.map(|fault| format!("{fault}\n  in {expr}")).collect()
}

/// The rules of `alerts.yml`, which is written in one shape: a line for each key, values bare or in single quotes.
fn alerts(text: &str) -> Vec<BTreeMap<String, String>> {
    let mut alerts: Vec<BTreeMap<String, String>> = Vec::new();
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    for line in lines.skip_while(|line| line.trim() != "rules:").skip(1) {
        let (line, begins) = line.trim().strip_prefix("- ").map_or((line.trim(), false), |rest| (rest, true));
        let (key, value) = line.split_once(':').unwrap_or_else(|| panic!("not a key: {line}"));
        let quoted = value.trim().strip_prefix('\'').and_then(|value| value.strip_suffix('\''));
        let value = match quoted {
            Some(inside) => {
                let whole = inside.replace("''", "");
                assert!(!whole.contains('\''), "a quote that is not doubled: {line}");
                inside.replace("''", "'")
            }
            None => {
                let plain = |character: char| is_word(character) || character == ' ';
                assert!(value.chars().all(plain), "wants quotes: {line}");
                value.trim().to_owned()
            }
        };
        if begins {
            alerts.push(BTreeMap::new());
        }
        let alert = alerts.last_mut().unwrap_or_else(|| panic!("outside of a rule: {line}"));
        assert_eq!(alert.insert(key.to_owned(), value), None, "twice: {line}");
    }
    alerts
}

#[test]
fn alert_rules_use_what_exists_and_have_words_for_the_operator() {
    let (known, operators) = (Known::read(), read(&root().join("docs/operators.md")));
    let alerts = alerts(&read(&root().join("deploy/prometheus/alerts.yml")));
    let mut found = Vec::new();
    for alert in &alerts {
        let of = |key: &str| alert.get(key).unwrap_or_else(|| panic!("no {key} in {alert:?}")).as_str();
        let name = of("alert");
        assert!(["warning", "critical"].contains(&of("severity")), "{name}");
        assert!(!of("look_at").is_empty() && of("for").ends_with(['s', 'm']), "{name}");
        assert_eq!(of("runbook"), format!("docs/operators.md#{}", name.to_lowercase()), "{name}");
        assert!(operators.contains(&format!("\n### {name}\n")), "docs/operators.md does not tell what to do on {name}");
        found.extend(faults(of("expr"), of("summary"), "{{ $labels.", &known));
    }
    assert!(found.is_empty(), "deploy/prometheus/alerts.yml:\n{}", found.join("\n"));
    let names: BTreeSet<_> = alerts.iter().map(|alert| alert["alert"].as_str()).collect();
    assert_eq!(names.len(), alerts.len(), "two rules of one name");
    let told = operators.lines().filter_map(|line| line.strip_prefix("### Millstream"));
    let told: BTreeSet<_> = told.map(|name| format!("Millstream{name}")).collect();
    assert_eq!(told.iter().map(String::as_str).collect::<BTreeSet<_>>(), names, "words and rules");
}

/// Every value of `key` below `value`.
fn all<'a>(value: &'a serde_json::Value, key: &str) -> Vec<&'a serde_json::Value> {
    match value {
        serde_json::Value::Object(fields) => {
            let own = fields.get(key).into_iter();
            own.chain(fields.values().flat_map(|field| all(field, key))).collect()
        }
        serde_json::Value::Array(items) => items.iter().flat_map(|item| all(item, key)).collect(),
        _ => Vec::new(),
    }
}

#[test]
fn the_dashboard_uses_what_exists() {
    let text = read(&root().join("deploy/grafana/millstream.json"));
    let dashboard: serde_json::Value = serde_json::from_str(&text).expect("the dashboard is JSON");
    let known = Known::read();
    let mut found = Vec::new();
    let targets: Vec<_> =
        all(&dashboard, "targets").into_iter().filter_map(|targets| targets.as_array()).flatten().collect();
    assert!(targets.len() > 40, "{} queries", targets.len());
    for target in &targets {
        let (expr, legend) =
            (target["expr"].as_str().expect("a query"), target["legendFormat"].as_str().expect("a legend"));
        found.extend(faults(expr, legend, "{{", &known));
    }
    for variable in all(&dashboard, "definition").into_iter().filter_map(|definition| definition.as_str()) {
        found.extend(look(variable, &known).faults.into_iter().filter(|fault| !fault.contains(" is a counter")));
    }
    assert!(found.is_empty(), "deploy/grafana/millstream.json:\n{}", found.join("\n"));
    // Every metric is looked at somewhere: one that no panel shows is one that nobody finds at night.
    let absent: Vec<_> = known.table.iter().filter(|row| !text.contains(&row.name) && !is_beside(&row.name)).collect();
    assert!(absent.is_empty(), "no panel shows {absent:?}");
}

/// What a panel shows by another metric.
fn is_beside(name: &str) -> bool {
    const BESIDE: [&str; 5] = [
        "millstream_ingest_bytes_total",       // its rate is the bitrate's gauge
        "millstream_listen_connections_total", // open ones and publishes are shown
        "millstream_package_bytes_total",      // its rate is the bitrate's gauge
        "millstream_package_parts_total",      // segments are shown; an alert looks at parts
        "millstream_store_backlog_bytes",      // segments and age are shown
    ];
    BESIDE.contains(&name)
}

#[test]
fn faults_of_expressions_are_found() {
    let table = vec![
        Row::of("millstream_a_total", "counter", &["b"]),
        Row::of("millstream_c_seconds", "histogram", &["rung"]),
        Row::of("millstream_d", "gauge", &["e"]),
        Row::of("millstream_f_total", "counter", &["g"]),
    ];
    let words = "| label | of | words |\n|---|---|---|\n| `g` | `millstream_f_total` | `one`, `200`, `5xx` |\n";
    let known = Known { table, words: Words::of_document(words) };
    let found = |expr: &str, text: &str| faults(expr, text, "{{", &known);
    for selector in ["g=\"one\"", "g!=\"one\"", "g=~\"5.*\"", "g=~\"[25].*\"", "g=~\"200|on[ae]\"", "g=~\"$g\""] {
        assert_eq!(found(&format!("rate(millstream_f_total{{{selector}}}[5m])"), ""), [""; 0], "{selector}");
    }
    for (asked, told) in
        [("g=\"two\"", "=two"), ("g!=\"on\"", "!=on"), ("g=~\"one|4.*\"", "=~one|4.*"), ("g=~\"o\"", "=~o")]
    {
        let expr = format!("rate(millstream_f_total{{{asked}}}[5m])");
        assert_eq!(found(&expr, ""), [format!("g of millstream_f_total is never {told}\n  in {expr}")]);
    }
    assert_eq!(found("sum by (b) (rate(millstream_a_total{b=\"1\",instance=~\"x|y\"}[5m]))", "{{b}}"), [""; 0]);
    assert_eq!(
        found("histogram_quantile(0.9, sum by (le, rung) (rate(millstream_c_seconds_bucket[5m])))", "{{rung}}"),
        [""; 0]
    );
    for (expr, text, fault) in [
        ("millstream_x > 1", "", "no metric millstream_x"),
        ("rate(millstream_c_seconds[5m])", "", "no metric millstream_c_seconds"),
        ("millstream_a_total > 1", "", "millstream_a_total is a counter"),
        ("rate(millstream_d[5m])", "", "millstream_d is a gauge"),
        ("millstream_d{b=\"1\"}", "", "millstream_d has no label b"),
        ("sum by (rung) (millstream_d)", "", "nothing here has the label rung"),
        ("sum by (instance) (millstream_d)", "{{e}}", "{{e}}: no e"),
    ] {
        assert_eq!(found(expr, text), [format!("{fault}\n  in {expr}")], "{expr}");
    }
}
