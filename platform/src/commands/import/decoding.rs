//! Decodes a file to UTF-8 from the encoding that it has.
//!
//! Reads once and in order, so the input may be a pipe, and holds at most [`SAMPLE_BYTES`] of it.

use std::{
    fmt,
    io::{self, Read},
    mem,
};

use chardetng::{EncodingDetector, Iso2022JpDetection, Utf8Detection};
use encoding_rs::{Decoder, Encoding, UTF_8, UTF_16BE, UTF_16LE, WINDOWS_1252};

/// Bytes that are read at once.
const CHUNK_BYTES: usize = 64 * 1024;
/// Bytes from the first non-ASCII one on that decide the encoding.
const SAMPLE_BYTES: usize = 1024 * 1024;

/// How the encoding of a text was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TextEncoding {
    encoding: &'static Encoding,
    /// From the frequency of its bytes: no rule of the encoding proves it.
    guessed: bool,
}

impl fmt::Display for TextEncoding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.encoding.name())?;
        if self.guessed { f.write_str(" (guessed)") } else { Ok(()) }
    }
}

/// Decodes what it reads to UTF-8. Bytes that the encoding does not have become U+FFFD.
pub struct TextReader<R> {
    content: R,
    state: State,
    encoding: TextEncoding,
    /// Read to decide the encoding, and not decoded yet.
    ahead: Vec<u8>,
    at_end: bool,
    text: Vec<u8>,
    /// Bytes of `text` that the caller has.
    taken: usize,
}

enum State {
    /// Nothing is read yet. The encoding that the operator named.
    Start(Option<&'static Encoding>),
    /// Only ASCII was read, which is the same in all encodings that are possible.
    Ascii,
    Decoding(Box<Decoder>),
    Ended,
}

impl<R: Read> TextReader<R> {
    pub fn new(content: R, named: Option<&'static Encoding>) -> Self {
        Self {
            content,
            state: State::Start(named),
            encoding: TextEncoding { encoding: UTF_8, guessed: false },
            ahead: Vec::new(),
            at_end: false,
            text: Vec::new(),
            taken: 0,
        }
    }

    /// The encoding as far as the text is read.
    pub fn encoding(&self) -> TextEncoding {
        self.encoding
    }

    pub fn into_inner(self) -> R {
        self.content
    }

    /// Decodes the next bytes. `text` may be empty afterwards.
    fn fill(&mut self) -> io::Result<()> {
        let mut chunk = mem::take(&mut self.ahead);
        if chunk.is_empty() {
            self.read_on(&mut chunk, CHUNK_BYTES)?;
        }
        if let State::Start(named) = self.state {
            self.start(named, &chunk);
        }
        self.text.clear();
        self.taken = 0;
        match &mut self.state {
            State::Ascii => {
                let ascii = Encoding::ascii_valid_up_to(&chunk);
                self.text.extend_from_slice(&chunk[..ascii]);
                if ascii < chunk.len() {
                    chunk.drain(..ascii);
                    let missing = SAMPLE_BYTES.saturating_sub(chunk.len());
                    self.read_on(&mut chunk, missing)?;
                    self.encoding = encoding_of(&chunk, self.at_end);
                    let decoder = self.encoding.encoding.new_decoder_without_bom_handling();
                    self.state = State::Decoding(Box::new(decoder));
                    self.ahead = chunk;
                } else if self.at_end {
                    self.state = State::Ended;
                }
            }
            State::Decoding(decoder) => {
                let bytes_max = decoder.max_utf8_buffer_length(chunk.len()).unwrap_or(usize::MAX);
                self.text.resize(bytes_max, 0);
                let (_, _, written, _) = decoder.decode_to_utf8(&chunk, &mut self.text, self.at_end);
                self.text.truncate(written);
                if self.at_end {
                    self.state = State::Ended;
                }
            }
            State::Start(_) | State::Ended => {}
        }
        Ok(())
    }

    fn start(&mut self, named: Option<&'static Encoding>, first: &[u8]) {
        let by_mark = Encoding::for_bom(first).map(|(encoding, _)| encoding);
        let found = named.or(by_mark).or_else(|| utf_16_without_mark(first));
        self.state = match found {
            Some(encoding) => {
                self.encoding.encoding = encoding;
                State::Decoding(Box::new(encoding.new_decoder_with_bom_removal()))
            }
            None => State::Ascii,
        };
    }

    /// Reads `count` bytes, or all that are left.
    fn read_on(&mut self, bytes: &mut Vec<u8>, count: usize) -> io::Result<()> {
        let read = self.content.by_ref().take(count as u64).read_to_end(bytes)?;
        self.at_end = read < count;
        Ok(())
    }
}

impl<R: Read> Read for TextReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.taken == self.text.len() && !matches!(self.state, State::Ended) {
            self.fill()?;
        }
        let left = &self.text[self.taken..];
        let count = left.len().min(buffer.len());
        buffer[..count].copy_from_slice(&left[..count]);
        self.taken += count;
        Ok(count)
    }
}

/// The header of a table begins with a letter, a digit or a quote: in UTF-16, one of its two bytes is 0.
fn utf_16_without_mark(first: &[u8]) -> Option<&'static Encoding> {
    match first {
        [low, 0, ..] if *low != 0 => Some(UTF_16LE),
        [0, low, ..] if *low != 0 => Some(UTF_16BE),
        _ => None,
    }
}

/// The encoding of bytes that begin with the first non-ASCII one. They are UTF-8 if more characters than damaged
/// places are: text in another encoding is almost never valid UTF-8 by chance.
fn encoding_of(sample: &[u8], is_whole: bool) -> TextEncoding {
    let (mut characters, mut damaged) = (0, 0);
    let mut chunks = sample.utf8_chunks().peekable();
    while let Some(chunk) = chunks.next() {
        characters += chunk.valid().chars().filter(|char| !char.is_ascii()).count();
        // The sample may end inside a character.
        let is_cut = chunks.peek().is_none() && !is_whole;
        damaged += usize::from(!chunk.invalid().is_empty() && !is_cut);
    }
    if characters > damaged {
        return TextEncoding { encoding: UTF_8, guessed: false };
    }
    if has_signs_only(sample) {
        return TextEncoding { encoding: WINDOWS_1252, guessed: true };
    }
    let mut detector = EncodingDetector::new(Iso2022JpDetection::Deny);
    detector.feed(sample, is_whole);
    TextEncoding { encoding: detector.guess(None, Utf8Detection::Deny), guessed: true }
}

/// True if Windows-1252 shows no letter outside of ASCII, only signs such as `£`. The detector knows languages by their
/// letters, and takes a few pound signs for Polish ones.
fn has_signs_only(sample: &[u8]) -> bool {
    let (text, _) = WINDOWS_1252.decode_without_bom_handling(sample);
    text.chars().filter(|char| !char.is_ascii()).all(|char| !char.is_alphabetic() && !char.is_control())
}

#[cfg(test)]
mod tests;
