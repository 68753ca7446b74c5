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

#[cfg(test)]
mod tests {
    use jsonwebtoken::{DecodingKey, crypto};
    use serde_json::json;

    use super::{Algorithm, install};
    use crate::jwk::KeySet;

    /// Whether a published signature verifies with a published key, read as a provider's key is.
    fn verifies(mut jwk: serde_json::Value, message: &str, signature: &str) -> bool {
        install();
        jwk["kid"] = json!("published");
        let keys = KeySet::read(json!({ "keys": [jwk] }).to_string().as_bytes()).unwrap();
        let key = keys.get("published").expect("the key is of use");
        crypto::verify(signature, message.as_bytes(), &key.decoding, key.algorithm.as_named()).unwrap()
    }

    /// Claims of RFC 7515, A.1 to A.3.
    const CLAIMS: &str =
        "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";

    #[test]
    fn rfc_7515_a_2_verifies_with_rs256() {
        let n = "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-p\
                 CgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg\
                 665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FR\
                 WyuXpoQ";
        let signature = "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdb\
                         F9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383\
                         LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWy\
                         wlVmtVrBp0igcN_IoypGlUPQGe77Rw";
        let message = format!("eyJhbGciOiJSUzI1NiJ9.{CLAIMS}");
        assert!(verifies(json!({"kty": "RSA", "n": n, "e": "AQAB"}), &message, signature));
        assert!(!verifies(json!({"kty": "RSA", "n": n, "e": "AQAB"}), &format!("{message}A"), signature));
    }

    #[test]
    fn rfc_7515_a_3_verifies_with_es256() {
        let jwk = json!({
            "kty": "EC",
            "crv": "P-256",
            "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
            "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
        });
        let signature = "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";
        let message = format!("eyJhbGciOiJFUzI1NiJ9.{CLAIMS}");
        assert!(verifies(jwk.clone(), &message, signature));
        assert!(!verifies(jwk, &format!("{message}A"), signature));
    }

    #[test]
    fn rfc_8037_a_4_verifies_with_eddsa() {
        let jwk = json!({"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"});
        let signature = "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";
        let message = "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc";
        assert!(verifies(jwk.clone(), message, signature));
        assert!(!verifies(jwk, &format!("{message}A"), signature));
    }

    #[test]
    fn a_key_of_another_kind_makes_no_verifier() {
        install();
        let secret = DecodingKey::from_secret(b"secret");
        let rsa = DecodingKey::from_rsa_raw_components(&[0xff; 256], &[1, 0, 1]);
        for algorithm in [Algorithm::EdDsa, Algorithm::Es256, Algorithm::Rs256] {
            assert!(crypto::verify("AA", b"message", &secret, algorithm.as_named()).is_err());
        }
        for algorithm in [Algorithm::EdDsa, Algorithm::Es256] {
            assert!(crypto::verify("AA", b"message", &rsa, algorithm.as_named()).is_err());
        }
        assert!(crypto::verify("AA", b"message", &secret, jsonwebtoken::Algorithm::HS256).is_err());
    }
}
