//! `INFO`.

use super::context::Context;
use super::error::Result;
use super::spec::Command;

pub(super) static COMMANDS: &[Command] = &[Command::new("info", -1, info, "Describes the server.")
    .group("server")
    .anytime()];

fn info(context: &mut Context<'_, '_>) -> Result {
    let sections = context.args.from(1);
    let sections: Vec<String> = sections
        .iter()
        .map(|name| String::from_utf8_lossy(name).into_owned())
        .collect();
    let text = crate::info::info(context.node, &sections);
    context.reply.verbatim(&text);
    Ok(())
}
