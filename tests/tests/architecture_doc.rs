//! Checks every page in Markdown: its links lead somewhere, and the paths that it names exist.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// Directories that a build or a run makes: pages may name files in them that do not exist yet.
const MADE_LATER: [&str; 4] = ["target", "data", ".dev", ".git"];

#[test]
fn every_path_that_a_page_names_exists() {
    let root = root();
    let mut paths = 0;
    let mut missing = Vec::new();
    for page in pages() {
        let text = without_fences(&fs::read_to_string(&page).unwrap());
        for path in named_paths(&text, &root) {
            paths += 1;
            if !root.join(&path).exists() {
                missing.push(format!("{}: {path}", shown(&page)));
            }
        }
    }
    assert!(paths > 40, "only {paths} paths were found: are pages still parsed correctly?");
    assert!(missing.is_empty(), "pages name paths that do not exist:\n{}", missing.join("\n"));
}

#[test]
fn every_relative_link_leads_to_a_file_and_to_a_heading_in_it() {
    let mut links = 0;
    let mut broken = Vec::new();
    for page in pages() {
        for link in relative_links(&without_fences(&fs::read_to_string(&page).unwrap())) {
            links += 1;
            let (path, heading) = link.split_once('#').unwrap_or((&link, ""));
            let target = if path.is_empty() { page.clone() } else { page.parent().unwrap().join(path) };
            let found = target.exists()
                && (heading.is_empty() || headings(&fs::read_to_string(&target).unwrap()).contains(heading));
            if !found {
                broken.push(format!("{}: {link}", shown(&page)));
            }
        }
    }
    assert!(links > 50, "only {links} links were found: are pages still parsed correctly?");
    assert!(broken.is_empty(), "links that lead nowhere:\n{}", broken.join("\n"));
}

#[test]
fn an_index_page_links_every_page_beside_it() {
    for index in ["docs/README.md", "docs/adr/README.md"].map(|path| root().join(path)) {
        let linked: BTreeSet<_> = relative_links(&fs::read_to_string(&index).unwrap()).into_iter().collect();
        let absent: Vec<_> = files_of(index.parent().unwrap())
            .into_iter()
            .filter(|page| *page != index && has_extension(page, "md"))
            .map(|page| page.file_name().unwrap().to_str().unwrap().to_owned())
            .filter(|name| !linked.contains(name))
            .collect();
        assert!(absent.is_empty(), "{} does not link {absent:?}", shown(&index));
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn shown(page: &Path) -> String {
    page.strip_prefix(root()).unwrap().display().to_string()
}

/// The Markdown files of the repository, without those of `MADE_LATER`.
fn pages() -> Vec<PathBuf> {
    let mut pages = Vec::new();
    let mut directories = vec![root()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            if path.is_dir() && !MADE_LATER.contains(&name) {
                directories.push(path);
            } else if path.is_file() && has_extension(&path, "md") {
                pages.push(path);
            }
        }
    }
    pages.sort();
    pages
}

fn files_of(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.is_file()).collect()
}

fn has_extension(path: &Path, extension: &str) -> bool {
    path.extension().is_some_and(|found| found == extension)
}

/// The text of a page outside its blocks of code.
fn without_fences(page: &str) -> String {
    let mut inside = false;
    let mut text = String::new();
    for line in page.lines() {
        if line.trim_start().starts_with("```") {
            inside = !inside;
        } else if !inside {
            text.push_str(line);
            text.push('\n');
        }
    }
    text
}

/// The first words of code spans that look like a path of the repository, as in
/// `tests/scripts/outages.sh BINARY`. Leaves out patterns and placeholders.
fn named_paths(text: &str, root: &Path) -> Vec<String> {
    let spans = text.split('`').skip(1).step_by(2);
    let words = spans.filter_map(|span| span.split_whitespace().next());
    let plain = words.filter(|word| !word.contains(['*', '{', '…', '<', '(']));
    plain.filter(|word| is_repository_path(word, root)).map(str::to_owned).collect()
}

fn is_repository_path(word: &str, root: &Path) -> bool {
    let Some((first, _)) = word.split_once('/') else { return false };
    let is_elsewhere = first.is_empty() || first.ends_with([':', '.']) || MADE_LATER.contains(&first);
    let extension = Path::new(word).extension().and_then(|extension| extension.to_str());
    let is_file = extension.is_some_and(|found| ["md", "py", "rs", "sh", "sql", "toml"].contains(&found));
    !is_elsewhere && (is_file || root.join(first).is_dir())
}

/// The targets of `[text](target)`, except for those on other sites.
fn relative_links(text: &str) -> Vec<String> {
    let targets = text.split("](").skip(1).filter_map(|rest| rest.split_once(')'));
    targets.map(|(target, _)| target.to_owned()).filter(|target| !target.contains("://")).collect()
}

/// The anchors of a page's headings, as GitHub makes them: lower case, hyphens for blanks, no punctuation.
fn headings(page: &str) -> BTreeSet<String> {
    let text = without_fences(page);
    let titles =
        text.lines().filter(|line| line.starts_with('#')).map(|line| line.trim_start_matches('#').trim());
    let kept = |letter: char| match letter {
        ' ' => Some('-'),
        _ if letter.is_alphanumeric() || letter == '-' || letter == '_' => Some(letter),
        _ => None,
    };
    titles.map(|title| title.to_lowercase().chars().filter_map(kept).collect()).collect()
}
