//! The map must name the country: every path in ARCHITECTURE.md exists.

use std::path::Path;

#[test]
fn every_path_that_the_architecture_page_names_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let page = std::fs::read_to_string(root.join("ARCHITECTURE.md")).unwrap();
    let quoted = page.split('`').skip(1).step_by(2);
    let is_path = |text: &&str| text.contains('/') && !text.starts_with(['/']) && !text.contains(' ');
    let paths: Vec<&str> = quoted.filter(is_path).collect();
    assert!(paths.len() > 10, "the page names {} paths: is it still read rightly?", paths.len());
    let missing: Vec<_> = paths.into_iter().filter(|path| !root.join(path).exists()).collect();
    assert!(missing.is_empty(), "ARCHITECTURE.md names what is not there: {missing:?}");
}
