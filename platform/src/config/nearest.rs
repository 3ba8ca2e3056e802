//! Suggests a known name for a misspelt one.

use strsim::jaro_winkler;

/// Names that are less similar are no suggestion. The same bound as in clap.
const SIMILARITY_MIN: f64 = 0.7;

/// The known name that is most similar to `name`, if one is similar.
pub(super) fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let similar = known.into_iter().map(|known| (jaro_winkler(name, known), known));
    let most = similar.max_by(|(one, _), (other, _)| one.total_cmp(other));
    most.filter(|(similarity, _)| *similarity > SIMILARITY_MIN).map(|(_, known)| known)
}

/// The suggestion as the end of an error text: empty without one.
pub(super) fn suggestion<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    nearest(name, known).map(|known| format!("; did you mean {known}?")).unwrap_or_default()
}
