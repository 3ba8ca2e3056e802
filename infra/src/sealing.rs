//! Seals signing secrets before a store writes them: AES-256-GCM under a key that is in no store.
//!
//! A sealed secret is the text `sealed:v1:KEY_ID:BASE64`, the base64 of nonce, ciphertext and tag. It is bound to its row
//! and column, so a text that was moved to another row does not open. Stored texts without this prefix are plain.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use base64::{Engine, prelude::BASE64_STANDARD};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::signature::SigningSecret;

const SETTING: &str = "ORDERLY_SECRETS_KEY_FILE";
const PREFIX: &str = "sealed:v1:";
const KEY_BYTES: usize = 32;
const KEY_ID_BYTES: usize = 6;
/// A key file has a key for each rotation that is not finished, so 2 in most cases.
const KEYS_MAX: usize = 16;

/// The keys of one installation. The first one seals, and each one opens. Without keys, secrets are stored in plain
/// text. `Debug` shows ids only. Clones share the keys.
#[derive(Debug, Clone, Default)]
pub struct SecretKeys(Arc<[SecretKey]>);

struct SecretKey {
    id: KeyId,
    key: RandomizedNonceKey,
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SecretKey").field(&self.id.0).finish()
    }
}

/// The first 48 bits of the SHA-256 of a key, as 12 hex digits. Reveals nothing of the key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct KeyId(String);

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where a secret is stored.
#[derive(Debug, Clone, Copy)]
pub struct SecretPlace {
    /// Table and column.
    pub column: &'static str,
    /// The id of the row.
    pub row: Uuid,
}

impl SecretPlace {
    fn aad(self) -> Aad<String> {
        Aad::from(format!("{}:{}", self.column, self.row))
    }
}

/// Why a stored secret cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnreadableSecret {
    #[error("the stored signing secret is malformed; rotate the secret")]
    Damaged,
    #[error("the stored signing secret is sealed under the key {0}, which {SETTING} does not have")]
    NoKey(KeyId),
}

/// Why a key file cannot be used. The text names the setting, and shows no key.
#[derive(Debug, thiserror::Error)]
#[error("{SETTING}: {}: {problem}", path.display())]
pub struct SecretKeysError {
    path: PathBuf,
    problem: String,
}

impl SecretKeys {
    /// Reads a file with one key a line: the base64 of 32 bytes. Skips empty lines, and lines that begin with `#`.
    /// Blocks.
    pub fn read(path: &Path) -> Result<Self, SecretKeysError> {
        let failed = |problem| SecretKeysError { path: path.to_owned(), problem };
        let text = fs::read_to_string(path).map_err(|error| failed(error.to_string()))?;
        Self::parse(&text).map_err(failed)
    }

    fn parse(text: &str) -> Result<Self, String> {
        let mut keys: Vec<SecretKey> = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let number = index + 1;
            let key = SecretKey::parse(line)
                .ok_or_else(|| format!("line {number}: expected the base64 of {KEY_BYTES} bytes"))?;
            if keys.iter().any(|earlier| earlier.id == key.id) {
                return Err(format!("line {number}: the key stands on an earlier line, too"));
            }
            keys.push(key);
        }
        match keys.len() {
            0 => Err("there is no key; make one with `openssl rand -base64 32`".to_owned()),
            1..=KEYS_MAX => Ok(Self(keys.into())),
            _ => Err(format!("there are more than {KEYS_MAX} keys")),
        }
    }

    /// One key that no other process has, and that ends with this one.
    pub fn of_this_process() -> Result<Self, getrandom::Error> {
        let mut bytes = [0; KEY_BYTES];
        getrandom::fill(&mut bytes)?;
        let key = SecretKey::of_bytes(&bytes).expect("the key has the length that AES-256 needs");
        Ok(Self([key].into()))
    }

    /// Seals a text that a browser keeps for this installation. `None` without keys.
    pub fn seal_for_browser(&self, text: &str, place: SecretPlace) -> Option<String> {
        self.0.first().map(|key| key.seal(text, place))
    }

    /// The text that [`SecretKeys::seal_for_browser`] sealed for this place. `None` for every other text.
    pub fn open_from_browser(&self, text: &str, place: SecretPlace) -> Option<String> {
        let (id, encoded) = sealed(text)?;
        self.0.iter().find(|key| key.id.0 == id)?.open(encoded, place)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The text to store for a secret.
    pub fn seal(&self, secret: &SigningSecret, place: SecretPlace) -> String {
        let plain = secret.reveal();
        match self.0.first() {
            Some(key) => key.seal(&plain, place),
            None => plain,
        }
    }

    /// The secret of a stored text.
    pub fn open(&self, stored: &str, place: SecretPlace) -> Result<SigningSecret, UnreadableSecret> {
        SigningSecret::parse(&self.open_text(stored, place)?).map_err(|_| UnreadableSecret::Damaged)
    }

    /// The text that replaces a stored one: the same secret under the first key. `None` if the text is already sealed
    /// under it, if it cannot be opened, and without keys.
    pub fn seal_again(&self, stored: &str, place: SecretPlace) -> Option<String> {
        let first = self.0.first()?;
        if sealed(stored).is_some_and(|(id, _)| id == first.id.0) {
            return None;
        }
        self.open_text(stored, place).ok().map(|plain| first.seal(&plain, place))
    }

    fn open_text(&self, stored: &str, place: SecretPlace) -> Result<String, UnreadableSecret> {
        if !is_sealed(stored) {
            return Ok(stored.to_owned());
        }
        let (id, encoded) = sealed(stored).ok_or(UnreadableSecret::Damaged)?;
        let key = self.0.iter().find(|key| key.id.0 == id);
        let key = key.ok_or_else(|| UnreadableSecret::NoKey(KeyId(id.to_owned())))?;
        key.open(encoded, place).ok_or(UnreadableSecret::Damaged)
    }
}

/// False for a text that is stored in plain text.
pub fn is_sealed(stored: &str) -> bool {
    stored.starts_with(PREFIX)
}

/// The key id and the base64 of a sealed text. `None` if it is plain or malformed.
fn sealed(stored: &str) -> Option<(&str, &str)> {
    let (id, encoded) = stored.strip_prefix(PREFIX)?.split_once(':')?;
    let is_id = id.len() == 2 * KEY_ID_BYTES && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_id.then_some((id, encoded))
}

impl SecretKey {
    fn parse(line: &str) -> Option<Self> {
        let bytes = BASE64_STANDARD.decode(line).ok().filter(|bytes| bytes.len() == KEY_BYTES)?;
        Self::of_bytes(&bytes)
    }

    fn of_bytes(bytes: &[u8]) -> Option<Self> {
        let digest = Sha256::digest(bytes);
        let id = hex::encode(&digest[..KEY_ID_BYTES]);
        let key = RandomizedNonceKey::new(&AES_256_GCM, bytes).ok()?;
        Some(Self { id: KeyId(id), key })
    }

    fn seal(&self, plain: &str, place: SecretPlace) -> String {
        let mut bytes = plain.as_bytes().to_vec();
        let nonce = self.key.seal_in_place_append_tag(place.aad(), &mut bytes);
        let nonce = nonce.expect("AES-GCM seals a text of this length");
        let sealed = [nonce.as_ref().as_slice(), &bytes].concat();
        format!("{PREFIX}{}:{}", self.id, BASE64_STANDARD.encode(sealed))
    }

    /// `None` if the text was changed, or belongs to another place.
    fn open(&self, encoded: &str, place: SecretPlace) -> Option<String> {
        let mut bytes = BASE64_STANDARD.decode(encoded).ok()?;
        let (nonce, sealed) = bytes.split_at_mut_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let plain = self.key.open_in_place(nonce, place.aad(), sealed).ok()?;
        String::from_utf8(plain.to_vec()).ok()
    }
}

#[cfg(test)]
mod tests;
