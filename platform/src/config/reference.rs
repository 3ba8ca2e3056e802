//! The tables of docs/configuration.md.

use std::{collections::BTreeMap, fmt::Write};

use clap::Command;

use super::given::Setting;

/// All settings: those of every command, those of `serve`, and those of the other commands.
pub fn tables(binary: &Command) -> String {
    let mut text = String::new();
    let of_every_command: Vec<Setting> = binary.get_arguments().filter_map(Setting::of).collect();
    section(&mut text, "Of every command", &of_every_command);
    let of_serve: Vec<Setting> = binary
        .find_subcommand("serve")
        .into_iter()
        .flat_map(Command::get_arguments)
        .filter_map(Setting::of)
        .collect();
    section(&mut text, "Of `serve`", &of_serve);
    text.push_str(
        "\n### Of other commands\n\nThe settings file cannot have these.\n\n| flag | variable | commands |\n| --- | --- | --- \
         |\n",
    );
    let mut others = BTreeMap::new();
    for command in
        binary.get_subcommands().filter(|command| !matches!(command.get_name(), "serve" | "config"))
    {
        collect(command, command.get_name(), &of_serve, &mut others);
    }
    for ((name, variable), commands) in others {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "| `--{name}` | `{variable}` | `{}` |", commands.join("`, `"));
    }
    text
}

fn section(text: &mut String, title: &str, settings: &[Setting]) {
    let _ = write!(
        text,
        "\n### {title}\n\n| name in the file, and flag | variable | default | meaning |\n| --- | --- | --- | --- |\n"
    );
    for setting in settings {
        let Setting { name, variable, .. } = setting;
        let (meaning, default) = described(setting);
        let value = setting.value_name();
        let shown = if setting.is_switch() { format!("`{name}`") } else { format!("`{name}` {value}") };
        let notes = if setting.has_no_flag() { " No flag." } else { "" };
        let _ = writeln!(text, "| {} | `{variable}` | {default} | {meaning}{notes} |", escaped(&shown));
    }
}

/// The help of an argument and its default. A default that depends on other settings stands in the help.
fn described(setting: &Setting) -> (String, String) {
    let argument = &setting.argument;
    let help = argument.get_long_help().or(argument.get_help()).map(ToString::to_string).unwrap_or_default();
    let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
    let computed = help.strip_suffix(']').and_then(|help| help.rsplit_once(" [default: "));
    let (meaning, default) = match computed {
        Some((meaning, default)) => (meaning, default.to_owned()),
        None => (help.as_str(), fixed_default(setting)),
    };
    let names: Vec<String> =
        argument.get_possible_values().iter().map(|value| format!("`{}`", value.get_name())).collect();
    let has_choices = !setting.is_switch() && !names.is_empty();
    let choices = if has_choices { format!(" One of {}.", names.join(", ")) } else { String::new() };
    (escaped(&format!("{}.{choices}", meaning.trim_end_matches('.'))), escaped(&default))
}

fn fixed_default(setting: &Setting) -> String {
    let values = setting.argument.get_default_values().iter().map(|value| value.to_string_lossy());
    let joined = values.collect::<Vec<_>>().join(",");
    match (joined.is_empty(), setting.is_switch()) {
        (false, _) => format!("`{joined}`"),
        (true, true) => "`false`".to_owned(),
        (true, false) => "none".to_owned(),
    }
}

/// Settings of other commands by name, with the commands that read them.
fn collect(
    command: &Command,
    path: &str,
    known: &[Setting],
    others: &mut BTreeMap<(String, String), Vec<String>>,
) {
    for Setting { name, variable, .. } in command.get_arguments().filter_map(Setting::of) {
        if !known.iter().any(|known| known.name == name) {
            others.entry((name, variable)).or_default().push(path.to_owned());
        }
    }
    for subcommand in command.get_subcommands() {
        collect(subcommand, &format!("{path} {}", subcommand.get_name()), known, others);
    }
}

/// A vertical bar would end the cell.
fn escaped(text: &str) -> String {
    text.replace('|', "\\|")
}
