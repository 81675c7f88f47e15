//! The place in a history to which an append-only file leads: a line that redis-server and redis-check-aof take for a remark.
//!
//! `#EVENKEEL-PLACE:HISTORY:OFFSET` stands behind the last command of a node that ended cleanly. Only a checksum comes behind it: as soon
//! as anything else does, it says nothing any more about the data.

use crate::topology::NodeId;

/// What the line begins with.
const NAME: &str = "#EVENKEEL-PLACE:";

/// The line.
pub(super) fn line(history: NodeId, offset: u64) -> String {
    format!("{NAME}{history}:{offset}\r\n")
}

/// What a line says, if it is one of these.
pub(super) fn read(line: &[u8]) -> Option<(NodeId, u64)> {
    let text = std::str::from_utf8(line).ok()?;
    let place = text.strip_prefix(NAME)?.strip_suffix("\r\n")?;
    let (history, offset) = place.split_once(':')?;
    Some((history.parse().ok()?, offset.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_what_was_written() {
        let history = NodeId::new([0xa7; 20]);
        for offset in [0, 77, u64::MAX] {
            let line = line(history, offset);
            assert!(line.len() < 128, "redis-server reads so much of a remark");
            assert_eq!(read(line.as_bytes()), Some((history, offset)));
        }
        let line = line(history, 77);
        for wrong in [
            "",
            "#TS:77\r\n",
            "#EVENKEEL-PLACE:77\r\n",
            "#EVENKEEL-PLACE:a7a7:77\r\n",
            &line[1..],
            line.trim_end(),
            &line.replace("77", "-1"),
            &line.replace(":77", ":"),
        ] {
            assert_eq!(read(wrong.as_bytes()), None, "{wrong}");
        }
    }
}
