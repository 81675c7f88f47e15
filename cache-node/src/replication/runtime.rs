//! The thread on which data sets travel, so that a full sync disturbs neither the clients' workers nor the bus.

use std::io;

use tokio::runtime::{Builder, Handle, Runtime};

/// A runtime with one thread of its own; it ends when this is dropped.
pub struct FlowRuntime(Option<Runtime>);

impl FlowRuntime {
    /// Starts the thread.
    ///
    /// # Errors
    ///
    /// The system grants no thread.
    pub fn start() -> io::Result<Self> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("flow")
            .enable_all()
            .build()?;
        Ok(Self(Some(runtime)))
    }

    /// Where tasks are started.
    pub fn handle(&self) -> &Handle {
        self.0.as_ref().expect("there until drop").handle()
    }
}

impl Drop for FlowRuntime {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}
