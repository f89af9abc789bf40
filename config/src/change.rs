//! What differs between two configurations, for taking over a new one while the gateway runs.
//!
//! Every field is named here: the patterns below have no `..`, so that a new field does not compile until somebody
//! has said whether it can change live.

use std::fmt::{self, Debug};

use crate::{
    Administration, Audit, Callers, Ceremony, ClockWatch, Config, Database, Device, Documents, Fetch, Fleet,
    Library, People, Policy, Retentions, Server, Site, StampEvidence, StampJobs, Status, Timestamps, Tls,
    Traces, Trust, TrustRules,
};

/// Whether a running gateway can take a change over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Without a restart.
    Live,
    /// At a start only.
    Restart,
}

/// One difference between two configurations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// What differs: a field such as `server.body_limit`, or `device` with the device's id.
    pub field: String,
    /// How, for people. Never shows the environment of a device, which may hold a vendor's secrets.
    pub detail: String,
    /// Whether it can be taken over live.
    pub effect: Effect,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.field, self.detail)
    }
}

impl Config {
    /// What is different in `next`, in the file's order of sections; nothing if they are the same.
    #[must_use]
    pub fn changes_to(&self, next: &Self) -> Vec<Change> {
        let Self {
            site,
            server,
            tls,
            database,
            trust,
            callers,
            compat,
            administration,
            policy,
            people,
            alarms,
            outbound,
            stamp_jobs,
            library,
            retentions,
            status,
            traces,
            ceremony,
            audit,
            documents,
            query_certificates,
            inspections,
            timestamps,
            stamp_evidence,
            archive_packages,
            fleet,
            devices,
            folder,
        } = self;
        let mut changes = Changes::default();
        changes.site(site, &next.site);
        changes.server(server, &next.server);
        changes.tls(tls, &next.tls);
        changes.database(database, &next.database);
        changes.trust(trust, &next.trust);
        changes.callers(callers, &next.callers);
        changes.field(Effect::Live, "compat", compat, &next.compat);
        changes.administration(administration, &next.administration);
        changes.policy(policy, &next.policy);
        changes.people(people, &next.people);
        changes.field(Effect::Live, "alarms", alarms, &next.alarms);
        changes.field(Effect::Restart, "outbound", outbound, &next.outbound);
        changes.stamp_jobs(stamp_jobs, &next.stamp_jobs);
        changes.library(library, &next.library);
        changes.retentions(retentions, &next.retentions);
        changes.status(status, &next.status);
        changes.traces(traces, &next.traces);
        changes.ceremony(ceremony, &next.ceremony);
        changes.audit(audit, &next.audit);
        changes.documents(documents, &next.documents);
        changes.field(Effect::Live, "query_certificates", query_certificates, &next.query_certificates);
        changes.field(Effect::Live, "inspections", inspections, &next.inspections);
        changes.timestamps(timestamps, &next.timestamps);
        changes.stamp_evidence(stamp_evidence, &next.stamp_evidence);
        changes.field(Effect::Live, "archive_packages", archive_packages, &next.archive_packages);
        changes.fleet(fleet, &next.fleet);
        changes.devices(devices, &next.devices);
        changes.field(Effect::Restart, "folder", folder, &next.folder);
        changes.0
    }
}

#[derive(Default)]
struct Changes(Vec<Change>);

impl Changes {
    fn field<T: PartialEq + Debug>(&mut self, effect: Effect, field: &str, before: &T, after: &T) {
        if before != after {
            self.note(effect, field.to_owned(), format!("{before:?} -> {after:?}"));
        }
    }

    fn note(&mut self, effect: Effect, field: String, detail: String) {
        self.0.push(Change { field, detail, effect });
    }

    fn site(&mut self, before: &Site, after: &Site) {
        let Site { name, sandbox, replica, utc_offset } = before;
        self.field(Effect::Live, "site.name", name, &after.name);
        self.field(Effect::Restart, "site.sandbox", sandbox, &after.sandbox);
        self.field(Effect::Restart, "site.replica", replica, &after.replica);
        self.field(Effect::Live, "site.utc_offset", utc_offset, &after.utc_offset);
    }

    fn stamp_jobs(&mut self, before: &StampJobs, after: &StampJobs) {
        let StampJobs { folder, retention, upload_lifetime, upload_octets, most_running } = before;
        self.field(Effect::Restart, "stamp_jobs.folder", folder, &after.folder);
        self.field(Effect::Live, "stamp_jobs.retention_days", retention, &after.retention);
        self.field(Effect::Live, "stamp_jobs.upload_seconds", upload_lifetime, &after.upload_lifetime);
        self.field(Effect::Live, "stamp_jobs.upload_mebibytes", upload_octets, &after.upload_octets);
        self.field(Effect::Live, "stamp_jobs.most_running", most_running, &after.most_running);
    }

    fn stamp_evidence(&mut self, before: &StampEvidence, after: &StampEvidence) {
        let StampEvidence { keep, folder, retention, renew_before, renew_after } = before;
        self.field(Effect::Live, "stamp_evidence.keep", keep, &after.keep);
        self.field(Effect::Restart, "stamp_evidence.folder", folder, &after.folder);
        self.field(Effect::Live, "stamp_evidence.retention_days", retention, &after.retention);
        self.field(Effect::Live, "stamp_evidence.renew_before_days", renew_before, &after.renew_before);
        self.field(Effect::Live, "stamp_evidence.renew_after_days", renew_after, &after.renew_after);
    }

    fn library(&mut self, before: &Library, after: &Library) {
        let Library { folder, require_purpose } = before;
        self.field(Effect::Restart, "library.folder", folder, &after.folder);
        self.field(Effect::Live, "library.require_purpose", require_purpose, &after.require_purpose);
    }

    fn retentions(&mut self, before: &Retentions, after: &Retentions) {
        let Retentions { folder, days } = before;
        self.field(Effect::Restart, "retentions.folder", folder, &after.folder);
        self.field(Effect::Live, "retentions.days", days, &after.days);
    }

    fn status(&mut self, before: &Status, after: &Status) {
        let Status { national, max_age, required, decisions } = before;
        self.field(Effect::Restart, "status.source", national, &after.national);
        self.field(Effect::Live, "status.max_age_s", max_age, &after.max_age);
        self.field(Effect::Live, "status.required", required, &after.required);
        self.field(Effect::Live, "status.decisions", decisions, &after.decisions);
    }

    fn server(&mut self, before: &Server, after: &Server) {
        let Server {
            http,
            https,
            mutual,
            admin,
            client_auth,
            admin_client_auth,
            tls_certificate,
            tls_key,
            public_url,
            body_limit,
            header_limit,
            read_timeout,
            min_body_rate,
            write_timeout,
            keep_alive,
            request_deadline,
            max_in_flight,
            max_connections,
            max_connections_per_address,
            proxy_protocol_from,
            http2_streams,
            shutdown_grace,
        } = before;
        self.field(Effect::Restart, "server.http", http, &after.http);
        self.field(Effect::Restart, "server.https", https, &after.https);
        self.field(Effect::Restart, "server.mutual", mutual, &after.mutual);
        self.field(Effect::Restart, "server.admin", admin, &after.admin);
        self.field(Effect::Live, "server.client_auth", client_auth, &after.client_auth);
        self.field(Effect::Live, "server.admin_client_auth", admin_client_auth, &after.admin_client_auth);
        self.field(Effect::Live, "server.tls_certificate", tls_certificate, &after.tls_certificate);
        self.field(Effect::Live, "server.tls_key", tls_key, &after.tls_key);
        self.field(Effect::Live, "server.public_url", public_url, &after.public_url);
        self.field(Effect::Live, "server.body_limit", body_limit, &after.body_limit);
        self.field(Effect::Live, "server.header_limit", header_limit, &after.header_limit);
        self.field(Effect::Live, "server.read_timeout_ms", read_timeout, &after.read_timeout);
        self.field(Effect::Live, "server.min_body_rate", min_body_rate, &after.min_body_rate);
        self.field(Effect::Live, "server.write_timeout_ms", write_timeout, &after.write_timeout);
        self.field(Effect::Live, "server.keep_alive_ms", keep_alive, &after.keep_alive);
        self.field(Effect::Live, "server.request_deadline_ms", request_deadline, &after.request_deadline);
        self.field(Effect::Live, "server.max_in_flight", max_in_flight, &after.max_in_flight);
        self.field(Effect::Live, "server.max_connections", max_connections, &after.max_connections);
        self.field(
            Effect::Live,
            "server.max_connections_per_address",
            max_connections_per_address,
            &after.max_connections_per_address,
        );
        let name = "server.proxy_protocol_from";
        self.field(Effect::Live, name, proxy_protocol_from, &after.proxy_protocol_from);
        self.field(Effect::Live, "server.http2_streams", http2_streams, &after.http2_streams);
        self.field(Effect::Live, "server.shutdown_grace_ms", shutdown_grace, &after.shutdown_grace);
    }

    fn tls(&mut self, before: &Tls, after: &Tls) {
        let Tls { minimum, suites, key, sign_timeout, watch, client_anchors, client_crls } = before;
        self.field(Effect::Live, "tls.minimum", minimum, &after.minimum);
        self.field(Effect::Live, "tls.suites", suites, &after.suites);
        self.field(Effect::Live, "tls.key", key, &after.key);
        self.field(Effect::Live, "tls.sign_timeout_ms", sign_timeout, &after.sign_timeout);
        self.field(Effect::Restart, "tls.watch_ms", watch, &after.watch);
        self.field(Effect::Live, "tls.client_anchors", client_anchors, &after.client_anchors);
        self.field(Effect::Live, "tls.client_crls", client_crls, &after.client_crls);
    }

    fn database(&mut self, before: &Database, after: &Database) {
        let Database { url, password_file, slow_statement } = before;
        self.field(Effect::Restart, "database.url", url, &after.url);
        self.field(Effect::Restart, "database.password_file", password_file, &after.password_file);
        let name = "database.slow_statement_ms";
        self.field(Effect::Restart, name, slow_statement, &after.slow_statement);
    }

    fn trust(&mut self, before: &Trust, after: &Trust) {
        let Trust {
            anchors,
            license_anchors,
            intermediates,
            seal_makers,
            crls,
            poll,
            documents,
            licenses,
            fetch,
            crl_sources,
            ocsp_sources,
        } = before;
        self.field(Effect::Live, "trust.anchors", anchors, &after.anchors);
        self.field(Effect::Live, "trust.license_anchors", license_anchors, &after.license_anchors);
        self.field(Effect::Live, "trust.intermediates", intermediates, &after.intermediates);
        self.field(Effect::Live, "trust.seal_makers", seal_makers, &after.seal_makers);
        self.field(Effect::Live, "trust.crls", crls, &after.crls);
        self.field(Effect::Live, "trust.poll_ms", poll, &after.poll);
        self.trust_rules("trust.documents", documents, &after.documents);
        self.trust_rules("trust.licenses", licenses, &after.licenses);
        self.fetch(fetch, &after.fetch);
        self.field(Effect::Live, "trust.crl", crl_sources, &after.crl_sources);
        self.field(Effect::Live, "trust.ocsp", ocsp_sources, &after.ocsp_sources);
    }

    fn trust_rules(&mut self, section: &str, before: &TrustRules, after: &TrustRules) {
        let TrustRules { revocation, max_age, grace, policies } = before;
        self.field(Effect::Live, &format!("{section}.revocation"), revocation, &after.revocation);
        self.field(Effect::Live, &format!("{section}.max_age_ms"), max_age, &after.max_age);
        self.field(Effect::Live, &format!("{section}.grace_ms"), grace, &after.grace);
        self.field(Effect::Live, &format!("{section}.policies"), policies, &after.policies);
    }

    fn fetch(&mut self, before: &Fetch, after: &Fetch) {
        let Fetch { folder, proxy, tls_anchors, timeout, retry, crl_limit } = before;
        self.field(Effect::Live, "trust.fetch.folder", folder, &after.folder);
        self.field(Effect::Live, "trust.fetch.proxy", proxy, &after.proxy);
        self.field(Effect::Live, "trust.fetch.tls_anchors", tls_anchors, &after.tls_anchors);
        self.field(Effect::Live, "trust.fetch.timeout_ms", timeout, &after.timeout);
        self.field(Effect::Live, "trust.fetch.retry_ms", retry, &after.retry);
        self.field(Effect::Live, "trust.fetch.crl_limit", crl_limit, &after.crl_limit);
    }

    fn callers(&mut self, before: &Callers, after: &Callers) {
        let Callers { api_keys, issuer, token_lifetime } = before;
        self.field(Effect::Live, "callers.api_keys", api_keys, &after.api_keys);
        self.field(Effect::Live, "callers.issuer", issuer, &after.issuer);
        self.field(Effect::Live, "callers.token_lifetime_s", token_lifetime, &after.token_lifetime);
    }

    fn administration(&mut self, before: &Administration, after: &Administration) {
        let Administration { two_person, approval_lifetime } = before;
        self.field(Effect::Restart, "administration.two_person", two_person, &after.two_person);
        let name = "administration.approval_hours";
        self.field(Effect::Live, name, approval_lifetime, &after.approval_lifetime);
    }

    fn policy(&mut self, before: &Policy, after: &Policy) {
        let Policy { permits_unruled } = before;
        self.field(Effect::Live, "policy.default", permits_unruled, &after.permits_unruled);
    }

    fn people(&mut self, before: &People, after: &People) {
        let People {
            idle,
            session,
            password_length,
            password_days,
            reminder_days,
            password_history,
            breached_passwords,
            one_time,
            lockout_tries,
            lockout_pause,
            lockout_longest,
            token_days,
            unused_days,
        } = before;
        self.field(Effect::Live, "people.idle_s", idle, &after.idle);
        self.field(Effect::Live, "people.session_s", session, &after.session);
        self.field(Effect::Live, "people.password_length", password_length, &after.password_length);
        self.field(Effect::Live, "people.password_days", password_days, &after.password_days);
        self.field(Effect::Live, "people.reminder_days", reminder_days, &after.reminder_days);
        self.field(Effect::Live, "people.password_history", password_history, &after.password_history);
        let after_list = &after.breached_passwords;
        self.field(Effect::Live, "people.breached_passwords", breached_passwords, after_list);
        self.field(Effect::Live, "people.one_time_hours", one_time, &after.one_time);
        self.field(Effect::Live, "people.lockout_tries", lockout_tries, &after.lockout_tries);
        self.field(Effect::Live, "people.lockout_pause_s", lockout_pause, &after.lockout_pause);
        self.field(Effect::Live, "people.lockout_longest_s", lockout_longest, &after.lockout_longest);
        self.field(Effect::Live, "people.token_days", token_days, &after.token_days);
        self.field(Effect::Live, "people.unused_days", unused_days, &after.unused_days);
    }

    fn traces(&mut self, before: &Traces, after: &Traces) {
        let Traces { endpoint, percent } = before;
        self.field(Effect::Restart, "traces.endpoint", endpoint, &after.endpoint);
        self.field(Effect::Restart, "traces.percent", percent, &after.percent);
    }

    fn ceremony(&mut self, before: &Ceremony, after: &Ceremony) {
        let Ceremony { confirmations } = before;
        self.field(Effect::Live, "ceremony.confirmations", confirmations, &after.confirmations);
    }

    fn documents(&mut self, before: &Documents, after: &Documents) {
        let Documents { font, font_face } = before;
        self.field(Effect::Live, "documents.font", font, &after.font);
        self.field(Effect::Live, "documents.font_face", font_face, &after.font_face);
    }

    fn timestamps(&mut self, before: &Timestamps, after: &Timestamps) {
        let Timestamps {
            policies,
            accuracy,
            ordering,
            public,
            public_rate,
            public_burst,
            public_in_flight,
            clock,
            outside,
        } = before;
        self.field(Effect::Live, "timestamps.policies", policies, &after.policies);
        self.field(Effect::Live, "timestamps.accuracy_ms", accuracy, &after.accuracy);
        self.field(Effect::Live, "timestamps.ordering", ordering, &after.ordering);
        self.field(Effect::Live, "timestamps.public", public, &after.public);
        self.field(Effect::Live, "timestamps.public_rate", public_rate, &after.public_rate);
        self.field(Effect::Live, "timestamps.public_burst", public_burst, &after.public_burst);
        let name = "timestamps.public_in_flight";
        self.field(Effect::Live, name, public_in_flight, &after.public_in_flight);
        let ClockWatch { servers, required, max_offset, max_age, poll, timeout } = clock;
        let next = &after.clock;
        self.field(Effect::Restart, "timestamps.clock.servers", servers, &next.servers);
        self.field(Effect::Live, "timestamps.clock.required", required, &next.required);
        self.field(Effect::Live, "timestamps.clock.max_offset_ms", max_offset, &next.max_offset);
        self.field(Effect::Live, "timestamps.clock.max_age_ms", max_age, &next.max_age);
        self.field(Effect::Restart, "timestamps.clock.poll_ms", poll, &next.poll);
        self.field(Effect::Restart, "timestamps.clock.timeout_ms", timeout, &next.timeout);
        self.field(Effect::Restart, "timestamps.outside", outside, &after.outside);
    }

    fn audit(&mut self, before: &Audit, after: &Audit) {
        let Audit {
            checkpoint_entries,
            checkpoint_interval,
            archive,
            archive_after,
            retention,
            witness_interval,
            anchor_file,
            anchor_url,
            anchor_every,
            discard,
        } = before;
        self.field(Effect::Live, "audit.checkpoint_entries", checkpoint_entries, &after.checkpoint_entries);
        self.field(
            Effect::Live,
            "audit.checkpoint_interval_ms",
            checkpoint_interval,
            &after.checkpoint_interval,
        );
        self.field(Effect::Restart, "audit.archive", archive, &after.archive);
        self.field(Effect::Restart, "audit.archive_after_days", archive_after, &after.archive_after);
        self.field(Effect::Restart, "audit.retention_days", retention, &after.retention);
        self.field(Effect::Restart, "audit.witness_interval_ms", witness_interval, &after.witness_interval);
        self.field(Effect::Restart, "audit.anchor_file", anchor_file, &after.anchor_file);
        self.field(Effect::Restart, "audit.anchor_url", anchor_url, &after.anchor_url);
        self.field(Effect::Restart, "audit.anchor_every", anchor_every, &after.anchor_every);
        self.field(Effect::Restart, "audit.discard", discard, &after.discard);
    }

    fn fleet(&mut self, before: &Fleet, after: &Fleet) {
        let Fleet {
            deadline,
            kill_after,
            start_timeout,
            queue,
            output_check,
            keep_alive,
            hedge_after,
            ramp,
            retry_percent,
            wrapped_cache,
            isolation,
        } = before;
        self.field(Effect::Live, "fleet.deadline_ms", deadline, &after.deadline);
        self.field(Effect::Live, "fleet.kill_after_ms", kill_after, &after.kill_after);
        self.field(Effect::Live, "fleet.start_timeout_ms", start_timeout, &after.start_timeout);
        self.field(Effect::Live, "fleet.queue", queue, &after.queue);
        self.field(Effect::Live, "fleet.output_check", output_check, &after.output_check);
        self.field(Effect::Live, "fleet.keep_alive_ms", keep_alive, &after.keep_alive);
        self.field(Effect::Live, "fleet.hedge_after_ms", hedge_after, &after.hedge_after);
        self.field(Effect::Live, "fleet.ramp_ms", ramp, &after.ramp);
        self.field(Effect::Live, "fleet.retry_percent", retry_percent, &after.retry_percent);
        self.field(Effect::Live, "fleet.wrapped_cache", wrapped_cache, &after.wrapped_cache);
        self.field(Effect::Live, "fleet.isolation", isolation, &after.isolation);
    }

    fn devices(&mut self, before: &[Device], after: &[Device]) {
        for device in before {
            match after.iter().find(|other| other.id == device.id) {
                None => self.device(device, "removed".to_owned()),
                Some(other) => {
                    let fields = differing(device, other);
                    if !fields.is_empty() {
                        self.device(device, format!("changed: {}", fields.join(", ")));
                    }
                }
            }
        }
        for device in after {
            if !before.iter().any(|other| other.id == device.id) {
                self.device(device, "added".to_owned());
            }
        }
    }

    fn device(&mut self, device: &Device, detail: String) {
        self.note(Effect::Live, format!("device {}", device.id), detail);
    }
}

/// The names of the fields in which two devices of the same id differ.
fn differing(before: &Device, after: &Device) -> Vec<&'static str> {
    let Device { id: _, group, module, token, serial, pin_file, so_pin_file, dialect, lanes, env, folder } =
        before;
    let fields = [
        ("group", *group != after.group),
        ("module", *module != after.module),
        ("token", *token != after.token),
        ("serial", *serial != after.serial),
        ("pin_file", *pin_file != after.pin_file),
        ("so_pin_file", *so_pin_file != after.so_pin_file),
        ("dialect", *dialect != after.dialect),
        ("lanes", *lanes != after.lanes),
        ("env", *env != after.env),
        ("folder", *folder != after.folder),
    ];
    fields.into_iter().filter(|(_, differs)| *differs).map(|(name, _)| name).collect()
}
