//! Packed items: bytes from outside are read without harm, and what is found valid can be read from both ends and edited.

#![no_main]

use cache_engine::packed::{self, Encoded, Item};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let [form, at, bytes @ ..] = input else {
        return;
    };
    if form & 1 == 0 {
        read(bytes, usize::from(*at));
    } else {
        edit(bytes);
    }
});

/// Reads bytes that may be anything.
fn read(bytes: &[u8], at: usize) {
    let forward: Vec<Item<'_>> = packed::items(bytes).collect();
    let mut backward: Vec<Item<'_>> = packed::items(bytes).rev().collect();
    let wanted = Encoded::int(at as i64);
    // Only that these end, and within the bytes.
    let _ = packed::skip(bytes, at.min(bytes.len()), forward.len());
    let _ = packed::offset_of(bytes, forward.len(), at.min(forward.len()));
    let _ = packed::at(bytes, at);
    let found = packed::find(bytes, &wanted, 1 + at % 3);
    assert!(found.is_none_or(|offset| wanted.starts(&bytes[offset..])));
    if packed::validate(bytes, forward.len()).is_err() {
        return;
    }
    backward.reverse();
    assert_eq!(forward, backward);
    let mut again = Vec::new();
    for (index, item) in forward.iter().enumerate() {
        assert_eq!(
            packed::offset_of(bytes, forward.len(), index),
            Some(again.len())
        );
        assert_eq!(
            packed::at(bytes, again.len()).map(|(item, _)| item),
            Some(*item)
        );
        assert_eq!(item.to_vec().len(), item.text_len());
        packed::push(&mut again, &Encoded::of(*item));
    }
    assert_eq!(again, bytes);
}

/// Takes the bytes as steps of editing, and does the same to a list of texts.
fn edit(mut steps: &[u8]) {
    let mut buffer = Vec::new();
    let mut model: Vec<Vec<u8>> = Vec::new();
    while let [step, place, length, rest @ ..] = steps {
        let (text, rest) = rest.split_at(usize::from(*length).min(rest.len()));
        steps = rest;
        // Long items have other headers.
        let text = text.repeat(1 + usize::from(step >> 4) * 20);
        let index = usize::from(*place) % (model.len() + 1);
        let Some(offset) = packed::offset_of(&buffer, model.len(), index) else {
            panic!("item {index} of {} has no place", model.len());
        };
        let item = Encoded::new(&text);
        match step % 4 {
            0 => {
                packed::push(&mut buffer, &item);
                model.push(text);
            }
            1 => {
                packed::insert(&mut buffer, offset, &item);
                model.insert(index, text);
            }
            2 if index < model.len() => {
                packed::replace(&mut buffer, offset, &item);
                model[index] = text;
            }
            3 if index < model.len() => {
                let count = (1 + usize::from(*length)).min(model.len() - index);
                packed::remove(&mut buffer, offset, count);
                model.drain(index..index + count);
            }
            _ => packed::settle(&mut buffer),
        }
    }
    assert_eq!(packed::validate(&buffer, model.len()), Ok(()));
    let texts: Vec<Vec<u8>> = packed::items(&buffer).map(|item| item.to_vec()).collect();
    assert_eq!(texts, model);
    if let Some(last) = model.last() {
        let found = packed::find(&buffer, &Encoded::new(last), 1);
        let (item, _) = found
            .and_then(|offset| packed::at(&buffer, offset))
            .expect("it is there");
        assert!(item.is(last));
    }
}
