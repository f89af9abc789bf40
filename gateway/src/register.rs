//! Which register is asked for registration statuses, by the configuration.

use config::{Config, NationalStatus};
use outbound::{AddressRules, Inquirer, Inquiry};
use rustls::ClientConfig;
use store::Store;
use verify_front::{Care, CarefulRegister, LibraryRegister, NATIONAL_ANSWER_LIMIT, NationalRegister};

use crate::database;
use crate::error::{StartupError, with_causes};

/// What is asked; `tls` is how the gateway asks others.
///
/// # Errors
/// What of the configuration cannot be used.
pub(crate) fn open(
    config: &Config,
    store: Store,
    tls: ClientConfig,
) -> Result<CarefulRegister, StartupError> {
    let Some(national) = &config.status.national else {
        return Ok(CarefulRegister::at_hand(Box::new(LibraryRegister::new(store))));
    };
    let NationalStatus { url, token_file, timeout, cache, cached, concurrency, failures, pause } = national;
    let token = token_file.as_deref().map(database::first_line).transpose()?;
    let inquiry = Inquiry {
        url: url.clone(),
        token: token.map(|token| token.expose().clone()),
        timeout: *timeout,
        idle: *concurrency,
        limit: NATIONAL_ANSWER_LIMIT,
    };
    let rules = AddressRules::new(config.outbound.networks.clone(), config.site.sandbox);
    let inquirer = Inquirer::new(inquiry, tls, rules).map_err(|error| {
        StartupError::file(&config.folder, format!("status.url: {}", with_causes(&error)))
    })?;
    let care = Care {
        cache: *cache,
        cached: *cached,
        concurrency: *concurrency,
        patience: *timeout,
        failures: *failures,
        pause: *pause,
    };
    Ok(CarefulRegister::new(Box::new(NationalRegister::new(inquirer)), care))
}
