//! What kind of failure an error is: the one thing a room's border needs to know of it.

/// The reaction an error asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The request is at fault: fix it.
    Invalid,
    /// A named thing does not exist.
    NotFound,
    /// It exists but this node is not set up to do it.
    Unsupported,
    /// Too much is asked: a bound was passed.
    TooLarge,
    /// Over capacity: try again later.
    Busy,
    /// The request is at odds with something that is going on.
    Conflict,
    /// Something this node needs is away: try again later.
    Unavailable,
    /// The disk is full, or nearly: writes are refused.
    StorageFull,
    /// Stored or fetched data is damaged.
    Corrupt,
    /// The node is shutting down.
    Closed,
    /// A bug of ours.
    Internal,
}

/// Implemented by the one public error type of every room.
pub trait Classify {
    /// The kind of this error.
    fn kind(&self) -> ErrorKind;

    /// The class of `feast.errors` that a Feast client should raise, where one fits.
    fn feast_class(&self) -> Option<&'static str> {
        None
    }
}
