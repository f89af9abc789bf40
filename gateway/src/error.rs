use std::path::PathBuf;

use thiserror::Error;

use crate::material::Unusable;

/// Why the gateway did not start, or a subcommand did not do its work.
#[derive(Debug, Error)]
pub(crate) enum StartupError {
    #[error("{0}")]
    Config(#[from] config::ConfigError),
    #[error("cannot use {}: {reason}", path.display())]
    File { path: PathBuf, reason: String },
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Unusable(Vec<Unusable>),
    #[error("cannot listen on {address}: {source}")]
    Listen { address: std::net::SocketAddr, source: std::io::Error },
    #[error("TLS: {0}")]
    Tls(#[from] rustls::Error),
    #[error("database: {0}")]
    Store(#[from] store::StoreError),
    #[error("archive: {}", with_causes(.0))]
    Archive(#[from] store::ArchiveError),
    #[error("devices: {0}")]
    Devices(#[from] hsm_driver::HsmError),
    #[error("a listener ended")]
    ListenerEnded,
    #[error("{0}")]
    Io(#[from] std::io::Error),
    #[cfg(feature = "sandbox")]
    #[error("sandbox: {0}")]
    Sandbox(#[from] crate::init::InitError),
}

impl StartupError {
    pub(crate) fn file(path: impl Into<PathBuf>, reason: impl ToString) -> Self {
        Self::File { path: path.into(), reason: reason.to_string() }
    }
}

/// An error with the reasons behind it, for logs and for people at a terminal.
pub(crate) fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(source) = cause {
        let reason = source.to_string();
        // Some layers print their source themselves.
        if !text.contains(&reason) {
            text.push_str(": ");
            text.push_str(&reason);
        }
        cause = source.source();
    }
    text
}
