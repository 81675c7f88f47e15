//! Parts of a hash: `HSCAN` and `HRANDFIELD`.

use crate::resp::Protocol;
use crate::store::Item;

use super::context::Context;
use super::error::{Result, SYNTAX};
use super::random::{Wanted, one_of};
use super::scan::{ScanOptions, begin_answer};

pub(super) fn hscan(context: &mut Context<'_, '_>) -> Result {
    let (from, options) = ScanOptions::of_collection(context.args)?;
    options.keep_scores()?;
    let mut found: Vec<Item<'_>> = Vec::new();
    let mut next = 0;
    let mut text = itoa::Buffer::new();
    if let Some(hash) = context.db.read_hash(context.args.at(1))? {
        next = hash.scan(from, options.count, |field, value| {
            if options.admits(field.text(&mut text)) {
                found.push(field);
                if !options.without_values {
                    found.push(value);
                }
            }
        });
    }
    let reply = &mut context.reply;
    begin_answer(reply, next, found.len());
    found.into_iter().for_each(|item| reply.item(item));
    Ok(())
}

pub(super) fn hrandfield(context: &mut Context<'_, '_>) -> Result {
    let Some(count) = context.args.get(2) else {
        let hash = context.db.read_hash(context.args.at(1))?;
        let picked = hash.and_then(|hash| hash.nth(one_of(hash.len())));
        context.reply.item_or_null(picked.map(|(field, _)| field));
        return Ok(());
    };
    let wanted = Wanted::read(count)?;
    let with_values = match (context.args.get(3), context.args.len()) {
        (None, _) => false,
        (Some(option), 4) if option.eq_ignore_ascii_case(b"withvalues") => true,
        _ => return Err(SYNTAX),
    };
    let hash = context.db.read_hash(context.args.at(1))?;
    let fields: Vec<(Item<'_>, Item<'_>)> = hash.map_or(Vec::new(), |hash| {
        let places = wanted.pick(hash.len()).into_iter();
        places.filter_map(|place| hash.nth(place)).collect()
    });
    let reply = &mut context.reply;
    let pairs = with_values && reply.protocol() == Protocol::Resp3;
    let flat = with_values && !pairs;
    reply.array(fields.len() * if flat { 2 } else { 1 });
    for (field, value) in fields {
        if pairs {
            reply.array(2);
        }
        reply.item(field);
        if with_values {
            reply.item(value);
        }
    }
    Ok(())
}
