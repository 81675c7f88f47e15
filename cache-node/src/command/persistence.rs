//! Commands about what is on disk: `SAVE`, `BGSAVE`, `LASTSAVE`.

use crate::persistence::NotBegun;

use super::context::{AsyncContext, Context};
use super::error::{Failure, Result, SYNTAX, error};
use super::spec::{Command, Waiting};

const fn server(command: Command) -> Command {
    command.group("server").anytime()
}

pub(super) static COMMANDS: &[Command] = &[
    server(Command::waiting(
        "save",
        1,
        save,
        "Saves the data set, and answers when that is done; other clients go on.",
    ))
    .admin(),
    server(Command::new(
        "bgsave",
        -1,
        bgsave,
        "Saves the data set in the background.",
    ))
    .admin(),
    server(Command::new(
        "lastsave",
        1,
        lastsave,
        "Returns when the data set was last saved; before the first save, the start.",
    ))
    .fast(),
];

fn save(context: AsyncContext<'_>) -> Waiting<'_> {
    Box::pin(async move {
        let mut context = context;
        refuse_while_loading(context.node.is_loading())?;
        let node = context.node;
        match node.persistence.save_now(node).await {
            Ok(true) => context.reply.ok(),
            Ok(false) => {
                return Err(error("ERR the data set was not saved; the log says why"));
            }
            Err(why) => return Err(Failure::new(format!("ERR {why}"))),
        }
        Ok(())
    })
}

fn refuse_while_loading(loading: bool) -> Result {
    if loading {
        // What would be saved is not whole.
        return Err(super::error::LOADING);
    }
    Ok(())
}

fn bgsave(context: &mut Context<'_, '_>) -> Result {
    let option = |name: &[u8]| {
        context
            .args
            .get(1)
            .is_some_and(|option| option.eq_ignore_ascii_case(name))
    };
    let (node, reply) = (context.node, &mut context.reply);
    match context.args.len() {
        1 => {
            refuse_while_loading(node.is_loading())?;
            match node.persistence.begin_save(node) {
                Ok(()) => reply.simple("Background saving started"),
                Err(why) => return Err(Failure::new(format!("ERR {why}"))),
            }
        }
        2 if option(b"schedule") => {
            refuse_while_loading(node.is_loading())?;
            match node.persistence.schedule_save(node) {
                Ok(true) => reply.simple("Background saving started"),
                Ok(false) => reply.simple("Background saving scheduled"),
                Err(why @ (NotBegun::Running | NotBegun::NoThread)) => {
                    return Err(Failure::new(format!("ERR {why}")));
                }
            }
        }
        2 if option(b"cancel") => {
            if !node.persistence.cancel_save() {
                return Err(error(
                    "ERR Background saving is currently not in progress or scheduled",
                ));
            }
            reply.simple("Background saving cancelled");
        }
        _ => return Err(SYNTAX),
    }
    Ok(())
}

fn lastsave(context: &mut Context<'_, '_>) -> Result {
    let saved_at = context.node.persistence.report(context.node).saved_at;
    context.reply.integer((saved_at / 1000) as i64);
    Ok(())
}
