//! The front end inside the binary: what `npm run build` left in `web/dist`, or nothing.

use std::collections::BTreeMap;

use axum::http::HeaderValue;
use bytes::Bytes;
use rust_embed::RustEmbed;

use super::representation::Text;

/// The page that [`FrontEnd::watch_page`] is made of.
const WATCH: &str = "watch.html";
/// The folder of files that pages refer to. Built names carry a hash of the content.
const ASSETS: &str = "assets/";
/// The style of pages that are made here, there with or without a build of the front end.
const PLAIN_CSS: (&str, &str) = ("plain.css", include_str!("../../web/plain.css"));

#[derive(RustEmbed)]
#[folder = "web/dist"]
#[allow_missing = true]
struct Dist;

/// A file that a page refers to.
#[derive(Clone, Debug)]
pub struct Asset {
    /// Its bytes.
    pub text: Text,
    /// Its type.
    pub content_type: HeaderValue,
    /// Its name changes with its content.
    pub hashed: bool,
}

/// Pages and assets.
#[derive(Debug)]
pub struct FrontEnd {
    watch: Option<String>,
    assets: BTreeMap<String, Asset>,
}

impl FrontEnd {
    /// What this binary was built with.
    pub fn embedded() -> Self {
        let files = Dist::iter().filter_map(|path| Some((path.to_string(), Dist::get(&path)?)));
        FrontEnd::from_files(files.map(|(path, file)| (path, Bytes::from(file.data.into_owned()))))
    }

    /// A front end of `files` by their paths within `web/dist`.
    pub fn from_files(files: impl IntoIterator<Item = (String, Bytes)>) -> Self {
        let mut front_end = FrontEnd { watch: None, assets: BTreeMap::new() };
        front_end.add(PLAIN_CSS.0, Bytes::from_static(PLAIN_CSS.1.as_bytes()), false);
        for (path, bytes) in files {
            if path == WATCH {
                front_end.watch = String::from_utf8(bytes.into()).ok();
            } else if let Some(name) = path.strip_prefix(ASSETS) {
                front_end.add(name, bytes, true);
            }
        }
        front_end
    }

    fn add(&mut self, name: &str, bytes: Bytes, hashed: bool) {
        let content_type = HeaderValue::from_static(content_type(name));
        self.assets.insert(name.to_owned(), Asset { text: Text::new(bytes), content_type, hashed });
    }

    /// The player page's HTML with `{{title}}`, `{{stream}}` and `{{playlist}}` in it; `None` when it was not built.
    pub fn watch_page(&self) -> Option<&str> {
        self.watch.as_deref()
    }

    /// The asset of this name.
    pub fn asset(&self, name: &str) -> Option<&Asset> {
        self.assets.get(name)
    }
}

fn content_type(name: &str) -> &'static str {
    match name.rsplit_once('.').map(|(_, extension)| extension) {
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        Some("txt") => "text/plain; charset=utf-8",
        Some("json" | "map") => "application/json",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_build_is_taken_apart_into_page_and_assets() {
        let files = [("watch.html", "<title>{{title}}</title>"), ("assets/watch-AB12.js", "1"), ("stray.js", "2")];
        let built =
            FrontEnd::from_files(files.map(|(path, text)| (path.to_owned(), Bytes::from_static(text.as_bytes()))));
        assert_eq!(built.watch_page(), Some("<title>{{title}}</title>"));
        let script = built.asset("watch-AB12.js").unwrap();
        assert_eq!((script.content_type.to_str().unwrap(), script.hashed), ("text/javascript; charset=utf-8", true));
        assert!(built.asset("stray.js").is_none() && built.asset("watch.html").is_none());
    }

    #[test]
    fn without_a_build_there_is_still_the_style_of_the_plain_page() {
        let bare = FrontEnd::from_files([]);
        assert_eq!(bare.watch_page(), None);
        assert!(!bare.asset("plain.css").unwrap().hashed);
    }
}
