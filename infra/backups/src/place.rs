//! Where backups are kept.

use std::{fmt, path::PathBuf, str::FromStr};

/// A directory, or a folder of a bucket in a store that speaks the protocol of Amazon S3. Holds no secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    Directory(PathBuf),
    Bucket { name: String, prefix: String },
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPlace {
    #[error("expected a directory, `file:///DIRECTORY` or `s3://BUCKET/FOLDER`")]
    Scheme,
    #[error(
        "a bucket has a name of 3 to 63 lower-case letters, digits, `-` and `.`, as in `s3://my-backups/orderly`"
    )]
    BucketName,
    #[error("the folder in the bucket has a name that cannot be used: {0}")]
    Prefix(String),
}

impl FromStr for Place {
    type Err = InvalidPlace;

    fn from_str(text: &str) -> Result<Self, InvalidPlace> {
        if let Some(rest) = text.strip_prefix("s3://") {
            return bucket(rest);
        }
        if let Some(path) = text.strip_prefix("file://") {
            return if path.starts_with('/') {
                Ok(Self::Directory(path.into()))
            } else {
                Err(InvalidPlace::Scheme)
            };
        }
        if text.is_empty() || text.contains("://") {
            return Err(InvalidPlace::Scheme);
        }
        Ok(Self::Directory(text.into()))
    }
}

fn bucket(text: &str) -> Result<Place, InvalidPlace> {
    let (name, prefix) = text.split_once('/').unwrap_or((text, ""));
    let is_valid =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'.');
    if !(3..=63).contains(&name.len()) || !name.bytes().all(is_valid) {
        return Err(InvalidPlace::BucketName);
    }
    let prefix =
        object_store::path::Path::parse(prefix).map_err(|error| InvalidPlace::Prefix(error.to_string()))?;
    Ok(Place::Bucket { name: name.to_owned(), prefix: prefix.to_string() })
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory(path) => path.display().fmt(f),
            Self::Bucket { name, prefix } => write!(f, "s3://{name}/{prefix}"),
        }
    }
}
