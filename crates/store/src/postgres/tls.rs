//! TLS to the server, with rustls, as far as libpq's modes ask for it.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
};

/// What is to be made sure of before anything is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verify {
    /// Nothing: the connection is safe from listeners, not from somebody in between.
    Nothing,
    /// That an authority we trust has signed the server's certificate.
    Authority,
    /// That, and that it was signed for the host that we wanted.
    AuthorityAndName,
}

/// The files that a URL may name.
#[derive(Debug, Default)]
pub(super) struct TlsFiles {
    /// The authorities, or `system`.
    pub(super) roots: Option<String>,
    /// Our own certificate.
    pub(super) certificate: Option<String>,
    /// Its key.
    pub(super) key: Option<String>,
    /// Where libpq looks for the authorities if nothing is said.
    pub(super) home: Option<PathBuf>,
}

impl TlsFiles {
    /// Whether there is an authority to be asked.
    pub(super) fn have_roots(&self) -> bool {
        self.roots.is_some() || self.default_roots().is_some_and(|file| file.exists())
    }

    fn default_roots(&self) -> Option<PathBuf> {
        self.home.as_ref().map(|home| home.join(".postgresql/root.crt"))
    }
}

pub(super) fn config(verify: Verify, files: &TlsFiles) -> Result<ClientConfig, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let checks = Checks {
        authority: match verify {
            Verify::Nothing => None,
            Verify::Authority | Verify::AuthorityAndName => {
                let roots = Arc::new(roots(files)?);
                let verifier =
                    WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(&provider));
                Some(verifier.build().map_err(|error| format!("sslrootcert: {error}"))?)
            }
        },
        name: verify == Verify::AuthorityAndName,
        provider: Arc::clone(&provider),
    };
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(checks));
    match (&files.certificate, &files.key) {
        (None, None) => Ok(config.with_no_client_auth()),
        (Some(certificate), Some(key)) => {
            let chain = certificates("sslcert", certificate)?;
            let key = PrivateKeyDer::from_pem_file(key)
                .map_err(|error| format!("sslkey: can't read {key}: {error}"))?;
            config.with_client_auth_cert(chain, key).map_err(|error| format!("sslcert: {error}"))
        }
        _ => Err("sslcert and sslkey belong together".to_owned()),
    }
}

fn roots(files: &TlsFiles) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    let found = match files.roots.as_deref() {
        Some("system") => rustls_native_certs::load_native_certs().certs,
        Some(file) => certificates("sslrootcert", file)?,
        None => {
            let file = files.default_roots();
            let file = file.ok_or("sslrootcert: which authority is to be trusted?")?;
            certificates("sslrootcert", &file.display().to_string())?
        }
    };
    roots.add_parsable_certificates(found);
    Ok(roots)
}

fn certificates(what: &str, file: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let read = |error: &dyn std::fmt::Display| format!("{what}: can't read {file}: {error}");
    let pem = fs::read(file).map_err(|error| read(&error))?;
    let found = CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>();
    let found = found.map_err(|error| read(&error))?;
    if found.is_empty() {
        return Err(read(&"there is no certificate in it"));
    }
    Ok(found)
}

/// The checks of one mode.
#[derive(Debug)]
struct Checks {
    authority: Option<Arc<WebPkiServerVerifier>>,
    name: bool,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Checks {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Some(authority) = &self.authority else { return Ok(ServerCertVerified::assertion()) };
        let verified = authority.verify_server_cert(
            end_entity,
            intermediates,
            server_name,
            ocsp_response,
            now,
        );
        match verified {
            // The chain has been verified before the name is looked at.
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) if !self.name => Ok(ServerCertVerified::assertion()),
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
