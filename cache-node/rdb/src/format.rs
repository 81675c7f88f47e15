//! Numbers of the format.

/// An element, field or member as it stands in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Item<'a> {
    /// Kept as an integer; its text is the decimal form.
    Integer(i64),
    /// Any bytes, integers as text among them.
    Bytes(&'a [u8]),
}

impl<'a> Item<'a> {
    /// The item's text. An integer's is written into `buffer`.
    pub fn text<'b>(&'b self, buffer: &'b mut itoa::Buffer) -> &'b [u8] {
        match self {
            Self::Integer(integer) => buffer.format(*integer).as_bytes(),
            Self::Bytes(bytes) => bytes,
        }
    }
}

/// What stands before an entry, or in its place.
pub(crate) mod opcode {
    pub(crate) const SLOT_IMPORT: u8 = 243;
    pub(crate) const SLOT_INFO: u8 = 244;
    pub(crate) const FUNCTION: u8 = 245;
    pub(crate) const OLD_FUNCTION: u8 = 246;
    pub(crate) const MODULE_AUX: u8 = 247;
    pub(crate) const IDLE: u8 = 248;
    pub(crate) const FREQUENCY: u8 = 249;
    pub(crate) const AUX: u8 = 250;
    pub(crate) const SIZES: u8 = 251;
    pub(crate) const DEADLINE_MS: u8 = 252;
    pub(crate) const DEADLINE_S: u8 = 253;
    pub(crate) const DATABASE: u8 = 254;
    pub(crate) const END: u8 = 255;
}

/// How a value is kept.
pub(crate) mod kind {
    pub(crate) const STRING: u8 = 0;
    pub(crate) const LIST: u8 = 1;
    pub(crate) const SET: u8 = 2;
    pub(crate) const SORTED_SET_TEXT: u8 = 3;
    pub(crate) const HASH: u8 = 4;
    pub(crate) const SORTED_SET: u8 = 5;
    pub(crate) const MODULE_1: u8 = 6;
    pub(crate) const MODULE_2: u8 = 7;
    pub(crate) const HASH_ZIPMAP: u8 = 9;
    pub(crate) const LIST_ZIPLIST: u8 = 10;
    pub(crate) const SET_INTSET: u8 = 11;
    pub(crate) const SORTED_SET_ZIPLIST: u8 = 12;
    pub(crate) const HASH_ZIPLIST: u8 = 13;
    pub(crate) const LIST_QUICKLIST: u8 = 14;
    pub(crate) const STREAM_1: u8 = 15;
    pub(crate) const HASH_LISTPACK: u8 = 16;
    pub(crate) const SORTED_SET_LISTPACK: u8 = 17;
    pub(crate) const LIST_QUICKLIST_2: u8 = 18;
    pub(crate) const STREAM_2: u8 = 19;
    pub(crate) const SET_LISTPACK: u8 = 20;
    pub(crate) const STREAM_3: u8 = 21;
    /// Valkey 9: fields with deadlines. Redis used the number before 7.4 was released.
    pub(crate) const HASH_FIELD_DEADLINES: u8 = 22;
    /// Redis 7.4.
    pub(crate) const HASH_METADATA: u8 = 24;
    /// Redis 7.4.
    pub(crate) const HASH_LISTPACK_EX: u8 = 25;
}

/// Special forms of a string, behind a length byte whose high bits are both set.
pub(crate) mod encoding {
    pub(crate) const INT_8: u8 = 0;
    pub(crate) const INT_16: u8 = 1;
    pub(crate) const INT_32: u8 = 2;
    pub(crate) const LZF: u8 = 3;
}
