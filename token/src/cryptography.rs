//! The three algorithms, and `ring` as what `jsonwebtoken` verifies them with.
//!
//! The crate's own back ends are aws-lc and RustCrypto. `ring` is linked already for TLS, is an order of magnitude faster at
//! RSA than the latter, and refuses RSA keys under 2048 bits by itself. Nothing is ever signed here, so there is no signer.

use std::sync::Once;

use jsonwebtoken::{
    Algorithm as Named, DecodingKey, DecodingKeyKind, EncodingKey,
    crypto::{CryptoProvider, JwtSigner, JwtVerifier, KeyUtils},
    errors::{ErrorKind, Result},
    signature,
};
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents, UnparsedPublicKey,
};

/// What a token may be signed with. Each belongs to exactly one kind of key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Algorithm {
    /// Ed25519; Ed448 is not taken.
    EdDsa,
    /// ECDSA with P-256 and SHA-256.
    Es256,
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
}

impl Algorithm {
    /// By its name in `alg`, which is case-sensitive.
    pub(crate) fn named(name: &str) -> Option<Self> {
        match name {
            "EdDSA" => Some(Self::EdDsa),
            "ES256" => Some(Self::Es256),
            "RS256" => Some(Self::Rs256),
            _ => None,
        }
    }

    pub(crate) fn as_named(self) -> Named {
        match self {
            Self::EdDsa => Named::EdDSA,
            Self::Es256 => Named::ES256,
            Self::Rs256 => Named::RS256,
        }
    }
}

/// Makes `jsonwebtoken` verify with `ring`, for the whole process; later calls do nothing.
pub(crate) fn install() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        RING.install_default().expect("nobody else in this program chooses what jsonwebtoken verifies with");
    });
}

static RING: CryptoProvider = CryptoProvider {
    signer_factory: no_signer,
    verifier_factory: verifier,
    key_utils: KeyUtils::new_unimplemented(), // For thumbprints and for making JWKs of private keys.
};

fn no_signer(_: &Named, _: &EncodingKey) -> Result<Box<dyn JwtSigner>> {
    Err(ErrorKind::UnsupportedAlgorithm.into())
}

fn verifier(algorithm: &Named, key: &DecodingKey) -> Result<Box<dyn JwtVerifier>> {
    if algorithm.family() != key.family() {
        return Err(ErrorKind::InvalidAlgorithm.into());
    }
    match (algorithm, key.kind()) {
        (Named::EdDSA, DecodingKeyKind::SecretOrDer(point)) => Ok(Box::new(Key::Ed25519(point.clone()))),
        (Named::ES256, DecodingKeyKind::SecretOrDer(point)) => Ok(Box::new(Key::P256(point.clone()))),
        (Named::RS256, DecodingKeyKind::RsaModulusExponent { n, e }) => {
            Ok(Box::new(Key::Rsa { n: n.clone(), e: e.clone() }))
        }
        _ => Err(ErrorKind::InvalidAlgorithm.into()),
    }
}

/// A public key as `ring` takes it.
enum Key {
    /// 32 bytes.
    Ed25519(Vec<u8>),
    /// 0x04 and two coordinates of 32 bytes.
    P256(Vec<u8>),
    /// Modulus and exponent, big-endian.
    Rsa { n: Vec<u8>, e: Vec<u8> },
}

impl signature::Verifier<Vec<u8>> for Key {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> std::result::Result<(), signature::Error> {
        let verified = match self {
            Self::Ed25519(point) => UnparsedPublicKey::new(&ED25519, point).verify(message, signature),
            Self::P256(point) => UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(message, signature),
            Self::Rsa { n, e } => {
                RsaPublicKeyComponents { n, e }.verify(&RSA_PKCS1_2048_8192_SHA256, message, signature)
            }
        };
        verified.map_err(|_| signature::Error::new())
    }
}

impl JwtVerifier for Key {
    fn algorithm(&self) -> Named {
        match self {
            Self::Ed25519(_) => Named::EdDSA,
            Self::P256(_) => Named::ES256,
            Self::Rsa { .. } => Named::RS256,
        }
    }
}
