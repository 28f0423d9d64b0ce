//! The certificate in use, and the task that replaces it when its files change.
//!
//! New connections get the new one, those that run go on. Files that cannot be used change nothing: they are told once in
//! the log, and `millstream_tls_certificate_stale` is 1 until they can be used again. A certificate and its key are
//! rarely written in one step, so a fault counts when two looks in a row have found it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use metrics::Gauge;
use tokio_rustls::rustls::server::{ClientHello, ResolvesServerCert};
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::certificate::{Certificate, CertificateError, CertificateFiles};
use crate::clock::SharedClock;
use crate::telemetry::names;
use crate::telemetry::panics::contained;

/// What connections are made with.
pub(super) struct InUse(ArcSwap<CertifiedKey>);

impl InUse {
    /// What the next connection is made with.
    pub(super) fn current(&self) -> Arc<CertifiedKey> {
        self.0.load_full()
    }
}

impl ResolvesServerCert for InUse {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current())
    }
}

impl fmt::Debug for InUse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InUse").finish_non_exhaustive()
    }
}

/// Looks after one listener's certificate.
pub struct Renewal {
    files: CertificateFiles,
    every: Duration,
    clock: SharedClock,
    in_use: Arc<InUse>,
    pub(super) certificate: Certificate,
    /// What the last look found wrong, and whether the log has it.
    fault: Option<(CertificateError, bool)>,
    /// The log has that the certificate in use has expired.
    told_expired: bool,
    expires: Gauge,
    stale: Gauge,
}

impl Renewal {
    /// Reads the files for the first time.
    pub(super) async fn begin(
        files: CertificateFiles,
        every: Duration,
        protocol: &'static str,
        clock: SharedClock,
    ) -> Result<Self, CertificateError> {
        let certificate = files.load().await?;
        let labels = [("protocol", protocol)];
        let in_use = Arc::new(InUse(ArcSwap::new(certificate.certified.clone())));
        let expires = names::TLS_CERTIFICATE_EXPIRES.gauge(&labels);
        let stale = names::TLS_CERTIFICATE_STALE.gauge(&labels);
        let (fault, told_expired) = (None, false);
        let mut renewal = Renewal { files, every, clock, in_use, certificate, fault, told_expired, expires, stale };
        renewal.take("certificate read");
        Ok(renewal)
    }

    pub(super) fn in_use(&self) -> Arc<InUse> {
        self.in_use.clone()
    }

    /// Looks until it is stopped.
    pub async fn run(mut self, stop: CancellationToken) {
        let looks = async {
            loop {
                tokio::time::sleep(self.every).await;
                contained("certificate", self.look()).await;
            }
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = looks => {}
        }
    }

    /// Reads the files, and takes what they hold if it is new and good.
    pub(super) async fn look(&mut self) {
        let found = match self.files.read().await {
            Ok(pem) if pem.fingerprint() == self.certificate.fingerprint => Ok(None),
            Ok(pem) => pem.parse(&self.files).map(Some),
            Err(error) => Err(error),
        };
        match found {
            Ok(Some(certificate)) => {
                self.certificate = certificate;
                self.in_use.0.store(self.certificate.certified.clone());
                self.take("certificate renewed: new connections get it");
            }
            Ok(None) => self.no_fault(),
            Err(error) => self.refuse(error),
        }
        self.tell_if_expired();
    }

    fn take(&mut self, what: &'static str) {
        let not_after = self.certificate.not_after();
        info!(cert = %self.files.cert.display(), expires = %not_after, "{what}");
        self.expires.set(not_after.unix_millis() as f64 / 1_000.0);
        self.told_expired = false;
        self.no_fault();
        self.tell_if_expired();
    }

    fn no_fault(&mut self) {
        self.fault = None;
        self.stale.set(0.0);
    }

    fn refuse(&mut self, error: CertificateError) {
        let (again, told) = match &self.fault {
            Some((before, told)) => (*before == error, *told),
            None => (false, false),
        };
        if again && !told {
            let expires = self.certificate.not_after();
            warn!(%error, %expires, "the new certificate is not taken: the one in use, which expires then, goes on");
            self.stale.set(1.0);
        }
        self.fault = Some((error, again));
    }

    fn tell_if_expired(&mut self) {
        let expired = self.certificate.has_expired(self.clock.wall());
        if expired && !self.told_expired {
            let (cert, expired) = (self.files.cert.display(), self.certificate.not_after());
            warn!(%cert, %expired, "the certificate has expired: clients that check it do not connect; put a new one in its place");
        }
        self.told_expired = expired;
    }
}
