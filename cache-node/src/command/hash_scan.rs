//! Parts of a hash: `HSCAN` and `HRANDFIELD`.

use rand::seq::index::sample;

use crate::resp::Protocol;
use crate::store::Item;

use super::context::Context;
use super::error::{Result, SYNTAX, error};
use super::scan::{ScanOptions, cursor};
use super::text::integer;

pub(super) fn hscan(context: &mut Context<'_, '_>) -> Result {
    let from = cursor(context.args.at(2))?;
    let options = ScanOptions::read(context.args.from(3))?;
    if options.type_name.is_some() {
        return Err(SYNTAX);
    }
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
    reply.array(2);
    reply.bulk(next.to_string().as_bytes());
    reply.array(found.len());
    found.into_iter().for_each(|item| reply.item(item));
    Ok(())
}

pub(super) fn hrandfield(context: &mut Context<'_, '_>) -> Result {
    let random = |below: usize| rand::random_range(0..below);
    let Some(count) = context.args.get(2) else {
        let hash = context.db.read_hash(context.args.at(1))?;
        let picked = hash.and_then(|hash| hash.nth(random(hash.len())));
        context.reply.item_or_null(picked.map(|(field, _)| field));
        return Ok(());
    };
    let count = integer(count)?;
    let with_values = match (context.args.get(3), context.args.len()) {
        (None, _) => false,
        (Some(option), 4) if option.eq_ignore_ascii_case(b"withvalues") => true,
        _ => return Err(SYNTAX),
    };
    if count.unsigned_abs() > i64::MAX as u64 / 2 {
        return Err(error("ERR value is out of range"));
    }
    let wanted = usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX);
    let hash = context.db.read_hash(context.args.at(1))?;
    let fields: Vec<(Item<'_>, Item<'_>)> = match hash {
        None => Vec::new(),
        Some(hash) if count < 0 => (0..wanted)
            .filter_map(|_| hash.nth(random(hash.len())))
            .collect(),
        Some(hash) if wanted >= hash.len() => hash.iter().collect(),
        Some(hash) => sample(&mut rand::rng(), hash.len(), wanted)
            .into_iter()
            .filter_map(|index| hash.nth(index))
            .collect(),
    };
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
