//! Why a command is refused, in words that outlive any transport.

/// The nature of a refusal; a transport translates it, this crate knows no transport.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The thing addressed does not exist.
    NotFound,
    /// The thing exists, but its state does not allow the command now.
    Conflict,
    /// The command could never be right, whatever the state.
    Invalid,
    /// The thing exists and its state allows the command, but not by whoever sends it.
    Forbidden,
    /// A limit or quota is used up.
    LimitReached,
}

/// A typed refusal with a code that never changes once published.
pub trait Refusal: std::error::Error + Send + Sync + 'static {
    /// Stable, `snake_case`, unique on the platform; documented in `docs/problems/<code>.md`.
    fn code(&self) -> &'static str;
    /// What kind of refusal it is.
    fn kind(&self) -> Kind;
}

/// One line of a context's list of codes: what `docs/problems` and the API description are checked against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Code {
    /// The stable code.
    pub code: &'static str,
    /// What kind of refusal it is.
    pub kind: Kind,
    /// One sentence for the reader of the API.
    pub meaning: &'static str,
}
