//! What the README and the documents name is there.

use std::fs;
use std::path::{Path, PathBuf};

use super::root;

/// README, changelog and everything below `docs`.
pub fn documents() -> Vec<PathBuf> {
    let mut found = vec![root().join("README.md"), root().join("CHANGELOG.md")];
    let mut folders = vec![root().join("docs")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
            let path = entry.expect("an entry of docs").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "md") {
                found.push(path);
            }
        }
    }
    found
}

/// The text of a file that must be there.
pub fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Targets of `[text](target)` that are files of this repository.
fn links(text: &str) -> Vec<&str> {
    let targets = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    targets.filter(|target| !target.contains("://") && !target.starts_with('#')).collect()
}

#[test]
fn every_link_of_the_documents_leads_somewhere() {
    let mut broken = Vec::new();
    for document in documents() {
        let text = read(&document);
        let folder = document.parent().expect("a document lies in a folder");
        let targets = links(&text).into_iter().map(|link| link.split('#').next().unwrap_or(link));
        let absent = targets.filter(|target| !folder.join(target).exists());
        broken.extend(absent.map(|target| format!("{}: {target}", document.display())));
    }
    assert!(broken.is_empty(), "broken links:\n{}", broken.join("\n"));
}

#[test]
fn the_readme_names_the_presets_that_are_shipped() {
    let readme = read(&root().join("README.md"));
    let folder = root().join("presets");
    let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let files = entries.map(|entry| entry.expect("a preset").file_name().to_string_lossy().into_owned());
    let mut shipped: Vec<_> = files.filter_map(|file| file.strip_suffix(".toml").map(str::to_owned)).collect();
    shipped.sort();
    assert_eq!(shipped, ["encode-1080p-720p-480p", "ladder-1080p-720p-480p", "low-cpu", "passthrough"]);
    for preset in shipped {
        assert!(readme.contains(&format!("`{preset}`")), "README.md does not name the preset {preset}");
    }
}

#[test]
fn the_readme_names_both_commands() {
    let readme = read(&root().join("README.md"));
    for command in ["./dev demo", "./dev test"] {
        assert!(readme.contains(command), "{command}");
    }
    for file in ["dev", ".ci/run"] {
        assert!(root().join(file).is_file(), "{file} is there");
    }
}

#[test]
fn links_are_found_in_text() {
    assert_eq!(links("a [b](docs/c.md#d) and [e](https://f) [g](#h)"), ["docs/c.md#d"]);
}
