//! The settings file: TOML without tables, with the names of the flags of `serve`.

use std::{
    collections::BTreeMap,
    fs,
    ops::Range,
    path::{Path, PathBuf},
};

use clap::{Arg, Command};
use toml_edit::{Document, Item, Value};

use super::{given::Setting, nearest::suggestion};

/// The values of a file that was checked: each name is a setting, and each value is one that it accepts.
#[derive(Debug, Default)]
pub(super) struct ConfigFile {
    values: BTreeMap<String, Vec<String>>,
}

/// A file that cannot be used. The text quotes no value of a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}{}: {problem}", path.display(), line.map(|line| format!(", line {line}")).unwrap_or_default())]
pub struct ConfigFileError {
    path: PathBuf,
    line: Option<usize>,
    problem: String,
}

impl ConfigFile {
    pub(super) fn read(path: &Path, settings: &[Setting]) -> Result<Self, ConfigFileError> {
        let failed = |line, problem| ConfigFileError { path: path.to_owned(), line, problem };
        let text = fs::read_to_string(path)
            .map_err(|error| failed(None, format!("cannot read the settings file: {error}")))?;
        let line_of = |span: Option<Range<usize>>| span.map(|span| line_at(&text, span.start));
        // The library's full text would quote the line, which may hold a secret.
        let document = Document::parse(text.as_str())
            .map_err(|error| failed(line_of(error.span()), format!("not TOML: {}", error.message())))?;
        let mut values = BTreeMap::new();
        for (name, item) in document.iter() {
            let key = document.as_table().get_key_value(name).and_then(|(key, _)| key.span());
            let line = line_of(key.or_else(|| item.span()));
            let Some(setting) = settings.iter().find(|setting| setting.name == name) else {
                let similar = suggestion(name, settings.iter().map(|setting| setting.name.as_str()));
                return Err(failed(line, format!("{name}: there is no setting with this name{similar}")));
            };
            let given =
                accepted(setting, item).map_err(|problem| failed(line, format!("{name}: {problem}")))?;
            // Empty counts as not set.
            if given.iter().any(|value| !value.is_empty()) {
                values.insert(name.to_owned(), given);
            }
        }
        Ok(Self { values })
    }

    pub(super) fn sets(&self, name: &str) -> bool {
        self.values.contains_key(name)
    }

    /// The argument with the value of the file as its default: flags and environment take precedence.
    pub(super) fn as_default_of(&self, argument: Arg) -> Arg {
        match argument.get_long().and_then(|name| self.values.get(name)) {
            Some(values) => argument.default_values(values.clone()),
            None => argument,
        }
    }
}

/// The number of the line, from 1.
fn line_at(text: &str, offset: usize) -> usize {
    1 + text.as_bytes().iter().take(offset).filter(|byte| **byte == b'\n').count()
}

/// The values of a setting as texts, if it accepts them.
fn accepted(setting: &Setting, item: &Item) -> Result<Vec<String>, String> {
    let is_list = setting.argument.get_value_delimiter().is_some();
    let is_switch = setting.is_switch();
    let texts = match item {
        Item::Value(Value::Array(list)) if is_list => {
            list.iter().map(text_of).collect::<Result<Vec<_>, _>>()?
        }
        Item::Value(Value::Array(_)) => return Err("expected one value, not a list".to_owned()),
        Item::Value(Value::Boolean(value)) if is_switch => return Ok(vec![value.value().to_string()]),
        Item::Value(_) if is_switch => return Err("expected true or false".to_owned()),
        Item::Value(value) => vec![text_of(value)?],
        Item::Table(_) | Item::ArrayOfTables(_) => {
            return Err("is a table; settings stand at the top of the file, without tables".to_owned());
        }
        Item::None => Vec::new(),
    };
    for text in texts.iter().filter(|text| !text.is_empty()) {
        check(setting, text)?;
    }
    Ok(texts)
}

fn text_of(value: &Value) -> Result<String, String> {
    match value {
        Value::String(text) => Ok(text.value().clone()),
        Value::Integer(number) => Ok(number.value().to_string()),
        Value::Boolean(value) => Ok(value.value().to_string()),
        Value::Float(_) | Value::Datetime(_) | Value::Array(_) | Value::InlineTable(_) => {
            Err("expected a text, a whole number, true or false, or a list of texts".to_owned())
        }
    }
}

/// Parses one value as the command line does, so the error has the same words.
fn check(setting: &Setting, text: &str) -> Result<(), String> {
    let Setting { name, argument, .. } = setting;
    let alone = Arg::new(argument.get_id().clone())
        .long(name.clone())
        .value_name(setting.value_name())
        .value_parser(argument.get_value_parser().clone())
        .value_delimiter(argument.get_value_delimiter())
        .action(argument.get_action().clone());
    let command = Command::new("orderly").no_binary_name(true).disable_help_flag(true).arg(alone);
    let checked = command.try_get_matches_from([format!("--{name}={text}")]);
    checked.map(drop).map_err(|error| {
        let text = error.to_string();
        // The other paragraphs are about the command line.
        let reason = text.split("\n\n").next().unwrap_or_default();
        reason.trim_start_matches("error: ").trim_end().to_owned()
    })
}
