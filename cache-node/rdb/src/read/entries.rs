//! What a file consists of: entries, and what is said about them and about the file.

use std::io::Read;

use crate::format::opcode;

use super::source::Source;
use super::value::{self, Reader};
use super::{Event, Header, Reason, Visit};

/// What was said about the entry that comes next, and buffers.
#[derive(Default)]
pub(super) struct Entries {
    is_valkey: bool,
    deadline: Option<u64>,
    idle: Option<u64>,
    frequency: Option<u8>,
    value: Reader,
    key: Vec<u8>,
    other: Vec<u8>,
}

impl Entries {
    /// `is_valkey`: some numbers mean something else in Valkey's files.
    pub(super) fn new(is_valkey: bool) -> Self {
        Self {
            is_valkey,
            ..Self::default()
        }
    }

    /// Reads up to the end that is marked.
    pub(super) fn read<R: Read>(
        &mut self,
        source: &mut Source<R>,
        visit: &mut Visit<'_>,
    ) -> Result<(), Reason> {
        loop {
            match source.byte()? {
                opcode::END => return Ok(()),
                opcode::DEADLINE_MS => {
                    self.deadline = Some(u64::from_le_bytes(source.array()?));
                }
                opcode::DEADLINE_S => {
                    let seconds = u32::from_le_bytes(source.array()?);
                    self.deadline = Some(u64::from(seconds) * 1000);
                }
                opcode::IDLE => self.idle = Some(source.count()?),
                opcode::FREQUENCY => self.frequency = Some(source.byte()?),
                opcode::SLOT_INFO => {
                    for _ in 0..3 {
                        source.count()?;
                    }
                }
                opcode::SLOT_IMPORT => {
                    return Err(Reason::Unsupported(
                        "a data set in the middle of moving slots",
                    ));
                }
                opcode::OLD_FUNCTION => {
                    return Err(Reason::Unsupported("a function of a preliminary Redis 7"));
                }
                code if code >= opcode::FUNCTION => self.fact(code, source, visit)?,
                kind => self.entry(kind, source, visit)?,
            }
        }
    }

    fn fact<R: Read>(
        &mut self,
        code: u8,
        source: &mut Source<R>,
        visit: &mut Visit<'_>,
    ) -> Result<(), Reason> {
        let event = match code {
            opcode::FUNCTION => {
                source.text(&mut self.other)?;
                Event::Function(&self.other)
            }
            opcode::MODULE_AUX => Event::ModuleAux(skip_module_aux(source, &mut self.other)?),
            opcode::AUX => {
                source.text(&mut self.key)?;
                source.text(&mut self.other)?;
                Event::Aux(&self.key, &self.other)
            }
            opcode::SIZES => Event::Sizes {
                keys: source.count()?,
                volatile: source.count()?,
            },
            opcode::DATABASE => Event::Database(source.count()?),
            other => return Err(Reason::Unknown(other)),
        };
        visit(event).map_err(Reason::Refused)
    }

    fn entry<R: Read>(
        &mut self,
        code: u8,
        source: &mut Source<R>,
        visit: &mut Visit<'_>,
    ) -> Result<(), Reason> {
        let kind = value::kind_of(code, self.is_valkey)?;
        source.text(&mut self.key)?;
        let header = Header {
            key: &self.key,
            kind,
            deadline: self.deadline.take(),
            idle: self.idle.take(),
            frequency: self.frequency.take(),
        };
        visit(Event::Begin(header)).map_err(Reason::Refused)?;
        self.value.read(source, code, visit)
    }
}

/// Reads over what a module wrote beside the keys; answers the module's name.
fn skip_module_aux<R: Read>(
    source: &mut Source<R>,
    buffer: &mut Vec<u8>,
) -> Result<[u8; 9], Reason> {
    let id = source.count()?;
    loop {
        match source.count()? {
            0 => return Ok(module_name(id)),
            1 | 2 => {
                source.count()?;
            }
            3 => {
                source.array::<4>()?;
            }
            4 => {
                source.array::<8>()?;
            }
            5 => source.text(buffer)?,
            _ => return Err(Reason::Damaged("what a module wrote")),
        }
    }
}

/// A module's name: nine characters of six bits each, before ten bits of a version.
fn module_name(id: u64) -> [u8; 9] {
    const CHARACTERS: &[u8; 64] =
        b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    std::array::from_fn(|index| CHARACTERS[(id >> (58 - 6 * index)) as usize & 0x3f])
}
