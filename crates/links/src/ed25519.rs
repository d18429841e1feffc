//! Ed25519 for tokens, by `ring`, which TLS to the database brings along.
//!
//! `jsonwebtoken`'s own choices are a crate of RSA with an open advisory (RUSTSEC-2023-0071) and a
//! second C library. It knows no algorithm but this one here.

use std::sync::{Arc, Mutex, Once, PoisonError};

use jsonwebtoken::crypto::{CryptoProvider, JwtSigner, JwtVerifier, KeyUtils};
use jsonwebtoken::errors::{ErrorKind, Result};
use jsonwebtoken::signature::{Error, Signer, Verifier};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey};
use ring::signature::{ED25519, Ed25519KeyPair, UnparsedPublicKey};

static PROVIDER: CryptoProvider = CryptoProvider {
    signer_factory: signer,
    verifier_factory: verifier,
    // For JSON Web Keys, which nobody uses here.
    key_utils: KeyUtils::new_unimplemented(),
};

/// The key that was signed with last, by what it was read from: reading it costs as much as a signature.
static LAST_SIGNER: Mutex<Option<(Vec<u8>, Arc<Ed25519KeyPair>)>> = Mutex::new(None);

/// Makes tokens use this. Needed before the first one is made or read.
pub(crate) fn install() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| PROVIDER.install_default().expect("nothing else installs a provider"));
}

struct KeyPair(Arc<Ed25519KeyPair>);

impl Signer<Vec<u8>> for KeyPair {
    fn try_sign(&self, message: &[u8]) -> std::result::Result<Vec<u8>, Error> {
        Ok(self.0.sign(message).as_ref().to_vec())
    }
}

impl JwtSigner for KeyPair {
    fn algorithm(&self) -> Algorithm {
        Algorithm::EdDSA
    }
}

struct PublicHalf(UnparsedPublicKey<Vec<u8>>);

impl Verifier<Vec<u8>> for PublicHalf {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> std::result::Result<(), Error> {
        self.0.verify(message, signature).map_err(|_| Error::new())
    }
}

impl JwtVerifier for PublicHalf {
    fn algorithm(&self) -> Algorithm {
        Algorithm::EdDSA
    }
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "the library wants it so")]
fn signer(algorithm: &Algorithm, key: &EncodingKey) -> Result<Box<dyn JwtSigner>> {
    only_ed25519(*algorithm)?;
    let mut last = LAST_SIGNER.lock().unwrap_or_else(PoisonError::into_inner);
    let pair = match &*last {
        Some((pkcs8, pair)) if pkcs8 == key.as_bytes() => Arc::clone(pair),
        _ => {
            let pair = Arc::new(key_pair(key.as_bytes()).ok_or(ErrorKind::InvalidEddsaKey)?);
            *last = Some((key.as_bytes().to_vec(), Arc::clone(&pair)));
            pair
        }
    };
    Ok(Box::new(KeyPair(pair)))
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "the library wants it so")]
fn verifier(algorithm: &Algorithm, key: &DecodingKey) -> Result<Box<dyn JwtVerifier>> {
    only_ed25519(*algorithm)?;
    let public = key.try_get_as_bytes()?.to_vec();
    Ok(Box::new(PublicHalf(UnparsedPublicKey::new(&ED25519, public))))
}

fn only_ed25519(algorithm: Algorithm) -> Result<()> {
    if algorithm == Algorithm::EdDSA {
        return Ok(());
    }
    Err(ErrorKind::UnsupportedAlgorithm.into())
}

/// The pair of a private key in PKCS#8 form, with or without its public half.
pub(crate) fn key_pair(pkcs8: &[u8]) -> Option<Ed25519KeyPair> {
    Ed25519KeyPair::from_pkcs8_maybe_unchecked(pkcs8).ok()
}
