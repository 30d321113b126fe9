//! Certificates, made by openssl.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A server's certificate for `localhost` and 127.0.0.1.
#[derive(Debug)]
pub struct Certificate {
    pub key: PathBuf,
    pub chain: PathBuf,
    /// What clients trust.
    pub trust: PathBuf,
}

impl Certificate {
    /// One that the server signed itself, as in Feast's documentation: marked as an authority's.
    pub fn self_signed(folder: &Path) -> Self {
        let (key, chain) = (folder.join("self.key"), folder.join("self.pem"));
        openssl(
            folder,
            &[
                "req",
                "-x509",
                "-newkey",
                "rsa:2048",
                "-nodes",
                "-days",
                "2",
                "-subj",
                "/CN=localhost",
                "-addext",
                "subjectAltName=DNS:localhost,IP:127.0.0.1",
                "-keyout",
                "self.key",
                "-out",
                "self.pem",
            ],
        );
        Self {
            key,
            trust: chain.clone(),
            chain,
        }
    }

    /// One of an authority of its own, which clients trust.
    pub fn of_an_authority(folder: &Path) -> Self {
        openssl(
            folder,
            &[
                "req",
                "-x509",
                "-newkey",
                "rsa:2048",
                "-nodes",
                "-days",
                "2",
                "-subj",
                "/CN=an authority",
                "-keyout",
                "ca.key",
                "-out",
                "ca.pem",
            ],
        );
        openssl(
            folder,
            &[
                "req",
                "-newkey",
                "rsa:2048",
                "-nodes",
                "-subj",
                "/CN=localhost",
                "-keyout",
                "server.key",
                "-out",
                "server.csr",
            ],
        );
        let extensions = "subjectAltName=DNS:localhost,IP:127.0.0.1\nbasicConstraints=CA:FALSE\n";
        std::fs::write(folder.join("server.ext"), extensions).unwrap();
        openssl(
            folder,
            &[
                "x509",
                "-req",
                "-in",
                "server.csr",
                "-CA",
                "ca.pem",
                "-CAkey",
                "ca.key",
                "-CAcreateserial",
                "-days",
                "2",
                "-extfile",
                "server.ext",
                "-out",
                "server.pem",
            ],
        );
        Self {
            key: folder.join("server.key"),
            chain: folder.join("server.pem"),
            trust: folder.join("ca.pem"),
        }
    }
}

fn openssl(folder: &Path, args: &[&str]) {
    let output = Command::new("openssl")
        .args(args)
        .current_dir(folder)
        .output()
        .unwrap_or_else(|error| panic!("run openssl, which makes the certificates: {error}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "openssl {args:?}: {said}");
}
