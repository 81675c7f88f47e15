//! The Redis serialisation protocol: parsing requests and writing RESP2 and RESP3 replies. No I/O happens here.

mod args;
mod number;
mod parse;
mod reply;
mod request;
mod whole;

pub use args::{Args, OwnedArgs};
pub use number::{format_float, parse_float, parse_integer};
pub use parse::{Limits, Parsed, Parser, ProtocolError};
pub use reply::{Protocol, Reply};
pub use request::{encode_request, request_len};

pub(crate) use args::Span;
pub(crate) use parse::split_line;
pub(crate) use whole::whole_command;
