use encoding_rs::{SHIFT_JIS, WINDOWS_1250, WINDOWS_1251, WINDOWS_1252};

use super::*;

/// Gives one byte per call, as a slow pipe does.
struct Slowly<'a>(&'a [u8]);

impl Read for Slowly<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.0.len().min(buffer.len()).min(1);
        self.0.read(&mut buffer[..count])
    }
}

fn decoded(bytes: &[u8], named: Option<&'static Encoding>) -> (String, String) {
    let mut reader = TextReader::new(Slowly(bytes), named);
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    (text, reader.encoding().to_string())
}

fn utf_16(text: &str, bytes_of: impl Fn(u16) -> [u8; 2]) -> Vec<u8> {
    text.encode_utf16().flat_map(bytes_of).collect()
}

const TEXT: &str = "Country,Price\nCôte d’Ivoire,2.55\nÖsterreich,3\n";

#[test]
fn every_encoding_of_a_text_gives_the_same_text() {
    let marked = format!("\u{feff}{TEXT}");
    let (in_1252, _, _) = WINDOWS_1252.encode(TEXT);
    for (bytes, encoding) in [
        (TEXT.as_bytes().to_vec(), "UTF-8"),
        (marked.as_bytes().to_vec(), "UTF-8"),
        (utf_16(&marked, u16::to_le_bytes), "UTF-16LE"),
        (utf_16(&marked, u16::to_be_bytes), "UTF-16BE"),
        (utf_16(TEXT, u16::to_le_bytes), "UTF-16LE"),
        (utf_16(TEXT, u16::to_be_bytes), "UTF-16BE"),
        (in_1252.to_vec(), "windows-1252 (guessed)"),
    ] {
        assert_eq!(decoded(&bytes, None), (TEXT.to_owned(), encoding.to_owned()));
    }
}

#[test]
fn the_named_encoding_is_taken_without_a_look_at_the_bytes() {
    let (text, encoding) = decoded("é".as_bytes(), Some(WINDOWS_1252));
    assert_eq!((text.as_str(), encoding.as_str()), ("Ã©", "windows-1252"));
}

#[test]
fn the_first_non_ascii_byte_decides_the_encoding_also_far_from_the_start() {
    let ascii = "85123A,2.55\n".repeat(3 * SAMPLE_BYTES / 12);
    let utf_8 = format!("{ascii}Österreich\n{ascii}");
    let mut reader = TextReader::new(utf_8.as_bytes(), None);
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    assert!(text == utf_8);

    let latin = [ascii.as_bytes(), b"\xd6sterreich\n", ascii.as_bytes()].concat();
    let mut reader = TextReader::new(latin.as_slice(), None);
    text.clear();
    reader.read_to_string(&mut text).unwrap();
    assert!(text == utf_8);
    assert_eq!(reader.encoding().to_string(), "windows-1252 (guessed)");
}

#[test]
fn a_character_at_the_border_of_two_chunks_is_whole() {
    for before in (SAMPLE_BYTES - 3)..=SAMPLE_BYTES {
        let text = format!("ö{}€ö", "x".repeat(before - 2));
        let mut reader = TextReader::new(text.as_bytes(), None);
        let mut read = String::new();
        reader.read_to_string(&mut read).unwrap();
        assert!(read == text, "{before}");
        assert_eq!(reader.encoding().to_string(), "UTF-8");
    }
}

#[test]
fn damaged_bytes_of_a_text_in_utf_8_become_replacement_characters() {
    let (text, encoding) = decoded(b"\xffa\nK\xc3\xb6ln,M\xc3\xbcnchen\n", None);
    assert_eq!((text.as_str(), encoding.as_str()), ("\u{fffd}a\nKöln,München\n", "UTF-8"));
}

#[test]
fn an_empty_file_is_an_empty_text() {
    assert_eq!(decoded(b"", None), (String::new(), "UTF-8".to_owned()));
}

#[test]
fn the_letters_of_a_language_show_its_encoding_and_a_few_signs_are_taken_for_western_ones() {
    for (encoding, text) in [
        (WINDOWS_1252, "DOORMAT 3 FOR £20\n536365,71053,£2.55 EACH\n"),
        (WINDOWS_1252, "Côte d’Ivoire\nRéunion\n"),
        (WINDOWS_1252, "5 €\n"),
        (WINDOWS_1252, "Möbel für Kinder\nÖsterreich\n"),
        (
            WINDOWS_1250,
            "Świecznik biały,Łódź\nKubek żółty,Kraków\nŁyżka mała,Poznań\nTalerz głęboki,Wrocław\n",
        ),
        (WINDOWS_1251, "Кружка белая,Москва\nСвеча,Казань\n"),
        (SHIFT_JIS, "白いカップ,東京都\nろうそく,大阪府\n"),
    ] {
        let (bytes, _, is_lossy) = encoding.encode(text);
        assert!(!is_lossy, "{text}");
        let expected = format!("{} (guessed)", encoding.name());
        assert_eq!(decoded(&bytes, None), (text.to_owned(), expected));
    }
}
