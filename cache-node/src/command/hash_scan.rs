//! Parts of a hash: `HSCAN` and `HRANDFIELD`.

use rand::seq::SliceRandom;

use crate::resp::Protocol;

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
    let mut found = Vec::new();
    let mut next = None;
    if let Some(hash) = context.db.read_hash(context.args.at(1))? {
        next = hash.scan(from as u32, options.count, |field, value| {
            if options.admits(field) {
                found.push(field);
                if !options.without_values {
                    found.push(value);
                }
            }
        });
    }
    context.reply.array(2);
    context.reply.bulk(next.unwrap_or(0).to_string().as_bytes());
    context.reply.array(found.len());
    found.iter().for_each(|item| context.reply.bulk(item));
    Ok(())
}

pub(super) fn hrandfield(context: &mut Context<'_, '_>) -> Result {
    let random = |below: usize| rand::random_range(0..below);
    let Some(count) = context.args.get(2) else {
        let hash = context.db.read_hash(context.args.at(1))?;
        let field = hash.and_then(|hash| hash.pick(random));
        context.reply.bulk_or_null(field.map(|(name, _)| name));
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
    let fields: Vec<(&[u8], &[u8])> = match hash {
        None => Vec::new(),
        Some(hash) if count < 0 => {
            let fields: Vec<_> = hash.iter().collect();
            (0..wanted).map(|_| fields[random(fields.len())]).collect()
        }
        Some(hash) => {
            let mut fields: Vec<_> = hash.iter().collect();
            if wanted < fields.len() {
                fields.shuffle(&mut rand::rng());
                fields.truncate(wanted);
            }
            fields
        }
    };
    let reply = &mut context.reply;
    let pairs = with_values && reply.protocol() == Protocol::Resp3;
    let flat = with_values && !pairs;
    reply.array(fields.len() * if flat { 2 } else { 1 });
    for (field, value) in fields {
        if pairs {
            reply.array(2);
        }
        reply.bulk(field);
        if with_values {
            reply.bulk(value);
        }
    }
    Ok(())
}
