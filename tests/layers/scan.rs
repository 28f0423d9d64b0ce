//! Reads Rust source far enough to know which paths it names. Comments, texts and test code name nothing.

/// A path as written, its `use` tree unfolded: `use a::{b, c::d}` is `a::b` and `a::c::d`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// Line of the last segment, from 1.
    pub line: usize,
    /// Segments.
    pub segments: Vec<String>,
}

/// What a file names outside of its tests.
#[derive(Debug, PartialEq, Eq)]
pub struct Scanned {
    /// Every path, single names included.
    pub names: Vec<Named>,
    /// Modules behind `#[cfg(test)] mod x;`: their files are test code.
    pub test_modules: Vec<String>,
}

/// Scans one file.
pub fn scan(text: &str) -> Scanned {
    let mut tokens = tokens(&blank(text));
    let test_modules = remove_tests(&mut tokens);
    let mut names = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        at = path(&tokens, at, &mut Vec::new(), &mut names).max(at + 1);
    }
    Scanned { names, test_modules }
}

/// `text` with comments, strings and characters as spaces, lines kept.
fn blank(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut blanked = String::with_capacity(text.len());
    let mut at = 0;
    while at < chars.len() {
        let end = skipped(&chars, at);
        if end == at {
            blanked.push(chars[at]);
            at += 1;
            continue;
        }
        blanked.extend(chars[at..end].iter().map(|&char| if char == '\n' { '\n' } else { ' ' }));
        at = end;
    }
    blanked
}

/// The end of the comment or literal that begins at `at`; `at` when none does.
fn skipped(chars: &[char], at: usize) -> usize {
    let word_before = at > 0 && (chars[at - 1].is_alphanumeric() || chars[at - 1] == '_');
    match (chars[at], chars.get(at + 1)) {
        ('/', Some('/')) => (at..chars.len()).find(|&end| chars[end] == '\n').unwrap_or(chars.len()),
        ('/', Some('*')) => block_comment(chars, at),
        ('"', _) => quoted(chars, at + 1, '"'),
        ('r', Some('"' | '#')) if !word_before => raw_string(chars, at),
        ('b', Some('r')) if !word_before && matches!(chars.get(at + 2), Some('"' | '#')) => raw_string(chars, at + 1),
        // A lifetime has no closing quote behind its first character.
        ('\'', Some('\\')) => quoted(chars, at + 1, '\''),
        ('\'', Some(_)) if chars.get(at + 2) == Some(&'\'') => at + 3,
        _ => at,
    }
}

fn block_comment(chars: &[char], start: usize) -> usize {
    let mut depth = 0;
    let mut at = start;
    while at < chars.len() {
        match (chars[at], chars.get(at + 1)) {
            ('/', Some('*')) => (depth, at) = (depth + 1, at + 2),
            ('*', Some('/')) => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return at;
        }
    }
    at
}

fn quoted(chars: &[char], mut at: usize, quote: char) -> usize {
    while at < chars.len() && chars[at] != quote {
        at += if chars[at] == '\\' { 2 } else { 1 };
    }
    (at + 1).min(chars.len())
}

/// `r"..."`, `r#"..."#`; `r#name` is a name.
fn raw_string(chars: &[char], start: usize) -> usize {
    let hashes = chars[start + 1..].iter().take_while(|&&char| char == '#').count();
    let open = start + 1 + hashes;
    if chars.get(open) != Some(&'"') {
        return start;
    }
    let closes =
        |at: &usize| chars[*at] == '"' && chars[at + 1..].iter().take(hashes).filter(|&&c| c == '#').count() == hashes;
    (open + 1..chars.len()).find(closes).map_or(chars.len(), |at| at + 1 + hashes)
}

type Token = (usize, String);

/// Names, `::`, and every other character for itself.
fn tokens(code: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    for (line, text) in code.lines().enumerate() {
        let mut rest = text.trim_start();
        while let Some(first) = rest.chars().next() {
            let word = rest.find(|char: char| !char.is_alphanumeric() && char != '_').unwrap_or(rest.len());
            let len = if word > 0 {
                word
            } else if rest.starts_with("::") {
                2
            } else {
                first.len_utf8()
            };
            tokens.push((line + 1, rest[..len].to_owned()));
            rest = rest[len..].trim_start();
        }
    }
    tokens
}

/// Takes out every item behind `#[cfg(test)]`, and returns the names of those that are modules in files of their own.
fn remove_tests(tokens: &mut Vec<Token>) -> Vec<String> {
    const MARK: [&str; 7] = ["#", "[", "cfg", "(", "test", ")", "]"];
    let mut modules = Vec::new();
    let is_mark = |window: &[Token]| window.iter().map(|(_, text)| text.as_str()).eq(MARK);
    while let Some(start) = tokens.windows(MARK.len()).position(is_mark) {
        let item = start + MARK.len();
        let text = |at: usize| tokens.get(at).map(|(_, text)| text.as_str());
        let body = (item..tokens.len()).find(|&at| matches!(text(at), Some("{" | ";"))).unwrap_or(tokens.len());
        if text(body) == Some(";") {
            let name = (item..body).find(|&at| text(at) == Some("mod")).and_then(|at| text(at + 1));
            modules.extend(name.map(str::to_owned));
        }
        let end = if text(body) == Some("{") { closing(tokens, body) } else { body };
        tokens.drain(start..(end + 1).min(tokens.len()));
    }
    modules
}

fn closing(tokens: &[Token], open: usize) -> usize {
    let mut depth = 0;
    for (at, (_, text)) in tokens.iter().enumerate().skip(open) {
        match text.as_str() {
            "{" => depth += 1,
            "}" => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return at;
        }
    }
    tokens.len()
}

fn is_name(text: &str) -> bool {
    text.starts_with(|char: char| char.is_alphabetic() || char == '_')
}

/// Reads the path or the `use` tree that begins at `at`, and returns where it ends.
fn path(tokens: &[Token], mut at: usize, prefix: &mut Vec<String>, names: &mut Vec<Named>) -> usize {
    let depth = prefix.len();
    let text = |at: usize| tokens.get(at).map_or("", |(_, text)| text.as_str());
    while is_name(text(at)) {
        prefix.push(text(at).to_owned());
        if text(at + 1) != "::" {
            names.push(Named { line: tokens[at].0, segments: prefix.clone() });
            prefix.truncate(depth);
            return at + 1;
        }
        at += 2;
    }
    if text(at) == "{" && !prefix.is_empty() {
        at += 1;
        while at < tokens.len() && text(at) != "}" {
            at = path(tokens, at, prefix, names).max(at + 1);
        }
        at += 1;
    } else if prefix.len() > depth {
        // A glob or a turbofish: what stands before it is named.
        names.push(Named { line: tokens[at.min(tokens.len()) - 1].0, segments: prefix.clone() });
    }
    prefix.truncate(depth);
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(text: &str) -> Vec<String> {
        scan(text).names.iter().map(|name| format!("{}:{}", name.line, name.segments.join("::"))).collect()
    }

    #[test]
    fn use_trees_are_unfolded() {
        let text = "use crate::{media::{Span, time::*}, wire};\nuse super::super::flow::hub;";
        let expected = [
            "1:use",
            "1:crate::media::Span",
            "1:crate::media::time",
            "1:crate::wire",
            "2:use",
            "2:super::super::flow::hub",
        ];
        assert_eq!(named(text), expected);
    }

    #[test]
    fn comments_and_texts_name_nothing() {
        let text = "// crate::a\n/* crate::b /* crate::c */ */ let x = \"crate::d \\\" crate::e\"; r#\"crate::f\"#; 'g'; '\\''; &'h i";
        assert_eq!(named(text), ["2:let", "2:x", "2:h", "2:i"]);
    }

    #[test]
    fn tests_name_nothing() {
        let text = "#[cfg(test)]\nmod tests { fn f() { crate::a::b(); } }\n#[cfg(test)]\nmod cases;\nfn g() { std::fs::read::<u8>() }";
        let scanned = scan(text);
        assert_eq!(scanned.test_modules, ["cases"]);
        let names: Vec<_> = scanned.names.iter().map(|name| name.segments.join("::")).collect();
        assert_eq!(names, ["fn", "g", "std::fs::read", "u8"]);
    }
}
