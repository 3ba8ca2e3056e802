//! Users and what they may do, as the server has it by default: administrators may do everything, other users
//! read and write streams without `$`. A user reads the whole log only if the metadata of `$all` says so.

use base64::{Engine, prelude::BASE64_STANDARD};
use http::{HeaderMap, header::AUTHORIZATION};
use tonic::Status;

use super::{errors, log::Log};

/// The name of the whole log in rules.
pub const ALL: &str = "$all";

/// A user of the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    pub name: String,
    pub password: String,
    /// True for members of the group `$admins`.
    pub is_admin: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Right {
    Read,
    Write,
}

/// Who makes a call.
#[derive(Debug, Clone)]
pub enum Caller {
    /// The server has no users: everybody may do everything.
    Unchecked,
    Anonymous,
    Known(User),
}

impl Caller {
    /// The caller of a request. Fails for a wrong user or password.
    pub fn new(users: &[User], headers: &HeaderMap) -> Result<Self, Status> {
        if users.is_empty() {
            return Ok(Self::Unchecked);
        }
        let Some(credentials) = headers.get(AUTHORIZATION) else { return Ok(Self::Anonymous) };
        let decoded = credentials
            .to_str()
            .ok()
            .and_then(|text| text.strip_prefix("Basic "))
            .and_then(|encoded| BASE64_STANDARD.decode(encoded).ok())
            .and_then(|decoded| String::from_utf8(decoded).ok());
        let known = decoded.as_deref().and_then(|text| text.split_once(':')).and_then(|(name, password)| {
            users.iter().find(|user| user.name == name && user.password == password)
        });
        known.cloned().map(Self::Known).ok_or_else(errors::unauthenticated)
    }

    pub fn check(&self, right: Right, stream: &str, log: &Log) -> Result<(), Status> {
        let is_allowed = match self {
            Self::Unchecked => true,
            Self::Anonymous => false,
            Self::Known(user) if user.is_admin => true,
            Self::Known(user) => {
                let readers = log.metadata(stream).readers;
                let by_default =
                    !stream.starts_with('$') || stream.starts_with("$$") && !stream.starts_with("$$$");
                match right {
                    Right::Read => readers.map_or(by_default, |readers| {
                        readers.iter().any(|reader| *reader == user.name || reader == ALL)
                    }),
                    Right::Write => by_default,
                }
            }
        };
        if is_allowed { Ok(()) } else { Err(errors::access_denied()) }
    }
}
