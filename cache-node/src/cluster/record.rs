//! Where the bus keeps what it must find again after a restart.

use futures::future::BoxFuture;

use crate::bus::Persisted;

/// The record could not be written. The bus must not go on: others may have been promised what is not there.
pub type RecordError = Box<dyn std::error::Error + Send + Sync>;

/// See the module.
pub trait Record: Send {
    /// Returns when `persisted` is where the next process will find it.
    ///
    /// # Errors
    ///
    /// When it may not be there.
    fn write<'a>(&'a mut self, persisted: &'a Persisted) -> BoxFuture<'a, Result<(), RecordError>>;

    /// Whether no other process speaks for this node now. Asked before the bus takes in anything, because what it then says need not be
    /// written first.
    fn is_ours(&self) -> bool;
}
