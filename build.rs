//! Makes the folder that the front end is embedded from, so that cargo can watch it: it is empty until `npm run build` in `web/`
//! fills it, and the daemon builds without it.

fn main() {
    // A source tree that cannot be written to builds all the same; it just has no player page.
    let _ = std::fs::create_dir_all("web/dist");
    println!("cargo::rerun-if-changed=web/dist");
    println!("cargo::rerun-if-changed=build.rs");
}
