//! `CONFIG`.

use crate::config::{ConfigError, OPTIONS};

use super::client_list::describe;
use super::context::Context;
use super::error::{Failure, Result, error, wrong_arity};
use super::spec::Command;
use super::text::matches;

const fn admin(command: Command) -> Command {
    command.group("server").admin()
}

pub(super) static COMMANDS: &[Command] = &[admin(Command::container(
    "config",
    SUBCOMMANDS,
    "The settings in force.",
))];

static SUBCOMMANDS: &[Command] = &[
    admin(Command::new(
        "get",
        -3,
        get,
        "Returns settings whose names match patterns.",
    )),
    admin(Command::new(
        "set",
        -4,
        set,
        "Changes settings, all or none.",
    )),
    admin(Command::new(
        "resetstat",
        2,
        resetstat,
        "Sets counters to zero.",
    )),
    admin(Command::new(
        "rewrite",
        2,
        rewrite,
        "Writes the settings to the configuration file.",
    )),
    admin(Command::new("help", 2, help, "Lists the subcommands.")),
];

fn get(context: &mut Context<'_, '_>) -> Result {
    let settings = context.node.config.get();
    let patterns: Vec<Vec<u8>> = context
        .args
        .from(2)
        .iter()
        .map(<[u8]>::to_ascii_lowercase)
        .collect();
    let asked = |name: &str| {
        patterns
            .iter()
            .any(|pattern| matches(pattern, name.as_bytes()))
    };
    let mut found = Vec::new();
    for option in OPTIONS {
        for name in [Some(option.name), option.alias].into_iter().flatten() {
            if asked(name) {
                found.push((name, option.show(&settings)));
            }
        }
    }
    context.reply.map(found.len());
    for (name, value) in found {
        context.reply.bulk(name.as_bytes());
        context.reply.bulk(value.as_bytes());
    }
    Ok(())
}

fn set(context: &mut Context<'_, '_>) -> Result {
    let args = context.args.from(2);
    if !args.len().is_multiple_of(2) {
        return Err(wrong_arity("config|set"));
    }
    let texts: Vec<String> = args
        .iter()
        .map(|arg| String::from_utf8_lossy(arg).into_owned())
        .collect();
    let changes: Vec<(&str, &str)> = texts
        .chunks_exact(2)
        .map(|pair| (pair[0].as_str(), pair[1].as_str()))
        .collect();
    for (index, (name, _)) in changes.iter().enumerate() {
        if changes[..index]
            .iter()
            .any(|(other, _)| other.eq_ignore_ascii_case(name))
        {
            return Err(Failure::new(format!(
                "ERR CONFIG SET failed (possibly related to argument '{name}') - duplicate parameter"
            )));
        }
    }
    context.node.config.set(&changes).map_err(refusal)?;
    context.node.settings_changed();
    context.node.persistence.adopt(context.node);
    context.reply.ok();
    Ok(())
}

fn refusal(refused: ConfigError) -> Failure {
    Failure::new(match refused {
        ConfigError::Unknown { .. } => {
            format!("ERR Unknown option or number of arguments for CONFIG SET - {refused}")
        }
        ConfigError::Value { name, allowed, .. } => {
            format!(
                "ERR CONFIG SET failed (possibly related to argument '{name}') - argument {allowed}"
            )
        }
        ConfigError::Fixed(name) => {
            format!(
                "ERR CONFIG SET failed (possibly related to argument '{name}') - can't set immutable config"
            )
        }
        other => format!("ERR CONFIG SET failed - {other}"),
    })
}

fn resetstat(context: &mut Context<'_, '_>) -> Result {
    context.node.stats.reset();
    context.node.store.memory().reset_peak();
    context.node.store.walk_locks().reset();
    context.reply.ok();
    Ok(())
}

fn rewrite(context: &mut Context<'_, '_>) -> Result {
    match context.node.config.rewrite() {
        Ok(()) => {
            context.reply.ok();
            Ok(())
        }
        Err(ConfigError::Usage(_)) => Err(error("ERR The server is running without a config file")),
        Err(failed) => Err(Failure::new(format!("ERR Rewriting config file: {failed}"))),
    }
}

fn help(context: &mut Context<'_, '_>) -> Result {
    describe(&mut context.reply, "CONFIG", SUBCOMMANDS);
    Ok(())
}
