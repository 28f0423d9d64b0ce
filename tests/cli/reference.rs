//! `docs/config.md` says what the code does: every key with its type, default, twin and meaning, and an example that is
//! the defaults.

use millstream::config::key::{Key, Section};
use millstream::config::{Config, Overrides, reference};

const DOC: &str = include_str!("../../docs/config.md");

fn defaults() -> Config {
    Config::parse(&Overrides::default(), [], None).expect("the defaults are valid")
}

/// The row of a key in the reference.
fn row(key: &Key) -> String {
    let default = if key.default.is_empty() { "none".to_owned() } else { format!("`{}`", key.default) };
    format!("| `{}` | {} | {default} | `{}` | {} |\n", key.name, key.kind.describe(), key.env(), key.doc)
}

/// What the reference must hold, whole.
fn tables() -> String {
    let mut text = String::new();
    let mut section = None;
    for key in reference() {
        if section != Some(key.section) {
            section = Some(key.section);
            let heading = match key.section {
                Section::Top => "Above all sections".to_owned(),
                Section::Named(name) => format!("[{name}]"),
            };
            text.push_str(&format!("\n### {heading}\n\n| key | type | default | environment | meaning |\n"));
            text.push_str("|---|---|---|---|---|\n");
        }
        text.push_str(&row(key));
    }
    text
}

#[test]
fn the_reference_is_whole_and_true() {
    let documented = DOC.split_once("## Reference\n").map(|(_, rest)| rest).expect("a part called Reference");
    assert_eq!(documented, tables(), "docs/config.md must end with:\n{}", tables());
}

#[test]
fn the_example_is_the_defaults() {
    let example = DOC.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).expect("an example");
    let config = Config::parse(&Overrides::default(), [], Some(("docs/config.md", example))).expect("it is valid");
    assert_eq!(format!("{config:?}"), format!("{:?}", defaults()));
    for key in reference().filter(|key| !key.default.is_empty()) {
        assert!(example.contains(&format!("\n{} = ", key.name)), "{} is missing in the example", key.path());
    }
}
