//! The rule for free text, and the truncation of text from a payment provider.

/// The most characters of a free text: a reference, a reason, a note, a metadata key or value.
pub const TEXT_CHARS_MAX: usize = 500;

/// A text that is empty, is too long or has a control character. The message follows the name of the member.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("has 1 to {chars_max} characters, none of them a control character")]
pub struct InvalidText {
    pub chars_max: usize,
}

/// Accepts 1 to [`TEXT_CHARS_MAX`] characters, none of them a control character.
pub fn check(text: &str) -> Result<(), InvalidText> {
    check_within(text, TEXT_CHARS_MAX)
}

/// Accepts 1 to `chars_max` characters, none of them a control character.
pub fn check_within(text: &str, chars_max: usize) -> Result<(), InvalidText> {
    let length_fits = (1..=chars_max).contains(&text.chars().count());
    let is_valid = length_fits && !text.chars().any(char::is_control);
    if is_valid { Ok(()) } else { Err(InvalidText { chars_max }) }
}

/// Removes control characters, then keeps the first [`TEXT_CHARS_MAX`] characters. None if nothing is left.
///
/// For text from a payment provider: its report must be recorded, even if a text in it is too long.
pub fn truncated(text: &str) -> Option<String> {
    let kept: String = text.chars().filter(|char| !char.is_control()).take(TEXT_CHARS_MAX).collect();
    (!kept.is_empty()).then_some(kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_has_1_to_500_characters_and_no_control_character() {
        for text in ["x", &"ß".repeat(500)] {
            assert_eq!(check(text), Ok(()));
        }
        for text in ["", "a\nb", "a\0", &"x".repeat(501)] {
            assert_eq!(check(text), Err(InvalidText { chars_max: 500 }));
        }
    }

    #[test]
    fn truncation_removes_control_characters_and_keeps_500_characters() {
        assert_eq!(truncated("declined\n\0"), Some("declined".to_owned()));
        assert_eq!(truncated(&format!("\n{}", "ß".repeat(501))), Some("ß".repeat(500)));
        assert_eq!(truncated("\n"), None);
    }
}
