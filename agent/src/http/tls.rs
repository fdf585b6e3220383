//! The certificates, as rustls wants them.

use std::{fs, io, os::unix::fs::MetadataExt, path::Path, sync::Arc};

use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        RootCertStore, ServerConfig,
        crypto::ring,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
        server::{NoClientAuth, WebPkiClientVerifier, danger::ClientCertVerifier},
    },
};
use x509_cert::{Certificate, der::Decode};

use super::config::Tls;

/// The files cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {why}")]
pub(super) struct Error {
    path: String,
    why: String,
}

fn wrong(path: &Path, why: impl ToString) -> Error {
    Error { path: path.display().to_string(), why: why.to_string() }
}

/// What takes TLS connections in: TLS 1.2 and 1.3, a client certificate of the authority if there is one, or none.
pub(super) fn acceptor(tls: &Tls) -> Result<TlsAcceptor, Error> {
    let chain = certificates(&tls.certificate)?;
    let key = key(&tls.key)?;
    let provider = Arc::new(ring::default_provider());
    let clients: Arc<dyn ClientCertVerifier> = match &tls.client_ca {
        None => Arc::new(NoClientAuth),
        Some(path) => {
            let mut roots = RootCertStore::empty();
            for certificate in certificates(path)? {
                roots.add(certificate).map_err(|error| wrong(path, error))?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
            verifier.allow_unauthenticated().build().map_err(|error| wrong(path, error))?
        }
    };
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| wrong(&tls.certificate, error))?
        .with_client_cert_verifier(clients)
        .with_single_cert(chain, key)
        .map_err(|error| wrong(&tls.certificate, format!("does not go with {}: {error}", tls.key.display())))?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path).map_err(|error| wrong(path, error))?.collect();
    let found = found.map_err(|error| wrong(path, error))?;
    if found.is_empty() { Err(wrong(path, "no certificate in PEM is in it")) } else { Ok(found) }
}

/// A key that everybody may read is nobody's.
fn key(path: &Path) -> Result<PrivateKeyDer<'static>, Error> {
    let mode = fs::metadata(path).map_err(|error| wrong(path, error))?.mode();
    if mode & 0o007 != 0 {
        return Err(wrong(
            path,
            format!("every user of this box may use this key (mode {:o}); chmod 600 it", mode & 0o777),
        ));
    }
    PrivateKeyDer::from_pem_file(path).map_err(|error| wrong(path, error))
}

/// Whom a verified certificate names, as RFC 4514 writes it.
pub(super) fn subject(certificate: &CertificateDer<'_>) -> io::Result<String> {
    let read = Certificate::from_der(certificate).map_err(io::Error::other)?;
    Ok(read.tbs_certificate().subject().to_string())
}
