//! What the server keeps of a custom resource definition for serving its resources.

/// One version of an established definition.
#[derive(Debug)]
pub struct Custom {
    /// Name of the definition.
    pub definition: String,
}
