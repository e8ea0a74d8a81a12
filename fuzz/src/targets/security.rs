//! What strangers present before anyone knows who they are: tokens and certificates; and certificate requests.

use apiserver::auth::authn::chain::{Roots, verify};
use apiserver::auth::service_account::jwt::Jwt;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::FromDer;

use crate::Target;

/// A self-signed certificate (P-256) for `CN=a`.
const CERTIFICATE: &[u8] = include_bytes!("certificate.der");
/// A request for it.
const REQUEST: &[u8] = include_bytes!("request.der");

pub(super) const TOKENS: Target = Target {
    name: "tokens",
    seeds: &[
        b"eyJhbGciOiJSUzI1NiIsImtpZCI6ImEifQ.eyJpc3MiOiJhIiwic3ViIjoic3lzdGVtOnNlcnZpY2VhY2NvdW50OmE6YiIsImF1ZCI6WyJhIl0sImV4cCI6MSwibmJmIjoxfQ.c2ln",
        b"a.b.c",
        b"e30.e30.",
    ],
    run: |data| {
        let Ok(text) = std::str::from_utf8(data) else { return };
        if let Some(token) = Jwt::parse(text) {
            assert!(!token.is_signed_by_one_of(&[]), "no key has signed it");
            let _ = token.claims();
        }
    },
};

pub(super) const CERTIFICATES: Target = Target {
    name: "certificates",
    seeds: &[
        CERTIFICATE,
        REQUEST,
        b"-----BEGIN CERTIFICATE-----\nYQ==\n-----END CERTIFICATE-----\n",
        b"0\x82\x01\x00",
    ],
    run: |data| {
        let Ok(roots) = Roots::parse(ROOT) else { return };
        let _ = verify(&roots, &[data], 0);
        let _ = verify(&roots, &[CERTIFICATE, data], 1_700_000_000);
        let _ = Roots::parse(data);
        if let Ok((_, request)) = X509CertificationRequest::from_der(data) {
            let _ = request.verify_signature();
        }
    },
};

/// The certificate as PEM.
const ROOT: &[u8] = include_bytes!("certificate.pem");
