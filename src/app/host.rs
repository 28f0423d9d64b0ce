//! What the command line borrows from the daemon's parts.

use crate::cli::{Host, HostError, ServeOptions};
use crate::clock::SystemClock;
use crate::config::{CertificatePaths, Config, LogFormat};
use crate::store::Backend;
use crate::telemetry;

/// The real daemon.
#[derive(Clone, Copy, Debug)]
pub struct DaemonHost;

impl Host for DaemonHost {
    async fn serve(&self, config: Config, options: ServeOptions) -> Result<(), HostError> {
        let format = match config.log.format {
            LogFormat::Human => telemetry::LogFormat::Human,
            LogFormat::Json => telemetry::LogFormat::Json,
        };
        telemetry::init_logging(format, config.log.level.as_str())?;
        super::serve(config, options.end_sessions).await?;
        Ok(())
    }

    async fn encode_costs(&self, config: &Config) -> Result<Vec<(String, String)>, HostError> {
        let config = config.clone();
        tokio::task::spawn_blocking(move || super::capacity::report(&config)).await?
    }

    async fn probe_certificate(&self, files: &CertificatePaths) -> Result<String, HostError> {
        let certificate = super::certificate_files(files).load().await?;
        let not_after = certificate.not_after();
        if certificate.has_expired(SystemClock::shared().wall()) {
            return Err(format!(
                "{} expired at {not_after}: clients that check it do not connect",
                files.cert.display()
            )
            .into());
        }
        Ok(format!("certificate valid until {not_after}"))
    }

    async fn probe_storage(&self, config: &Config) -> Result<String, HostError> {
        Ok(Backend::from_url(&config.storage.url.to_string())?.probe().await?)
    }
}
