//! Keys: the one that a process signs with, and the public halves of those that it trusts.
//!
//! They are files: the signing key in PKCS#8 form, and a folder with `auth.pem`, `events.pem`,
//! `account.pem` and `book.pem`, each with one or several public keys. Whoever isn't in the folder
//! is nobody's neighbour.
//!
//! Keys are changed without a restart, for the files are read again every few seconds: first the
//! new public half is added to the service's file, then its signing key is replaced, then the old
//! half is removed. Files that can't be read leave the keys as they are, and the log says so.
//!
//! Absent on purpose: dates on keys. A key is trusted as long as it lies in the folder.

mod files;
mod keyring;

use std::collections::BTreeMap;
use std::fmt;

use eventbooker_core::Context;
use jsonwebtoken::{DecodingKey, EncodingKey};
use ring::signature::KeyPair as _;
use rustls_pki_types::pem::{PemObject as _, SectionKind};
use sha2::{Digest as _, Sha256};

pub use self::files::{KeyFault, KeyFiles, generate};
pub use self::keyring::Keyring;
use crate::ed25519;

/// What the DER form of an Ed25519 public key begins with; the 32 bytes of the key follow (RFC 8410).
const PUBLIC_DER_HEAD: [u8; 12] = [0x30, 0x2a, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 3, 0x21, 0];
/// What that of a private key begins with; the 32 bytes of the key follow.
const PRIVATE_DER_HEAD: [u8; 16] =
    [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
/// The length of either.
const KEY_BYTES: usize = 32;
/// So much of a public key's digest is its id.
const ID_BYTES: usize = 8;

/// A key to sign with.
#[derive(Clone)]
pub struct SigningKey {
    pub(crate) encoding: EncodingKey,
    public: PublicKey,
}

/// A key to verify with.
#[derive(Clone)]
pub struct PublicKey {
    pub(crate) decoding: DecodingKey,
    bytes: [u8; KEY_BYTES],
    id: String,
}

impl SigningKey {
    /// The key in a PEM file.
    pub fn from_pem(pem: &[u8]) -> Result<Self, String> {
        let mut sections = <(SectionKind, Vec<u8>)>::pem_slice_iter(pem);
        match (sections.next(), sections.next()) {
            (Some(Ok((SectionKind::PrivateKey, der))), None) => {
                Self::from_der(&der).ok_or_else(|| "its key is not of Ed25519".to_owned())
            }
            (Some(Err(error)), _) => Err(error.to_string()),
            _ => Err("it has to hold one private key in PKCS#8 form, and nothing else".to_owned()),
        }
    }

    /// The key that follows from 32 unpredictable bytes.
    pub fn from_seed(seed: &[u8; KEY_BYTES]) -> Self {
        Self::from_der(&private_der(seed)).expect("any 32 bytes are a key")
    }

    fn from_der(der: &[u8]) -> Option<Self> {
        let pair = ed25519::key_pair(der)?;
        let bytes = pair.public_key().as_ref().try_into().ok()?;
        Some(Self { encoding: EncodingKey::from_ed_der(der), public: PublicKey::new(bytes) })
    }

    /// Its public half.
    pub fn public(&self) -> &PublicKey {
        &self.public
    }
}

impl PublicKey {
    fn new(bytes: [u8; KEY_BYTES]) -> Self {
        let digest = Sha256::digest(bytes);
        let id =
            digest[..ID_BYTES].iter().fold(String::new(), |id, byte| format!("{id}{byte:02x}"));
        Self { decoding: DecodingKey::from_ed_der(&bytes), bytes, id }
    }

    /// The keys in a PEM file.
    pub fn all_from_pem(pem: &[u8]) -> Result<Vec<Self>, String> {
        let mut keys = Vec::new();
        for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(pem) {
            let (SectionKind::PublicKey, der) = section.map_err(|error| error.to_string())? else {
                return Err("it may hold public keys only".to_owned());
            };
            let bytes = der.strip_prefix(&PUBLIC_DER_HEAD).and_then(|key| key.try_into().ok());
            keys.push(Self::new(bytes.ok_or("one of its keys is not of Ed25519")?));
        }
        if keys.is_empty() { Err("it holds no public key".to_owned()) } else { Ok(keys) }
    }

    /// What tokens call it.
    pub fn id(&self) -> &str {
        &self.id
    }
}

impl PartialEq for PublicKey {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}

impl Eq for PublicKey {}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.id)
    }
}

/// A process's own key and those that it trusts.
#[derive(Clone)]
pub struct Keys {
    signing: SigningKey,
    trusted: BTreeMap<Context, Vec<PublicKey>>,
}

impl Keys {
    /// These.
    pub fn new(signing: SigningKey, trusted: BTreeMap<Context, Vec<PublicKey>>) -> Self {
        Self { signing, trusted }
    }

    /// The key to sign with.
    pub fn signing(&self) -> &SigningKey {
        &self.signing
    }

    /// The keys that are trusted.
    pub fn trusted(&self) -> &BTreeMap<Context, Vec<PublicKey>> {
        &self.trusted
    }

    /// The trusted key of this id.
    pub(crate) fn find(&self, id: &str) -> Option<&PublicKey> {
        self.trusted.values().flatten().find(|key| key.id == id)
    }

    /// Whether a key is one of a service's. A process of several services has one for all of them.
    pub fn is_of(&self, key: &PublicKey, service: Context) -> bool {
        self.trusted.get(&service).is_some_and(|keys| keys.contains(key))
    }
}

impl PartialEq for Keys {
    fn eq(&self, other: &Self) -> bool {
        self.signing.public == other.signing.public && self.trusted == other.trusted
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { signing, trusted } = self;
        f.debug_struct("Keys").field("signing", &signing.public).field("trusted", trusted).finish()
    }
}

fn private_der(seed: &[u8; KEY_BYTES]) -> Vec<u8> {
    [&PRIVATE_DER_HEAD[..], seed].concat()
}

fn public_der(key: &PublicKey) -> Vec<u8> {
    [&PUBLIC_DER_HEAD[..], &key.bytes].concat()
}
