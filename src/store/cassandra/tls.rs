//! TLS to the nodes: rustls with the aws-lc provider, without touching the process's default.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

use super::config::{ClientCertificate, Tls};
use crate::error::{Error, Kind, Result};

/// The client's side of the encryption.
///
/// # Errors
/// [`Kind::Config`], naming the file that can't be read or isn't what it should be.
pub(super) fn client(tls: &Tls) -> Result<Arc<ClientConfig>> {
    let roots = match &tls.ca {
        Some(ca) => given(ca)?,
        None => trusted_by_the_system()?,
    };
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::new(Kind::Config, "TLS can't be set up").with_source(error))?
        .with_root_certificates(roots);
    let config = match &tls.client {
        None => builder.with_no_client_auth(),
        Some(ClientCertificate { cert, key }) => {
            let chain = certificates("cert", cert)?;
            let private = PrivateKeyDer::from_pem_file(key).map_err(|error| {
                unusable("key", key, "can't be read as a PEM key").with_source(error)
            })?;
            builder
                .with_client_auth_cert(chain, private)
                .map_err(|error| {
                    unusable("cert", cert, "doesn't go with the key").with_source(error)
                })?
        }
    };
    Ok(Arc::new(config))
}

fn given(ca: &Path) -> Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    for authority in certificates("ca", ca)? {
        roots.add(authority).map_err(|error| {
            unusable("ca", ca, "holds a certificate that can't be used").with_source(error)
        })?;
    }
    Ok(roots)
}

fn trusted_by_the_system() -> Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    // A system has many, and a few that can't be read are usual.
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        return Err(
            Error::new(Kind::Config, "the system trusts no certificate authority")
                .with_help("install the system's CA certificates, or give `ca`"),
        );
    }
    Ok(roots)
}

fn certificates(what: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let read = CertificateDer::pem_file_iter(path)
        .and_then(|found| found.collect::<Result<Vec<_>, _>>())
        .map_err(|error| {
            unusable(what, path, "can't be read as PEM certificates").with_source(error)
        })?;
    if read.is_empty() {
        return Err(unusable(what, path, "holds no PEM certificate"));
    }
    Ok(read)
}

fn unusable(what: &'static str, path: &Path, why: &str) -> Error {
    Error::new(Kind::Config, format!("the TLS file {why}"))
        .with_context(what, path.display().to_string())
        .with_help("check the path, its permissions, and that the file is PEM")
}
