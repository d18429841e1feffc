//! Keys as files: reading all of them at once, and making a pair.

use std::fs::{self, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use eventbooker_core::Context;
use eventbooker_engine::Entropy;
use thiserror::Error;

use super::{KEY_BYTES, Keys, PublicKey, SigningKey, private_der, public_der};

/// Where keys are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyFiles {
    /// The key to sign with.
    pub signing_key: PathBuf,
    /// The folder with the public keys of services, `SERVICE.pem` each.
    pub trusted: PathBuf,
}

/// Why a file of keys can't be read or made.
#[derive(Debug, PartialEq, Eq, Error)]
#[error("{}: {trouble}", path.display())]
pub struct KeyFault {
    path: PathBuf,
    trouble: String,
}

impl KeyFault {
    fn of(path: &Path) -> impl FnOnce(String) -> Self {
        move |trouble| Self { path: path.to_owned(), trouble }
    }
}

impl KeyFiles {
    /// All keys, as the files are now.
    pub(super) fn read(&self) -> Result<Keys, KeyFault> {
        let path = &self.signing_key;
        let pem = fs::read(path).map_err(|error| KeyFault::of(path)(error.to_string()))?;
        let signing = SigningKey::from_pem(&pem).map_err(KeyFault::of(path))?;
        // A folder that isn't there is a mistake; a file that isn't there is a service without trust.
        let folder = &self.trusted;
        fs::metadata(folder).map_err(|error| KeyFault::of(folder)(error.to_string()))?;
        let mut trusted = std::collections::BTreeMap::new();
        for service in Context::ALL {
            let path = folder.join(format!("{service}.pem"));
            let pem = match fs::read(&path) {
                Ok(pem) => pem,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(KeyFault::of(&path)(error.to_string())),
            };
            trusted.insert(service, PublicKey::all_from_pem(&pem).map_err(KeyFault::of(&path))?);
        }
        Ok(Keys::new(signing, trusted))
    }
}

/// Makes a pair of keys: the private one for its owner's eyes only, and its public half. Neither
/// file may be there already.
pub fn generate(
    entropy: &dyn Entropy,
    signing_key: &Path,
    public_half: &Path,
) -> Result<(), KeyFault> {
    for path in [signing_key, public_half] {
        if path.exists() {
            return Err(KeyFault::of(path)("there is such a file already".to_owned()));
        }
    }
    let mut seed = [0; KEY_BYTES];
    entropy.fill(&mut seed);
    let key = SigningKey::from_seed(&seed);
    write(signing_key, "PRIVATE KEY", &private_der(&seed), 0o600)?;
    write(public_half, "PUBLIC KEY", &public_der(key.public()), 0o644)
}

/// Writes a file of one section, whole or not at all.
fn write(path: &Path, kind: &str, der: &[u8], mode: u32) -> Result<(), KeyFault> {
    // One line is enough for either kind: PEM breaks lines after 64 characters.
    let line = STANDARD.encode(der);
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let written = || -> io::Result<()> {
        let mut file = tempfile::Builder::new()
            .permissions(Permissions::from_mode(mode))
            .tempfile_in(folder.unwrap_or(Path::new(".")))?;
        write!(file, "-----BEGIN {kind}-----\n{line}\n-----END {kind}-----\n")?;
        // The process's mask has no say in it: others have to read a public half.
        file.as_file().set_permissions(Permissions::from_mode(mode))?;
        file.as_file().sync_all()?;
        file.persist_noclobber(path)?;
        Ok(())
    };
    written().map_err(|error| KeyFault::of(path)(error.to_string()))
}
