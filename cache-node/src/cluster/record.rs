//! Where the bus keeps what it must find again after a restart.

use futures::future::BoxFuture;

use crate::bus::Persisted;

/// The record could not be written. The bus must not go on: others may have been promised what is not there.
pub type RecordError = Box<dyn std::error::Error + Send + Sync>;

/// A write under way. It does not hold up the thread that waits for it.
pub type Writing = BoxFuture<'static, Result<Box<dyn Record>, RecordError>>;

/// See [`Record::ours`].
pub type Ours = Box<dyn Fn() -> bool + Send>;

/// See the module.
pub trait Record: Send {
    /// Returns the record when `persisted` is where the next process will find it.
    ///
    /// # Errors
    ///
    /// When it may not be there.
    fn write(self: Box<Self>, persisted: Box<Persisted>) -> Writing;

    /// Tells at any time, also during a write, whether no other process speaks for this node then. Asked before the bus takes in anything,
    /// because what it then says need not be written first.
    fn ours(&self) -> Ours;
}
