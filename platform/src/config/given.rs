//! Reads the arguments of a command from flags, environment and file, in this order of precedence.
//!
//! Each setting is one argument of clap, which reads flags and environment. The values of the file become the
//! defaults of the arguments.

use std::{env, fmt, path::PathBuf};

use clap::{Arg, ArgAction, ArgMatches, Command, Parser, parser::ValueSource as ClapSource};

use super::{
    BusUrl, EventStoreUrl, OtlpEndpoint, PaymentProviderUrl, ReadModelsUrl, ReplicaUrl,
    file::{ConfigFile, ConfigFileError},
    urls::holds_no_secret,
    variables::{self, UnknownVariable},
};

/// The id of the argument that names the file. The file itself cannot set it.
const FILE: &str = "config";
/// The command whose settings the file has.
const SERVE: &str = "serve";

/// A setting of `serve`: it has a flag, a variable and a name in the file.
#[derive(Debug, Clone)]
pub struct Setting {
    /// The name of the flag, without `--`, and the name in the file.
    pub name: String,
    pub variable: String,
    pub(super) argument: Arg,
}

/// Where the value of a setting comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ValueOrigin {
    Flag,
    Environment,
    File,
    Default,
}

/// A setting with its value.
#[derive(Debug, Clone)]
pub struct SettingValue {
    pub name: String,
    /// Without secrets. `None`: not set.
    pub shown: Option<String>,
    /// True if `shown` is the value as it was given.
    pub is_complete: bool,
    pub origin: ValueOrigin,
    pub is_list: bool,
    pub is_switch: bool,
}

/// What was given to a process.
#[derive(Debug)]
pub struct Given {
    settings: Vec<Setting>,
    /// Of the innermost command.
    matches: ArgMatches,
    file: ConfigFile,
}

/// Why the arguments of a process cannot be used. No text shows a secret.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// Also the answers to `--help` and `--version`.
    #[error(transparent)]
    Arguments(#[from] clap::Error),
    #[error(transparent)]
    Variable(#[from] UnknownVariable),
    #[error(transparent)]
    File(#[from] ConfigFileError),
    #[error(
        "--{name}: every user of this machine can read flags: set {variable} in the environment, or {name} in the \
         settings file"
    )]
    SecretFlag { name: String, variable: String },
}

/// Reads the arguments of this process.
pub fn read<C: Parser>() -> Result<(C, Given), ReadError> {
    let declared = C::command();
    let settings = Setting::all(&declared);
    let command = changed(declared.clone(), &without_empty_variable);
    let without_file = command.clone().try_get_matches()?;
    variables::check(&declared, env::vars_os())?;
    let path = without_file.get_one::<PathBuf>(FILE);
    let file = path.map(|path| ConfigFile::read(path, &settings)).transpose()?;
    let matches = match &file {
        None => without_file,
        Some(file) => changed(command.clone(), &|argument| file.as_default_of(argument)).try_get_matches()?,
    };
    let parsed = C::from_arg_matches(&matches).map_err(|error| error.format(&mut command.clone()))?;
    let given = Given { settings, matches: innermost(matches), file: file.unwrap_or_default() };
    given.refuse_secret_flags()?;
    Ok((parsed, given))
}

/// The command with each argument changed, also those of its subcommands.
fn changed(command: Command, change: &dyn Fn(Arg) -> Arg) -> Command {
    command.mut_args(change).mut_subcommands(|subcommand| changed(subcommand, change))
}

/// An empty variable counts as not set.
fn without_empty_variable(argument: Arg) -> Arg {
    let is_empty = |name| env::var_os(name).is_some_and(|value| value.is_empty());
    if argument.get_env().is_some_and(is_empty) { argument.env(None::<&str>) } else { argument }
}

fn innermost(matches: ArgMatches) -> ArgMatches {
    match matches.subcommand() {
        Some((_, inner)) => innermost(inner.clone()),
        None => matches,
    }
}

impl Setting {
    /// The settings of every command, then those of `serve`.
    pub(super) fn all(command: &Command) -> Vec<Self> {
        let of_serve = command.find_subcommand(SERVE).into_iter().flat_map(Command::get_arguments);
        let arguments = command.get_arguments().chain(of_serve);
        arguments.filter(|argument| argument.get_id() != FILE).filter_map(Self::of).collect()
    }

    pub(super) fn of(argument: &Arg) -> Option<Self> {
        let name = argument.get_long()?.to_owned();
        let variable = argument.get_env()?.to_string_lossy().into_owned();
        Some(Self { name, variable, argument: argument.clone() })
    }

    /// True for a flag without a value.
    pub(super) fn is_switch(&self) -> bool {
        matches!(self.argument.get_action(), ArgAction::SetTrue)
    }

    /// The name of the value in a help text.
    pub(super) fn value_name(&self) -> String {
        let names = self.argument.get_value_names().unwrap_or_default();
        names.first().map(ToString::to_string).unwrap_or_default()
    }

    /// True if the value is or may contain a secret.
    pub(super) fn is_secret(&self) -> bool {
        self.argument.is_hide_env_values_set()
    }

    /// True if the value is refused as a flag.
    pub(super) fn has_no_flag(&self) -> bool {
        self.is_secret() && self.argument.is_hide_set()
    }
}

impl Given {
    /// Every setting of `serve`, in the order of its help.
    pub fn values(&self) -> Vec<SettingValue> {
        self.settings.iter().map(|setting| self.value(setting)).collect()
    }

    fn value(&self, setting: &Setting) -> SettingValue {
        let id = setting.argument.get_id().as_str();
        let raw = self.matches.try_get_raw(id).ok().flatten();
        let raw: Option<String> =
            raw.map(|values| values.map(|value| value.to_string_lossy()).collect::<Vec<_>>().join(","));
        let shown = match &raw {
            Some(given) if setting.is_secret() => Some(self.without_secret(id, given)),
            Some(_) | None => raw.clone(),
        };
        SettingValue {
            name: setting.name.clone(),
            is_complete: shown == raw,
            shown: shown.filter(|shown| !shown.is_empty()),
            origin: self.origin(setting),
            is_list: setting.argument.get_value_delimiter().is_some(),
            is_switch: setting.is_switch(),
        }
    }

    /// A URL without what may be secret in it, or stars for another value.
    fn without_secret(&self, id: &str, given: &str) -> String {
        let printed = self
            .printed::<EventStoreUrl>(id)
            .or_else(|| self.printed::<BusUrl>(id))
            .or_else(|| self.printed::<ReadModelsUrl>(id))
            .or_else(|| self.printed::<ReplicaUrl>(id))
            .or_else(|| self.printed::<PaymentProviderUrl>(id))
            .or_else(|| self.printed::<OtlpEndpoint>(id));
        match printed {
            Some(_) if holds_no_secret(given) => given.to_owned(),
            Some(printed) => printed,
            None => "***".to_owned(),
        }
    }

    fn printed<T: fmt::Display + Clone + Send + Sync + 'static>(&self, id: &str) -> Option<String> {
        self.matches.try_get_one::<T>(id).ok().flatten().map(ToString::to_string)
    }

    fn origin(&self, setting: &Setting) -> ValueOrigin {
        let id = setting.argument.get_id().as_str();
        // Another command than `serve` has some of the settings only, and clap panics for the others.
        if self.matches.try_get_raw(id).is_err() {
            return ValueOrigin::Default;
        }
        match self.matches.value_source(id) {
            Some(ClapSource::CommandLine) => ValueOrigin::Flag,
            Some(ClapSource::EnvVariable) => ValueOrigin::Environment,
            Some(_) if self.file.sets(&setting.name) => ValueOrigin::File,
            Some(_) | None => ValueOrigin::Default,
        }
    }

    fn refuse_secret_flags(&self) -> Result<(), ReadError> {
        let is_flag = |setting: &&Setting| setting.has_no_flag() && self.origin(setting) == ValueOrigin::Flag;
        match self.settings.iter().find(is_flag) {
            Some(Setting { name, variable, .. }) => {
                Err(ReadError::SecretFlag { name: name.clone(), variable: variable.clone() })
            }
            None => Ok(()),
        }
    }
}
