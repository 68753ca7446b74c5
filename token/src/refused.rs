//! Why a token is not believed: a stable code for the audit log and never a piece of the token.

/// Why a token was refused. Names inside are those of the specification, never text of the token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// More bytes than a token may have.
    #[error("the token is longer than {max} bytes", max = crate::TOKEN_BYTES_MAX)]
    TooLarge,
    /// Not three non-empty parts of base64url without padding, or a part that is no JSON object.
    #[error("the token is no signed JWT")]
    Malformed,
    /// An object of the header or the claims has a member twice.
    #[error("the token has a member twice")]
    DuplicateMember,
    /// `typ` is not `at+jwt`.
    #[error("the token is no access token")]
    WrongType,
    /// `alg` is none of those that are taken; `none` and the symmetric ones are not.
    #[error("the algorithm is not accepted")]
    AlgorithmNotAccepted,
    /// The header has `crit`, and no extension is understood here.
    #[error("the header has critical extensions")]
    CriticalHeader,
    /// A header that brings a key along, or changes what is signed.
    #[error("the header {0} is not accepted")]
    ForbiddenHeader(&'static str),
    /// `kid` is absent, no string, empty or too long.
    #[error("the header names no key")]
    NoKeyNamed,
    /// A claim that must be there is not.
    #[error("the claim {0} is missing")]
    MissingClaim(&'static str),
    /// A claim has a value of another type than it must, or out of bounds.
    #[error("the claim {0} is not what it must be")]
    WrongClaim(&'static str),
    /// No provider of this issuer is registered.
    #[error("the issuer is not known")]
    UnknownIssuer,
    /// The token is meant for somebody else.
    #[error("the token is meant for another audience")]
    WrongAudience,
    /// Whether a provider is registered could not be found out. Nothing of the token's: it may be good a moment later.
    #[error("the identity providers cannot be looked up")]
    ProvidersUnavailable,
    /// The provider's keys could not be had. Nothing of the token's: it may be good a moment later.
    #[error("the keys of the issuer cannot be had")]
    KeysUnavailable,
    /// The provider publishes no usable key of this `kid`.
    #[error("the issuer has no such key")]
    UnknownKey,
    /// The header names an algorithm that is not its key's.
    #[error("the algorithm is not that of the key")]
    AlgorithmMismatch,
    /// The signature is not the key's.
    #[error("the signature does not match")]
    BadSignature,
    /// Genuine, and its time is over.
    #[error("the token has expired")]
    Expired,
    /// Genuine, and its time has not come, or it was issued in the future.
    #[error("the token is not valid yet")]
    NotYetValid,
}

impl Refused {
    /// The stable code, as the audit log keeps it.
    pub fn reason(self) -> &'static str {
        match self {
            Self::TooLarge => "too_large",
            Self::Malformed => "malformed",
            Self::DuplicateMember => "duplicate_member",
            Self::WrongType => "wrong_type",
            Self::AlgorithmNotAccepted => "algorithm_not_accepted",
            Self::CriticalHeader => "critical_header",
            Self::ForbiddenHeader(_) => "forbidden_header",
            Self::NoKeyNamed => "no_key_named",
            Self::MissingClaim(_) => "missing_claim",
            Self::WrongClaim(_) => "wrong_claim",
            Self::UnknownIssuer => "unknown_issuer",
            Self::WrongAudience => "wrong_audience",
            Self::ProvidersUnavailable => "providers_unavailable",
            Self::KeysUnavailable => "keys_unavailable",
            Self::UnknownKey => "unknown_key",
            Self::AlgorithmMismatch => "algorithm_mismatch",
            Self::BadSignature => "bad_signature",
            Self::Expired => "expired",
            Self::NotYetValid => "not_yet_valid",
        }
    }

    /// Whether the token was not judged at all, for want of something of ours or the provider's: 503 rather than 401.
    pub fn undecided(self) -> bool {
        matches!(self, Self::ProvidersUnavailable | Self::KeysUnavailable)
    }
}
