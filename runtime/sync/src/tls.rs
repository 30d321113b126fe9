//! Which servers are trusted.
//!
//! Beside chains that end at a trusted authority there is a way that Feast's documentation shows: a
//! certificate the server signed itself, given to its clients as it is. Such a certificate is often
//! marked as one of an authority, which no server may present; it is trusted here because it is the
//! very one that was given, if the server's name stands in it.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

use crate::remote::RemoteConfig;

/// Trusts the authorities and servers of a PEM file, and no others.
pub(crate) fn only(pem: &[u8]) -> Result<Arc<dyn ServerCertVerifier>, String> {
    Trust::verifier(certificates(pem)?, Vec::new())
}

/// Trusts the authorities of the system, and those of a PEM file.
pub(crate) fn system_and(pem: Option<&[u8]>) -> Result<Arc<dyn ServerCertVerifier>, String> {
    let given = pem.map(certificates).transpose()?.unwrap_or_default();
    Trust::verifier(given, rustls_native_certs::load_native_certs().certs)
}

/// How clients of HTTPS servers are secured that are not of this room: they trust the authorities of
/// the system, and what [`RemoteConfig::ca_file`] gives beside them.
///
/// # Errors
/// The file cannot be used, or there is no certificate at all to trust: in words.
pub fn https_client(remote: &RemoteConfig) -> Result<Arc<ClientConfig>, String> {
    let given = remote.ca_pem().map_err(|error| error.to_string())?;
    let verifier = system_and(given.as_deref())?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// Whether `error` comes of a certificate that is not trusted.
pub(crate) fn is_distrust(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        let io = error.downcast_ref::<std::io::Error>();
        let inner = io.and_then(|io| io.get_ref()?.downcast_ref::<Error>());
        if matches!(
            error.downcast_ref().or(inner),
            Some(Error::InvalidCertificate(_))
        ) {
            return true;
        }
        next = error.source();
    }
    false
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let read = read.map_err(|error| format!("not PEM certificates: {error}"))?;
    if read.is_empty() {
        return Err("no certificate in the file".to_owned());
    }
    Ok(read)
}

#[derive(Debug)]
struct Trust {
    chains: Arc<WebPkiServerVerifier>,
    given: Vec<CertificateDer<'static>>,
    provider: Arc<CryptoProvider>,
}

impl Trust {
    fn verifier(
        given: Vec<CertificateDer<'static>>,
        system: Vec<CertificateDer<'static>>,
    ) -> Result<Arc<dyn ServerCertVerifier>, String> {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(given.iter().cloned().chain(system));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let chains =
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
                .build()
                .map_err(|error| format!("no certificate to trust: {error}"))?;
        Ok(Arc::new(Self {
            chains,
            given,
            provider,
        }))
    }
}

impl ServerCertVerifier for Trust {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if self.given.iter().any(|given| given == end_entity) {
            verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
            return Ok(ServerCertVerified::assertion());
        }
        self.chains
            .verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chains.supported_verify_schemes()
    }
}
