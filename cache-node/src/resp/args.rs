//! The arguments of one command, as ranges of the buffer they arrived in.

use std::ops::Index;

/// Start and end of an argument in its buffer. Buffers stay below 4 GiB.
pub(crate) type Span = (u32, u32);

/// A command's arguments, its name first, borrowed from the buffer that they arrived in.
#[derive(Clone, Copy, Debug)]
pub struct Args<'a> {
    data: &'a [u8],
    spans: &'a [Span],
}

impl<'a> Args<'a> {
    pub(crate) fn new(data: &'a [u8], spans: &'a [Span]) -> Self {
        Self { data, spans }
    }

    /// Number of arguments, the command's name included.
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// Whether there is not even a name.
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// Argument `index`, when there is one.
    pub fn get(&self, index: usize) -> Option<&'a [u8]> {
        let (start, end) = *self.spans.get(index)?;
        Some(&self.data[start as usize..end as usize])
    }

    /// Argument `index`, living as long as the buffer. Panics when there is none, as indexing does.
    pub fn at(&self, index: usize) -> &'a [u8] {
        let (start, end) = self.spans[index];
        &self.data[start as usize..end as usize]
    }

    /// All arguments in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &'a [u8]> + Clone + use<'a> {
        let data = self.data;
        self.spans
            .iter()
            .map(move |(start, end)| &data[*start as usize..*end as usize])
    }

    /// Bytes from the start of the first argument to the end of the last.
    pub fn extent(&self) -> usize {
        match (self.spans.first(), self.spans.last()) {
            (Some((start, _)), Some((_, end))) => (end - start) as usize,
            _ => 0,
        }
    }

    /// The arguments from `first` on.
    pub fn from(&self, first: usize) -> Args<'a> {
        Args {
            data: self.data,
            spans: self.spans.get(first..).unwrap_or(&[]),
        }
    }

    /// The arguments before `middle`, and those from there on; there are that many.
    pub fn split_at(&self, middle: usize) -> (Args<'a>, Args<'a>) {
        let (before, behind) = self.spans.split_at(middle);
        let part = |spans| Args {
            data: self.data,
            spans,
        };
        (part(before), part(behind))
    }

    /// A copy that owns its bytes.
    pub fn to_owned(&self) -> OwnedArgs {
        OwnedArgs::new(self.iter())
    }
}

impl Index<usize> for Args<'_> {
    type Output = [u8];

    fn index(&self, index: usize) -> &[u8] {
        self.at(index)
    }
}

/// Arguments that own their bytes: a command queued by `MULTI`, or one that waits.
#[derive(Clone, Debug, Default)]
pub struct OwnedArgs {
    data: Vec<u8>,
    spans: Vec<Span>,
}

impl OwnedArgs {
    /// Copies `args`.
    pub fn new<'a>(args: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut owned = Self::default();
        for arg in args {
            let start = owned.data.len() as u32;
            owned.data.extend_from_slice(arg);
            owned.spans.push((start, owned.data.len() as u32));
        }
        owned
    }

    /// The arguments.
    pub fn as_args(&self) -> Args<'_> {
        Args::new(&self.data, &self.spans)
    }

    /// Bytes held.
    pub fn size(&self) -> usize {
        self.data.capacity() + self.spans.capacity() * size_of::<Span>()
    }
}
