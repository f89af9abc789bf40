//! What callers may ask for, and what each operation takes. The table is the one place for it: authentication holds
//! every request against it before anything of it is read, the API's description says it, and a test compares both.

use std::collections::HashMap;
use std::sync::LazyLock;

/// What an app or a person may ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Scope {
    Signatures,
    Verifications,
    Licenses,
    Keys,
    Devices,
    Maintenance,
    Audit,
    Apps,
    /// People and their roles.
    Accounts,
    /// To see who may do what.
    Rights,
    /// What apps may sign.
    Policies,
    /// To decide about what others ask for.
    Approvals,
    Timestamps,
    /// Seals, standing mandates, and who may use them; stamp templates.
    Seals,
    /// To have the agency certify what the library says.
    QueryCertificates,
    /// To have people scan with their licenses.
    Sessions,
}

impl Scope {
    pub(crate) const ALL: [Self; 16] = [
        Self::Signatures,
        Self::Verifications,
        Self::Licenses,
        Self::Keys,
        Self::Devices,
        Self::Maintenance,
        Self::Audit,
        Self::Apps,
        Self::Accounts,
        Self::Rights,
        Self::Policies,
        Self::Approvals,
        Self::Timestamps,
        Self::Seals,
        Self::QueryCertificates,
        Self::Sessions,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Signatures => "signatures",
            Self::Verifications => "verifications",
            Self::Licenses => "licenses",
            Self::Keys => "keys",
            Self::Devices => "devices",
            Self::Maintenance => "maintenance",
            Self::Audit => "audit",
            Self::Apps => "apps",
            Self::Accounts => "accounts",
            Self::Rights => "rights",
            Self::Timestamps => "timestamps",
            Self::Policies => "policies",
            Self::Approvals => "approvals",
            Self::Seals => "seals",
            Self::QueryCertificates => "query-certificates",
            Self::Sessions => "sessions",
        }
    }
}

/// What an operation takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Needed {
    /// All of these.
    Scopes(&'static [Scope]),
    /// To be a caller; it is about the caller's own.
    Caller,
    /// Nothing: it is for anybody.
    Nothing,
}

const KEY_LIFE: Needed = Needed::Scopes(&[Scope::Keys, Scope::Maintenance]);

const fn scope(scope: &'static [Scope; 1]) -> Needed {
    Needed::Scopes(scope)
}

const SIGNATURES: Needed = scope(&[Scope::Signatures]);
const VERIFICATIONS: Needed = scope(&[Scope::Verifications]);
const LICENSES: Needed = scope(&[Scope::Licenses]);
const KEYS: Needed = scope(&[Scope::Keys]);
const DEVICES: Needed = scope(&[Scope::Devices]);
const MAINTENANCE: Needed = scope(&[Scope::Maintenance]);
const AUDIT: Needed = scope(&[Scope::Audit]);
const APPS: Needed = scope(&[Scope::Apps]);
const ACCOUNTS: Needed = scope(&[Scope::Accounts]);
const TIMESTAMPS: Needed = scope(&[Scope::Timestamps]);
const RIGHTS: Needed = scope(&[Scope::Rights]);
const POLICIES: Needed = scope(&[Scope::Policies]);
const APPROVALS: Needed = scope(&[Scope::Approvals]);
const SEALS: Needed = scope(&[Scope::Seals]);
const SESSIONS: Needed = scope(&[Scope::Sessions]);
const QUERY_CERTIFICATES: Needed = scope(&[Scope::QueryCertificates]);

/// By route in its pattern, then by method.
const TABLE: &[(&str, &[(&str, Needed)])] = &[
    ("/.well-known/oauth-authorization-server", &[("GET", Needed::Nothing)]),
    ("/.well-known/openid-configuration", &[("GET", Needed::Nothing)]),
    ("/authenticationService/appserver.do", &[("POST", Needed::Nothing)]),
    // Who has not the scope of licenses is told so in the protocol's form.
    ("/authenticationService/getLicencePdf.do", &[("GET", Needed::Caller), ("POST", Needed::Caller)]),
    // What it takes goes by the message: sessions, licenses or both. Who asks may stand in the message, too.
    ("/authenticationService/httpserver.do", &[("POST", Needed::Caller)]),
    ("/docs", &[("GET", Needed::Nothing)]),
    ("/livez", &[("GET", Needed::Nothing)]),
    ("/metrics", &[("GET", Needed::Nothing)]),
    ("/oauth2/jwks", &[("GET", Needed::Nothing)]),
    ("/oauth2/token", &[("POST", Needed::Nothing)]),
    // Apps prove themselves to these, and browsers show what they began with.
    ("/oidc/authorize", &[("GET", Needed::Nothing), ("POST", Needed::Nothing)]),
    ("/oidc/device", &[("GET", Needed::Nothing)]),
    ("/oidc/device_authorization", &[("POST", Needed::Nothing)]),
    ("/oidc/login/{id}", &[("GET", Needed::Nothing)]),
    ("/oidc/login/{id}/cancel", &[("POST", Needed::Nothing)]),
    ("/oidc/login/{id}/continue", &[("POST", Needed::Nothing)]),
    ("/oidc/login/{id}/state", &[("GET", Needed::Nothing)]),
    ("/oidc/logout", &[("GET", Needed::Nothing), ("POST", Needed::Nothing)]),
    ("/oidc/par", &[("POST", Needed::Nothing)]),
    ("/oidc/revoke", &[("POST", Needed::Nothing)]),
    ("/oidc/token", &[("POST", Needed::Nothing)]),
    ("/oidc/userinfo", &[("GET", Needed::Nothing), ("POST", Needed::Nothing)]),
    ("/openapi.json", &[("GET", Needed::Nothing)]),
    ("/readyz", &[("GET", Needed::Nothing)]),
    ("/v1/account", &[("GET", Needed::Caller)]),
    ("/v1/account/password", &[("POST", Needed::Caller)]),
    ("/v1/account/recovery-codes", &[("POST", Needed::Caller)]),
    ("/v1/account/second-factor", &[("POST", Needed::Caller)]),
    ("/v1/account/second-factor:confirm", &[("POST", Needed::Caller)]),
    ("/v1/account/sessions", &[("GET", Needed::Caller)]),
    ("/v1/account/sessions/{id}/end", &[("POST", Needed::Caller)]),
    ("/v1/account/sessions:end-others", &[("POST", Needed::Caller)]),
    ("/v1/account/tokens", &[("POST", Needed::Caller)]),
    ("/v1/admin/accounts", &[("GET", ACCOUNTS), ("POST", ACCOUNTS)]),
    ("/v1/admin/accounts/{name}", &[("GET", ACCOUNTS), ("PUT", ACCOUNTS)]),
    ("/v1/admin/accounts/{name}/disable", &[("POST", ACCOUNTS)]),
    ("/v1/admin/accounts/{name}/enable", &[("POST", ACCOUNTS)]),
    ("/v1/admin/accounts/{name}/end-sessions", &[("POST", ACCOUNTS)]),
    ("/v1/admin/accounts/{name}/reset-password", &[("POST", ACCOUNTS)]),
    ("/v1/admin/accounts/{name}/reset-second-factor", &[("POST", ACCOUNTS)]),
    ("/v1/admin/accounts/{name}/sessions", &[("GET", ACCOUNTS)]),
    ("/v1/admin/accounts/{name}/unlock", &[("POST", ACCOUNTS)]),
    ("/v1/admin/accounts:review", &[("GET", RIGHTS)]),
    ("/v1/admin/approvals", &[("GET", APPROVALS)]),
    ("/v1/admin/approvals/{id}", &[("GET", APPROVALS)]),
    ("/v1/admin/approvals/{id}/approve", &[("POST", APPROVALS)]),
    ("/v1/admin/approvals/{id}/reject", &[("POST", APPROVALS)]),
    // Of what one has asked for oneself.
    ("/v1/admin/approvals/{id}/withdraw", &[("POST", Needed::Caller)]),
    ("/v1/admin/apps", &[("GET", APPS), ("POST", APPS)]),
    ("/v1/admin/apps/{id}", &[("GET", APPS), ("PUT", APPS)]),
    ("/v1/admin/apps/{id}/credentials", &[("POST", APPS)]),
    ("/v1/admin/apps/{id}/credentials/{credential}/revoke", &[("POST", APPS)]),
    ("/v1/admin/apps/{id}/disable", &[("POST", APPS)]),
    ("/v1/admin/apps/{id}/enable", &[("POST", APPS)]),
    ("/v1/admin/apps/{id}/freeze", &[("POST", APPS)]),
    ("/v1/admin/apps/{id}/keys", &[("PUT", APPS)]),
    ("/v1/admin/apps/{id}/lock", &[("POST", APPS)]),
    ("/v1/admin/apps/{id}/webhook", &[("GET", APPS), ("PUT", APPS)]),
    ("/v1/admin/apps/{id}/webhook/remove", &[("POST", APPS)]),
    ("/v1/admin/apps/{id}/webhook/test", &[("POST", APPS)]),
    ("/v1/admin/ceremonies", &[("GET", KEY_LIFE), ("POST", KEY_LIFE)]),
    ("/v1/admin/ceremonies/{id}", &[("GET", KEY_LIFE)]),
    ("/v1/admin/ceremonies/{id}/call-off", &[("POST", KEY_LIFE)]),
    ("/v1/admin/ceremonies/{id}/confirm", &[("POST", KEY_LIFE)]),
    ("/v1/admin/config:reload", &[("POST", MAINTENANCE)]),
    ("/v1/admin/custodians", &[("GET", KEY_LIFE), ("POST", KEY_LIFE)]),
    ("/v1/admin/custodians/{name}/disable", &[("POST", KEY_LIFE)]),
    ("/v1/admin/custodians/{name}/enable", &[("POST", KEY_LIFE)]),
    ("/v1/admin/data-key:rotate", &[("POST", MAINTENANCE)]),
    ("/v1/admin/deliveries", &[("GET", MAINTENANCE)]),
    ("/v1/admin/deliveries/{id}", &[("GET", MAINTENANCE)]),
    ("/v1/admin/deliveries/{id}/resend", &[("POST", MAINTENANCE)]),
    // To read these takes one of two scopes: maintenance or audit.
    ("/v1/admin/incidents", &[("GET", Needed::Caller), ("POST", MAINTENANCE)]),
    ("/v1/admin/incidents/{id}", &[("GET", Needed::Caller)]),
    ("/v1/admin/incidents/{id}/report", &[("GET", Needed::Caller)]),
    ("/v1/admin/incidents/{id}/steps", &[("POST", MAINTENANCE)]),
    ("/v1/admin/inspections", &[("GET", Needed::Caller), ("POST", MAINTENANCE)]),
    ("/v1/admin/inspections/{id}", &[("GET", Needed::Caller)]),
    ("/v1/admin/inspections/{id}/report", &[("GET", Needed::Caller)]),
    ("/v1/admin/keys", &[("GET", KEY_LIFE)]),
    ("/v1/admin/keys/{id}", &[("GET", KEY_LIFE)]),
    ("/v1/admin/keys/{id}/csr", &[("POST", KEY_LIFE)]),
    ("/v1/admin/mandates", &[("GET", SEALS), ("POST", SEALS)]),
    ("/v1/admin/mandates/{id}", &[("GET", SEALS)]),
    ("/v1/admin/mandates/{id}/activate", &[("POST", SEALS)]),
    ("/v1/admin/mandates/{id}/certificate", &[("POST", SEALS)]),
    ("/v1/admin/mandates/{id}/csr", &[("POST", SEALS)]),
    ("/v1/admin/mandates/{id}/end", &[("POST", SEALS)]),
    ("/v1/admin/mandates/{id}/resume", &[("POST", SEALS)]),
    ("/v1/admin/mandates/{id}/suspend", &[("POST", SEALS)]),
    ("/v1/admin/policies", &[("GET", POLICIES)]),
    ("/v1/admin/policies/{app}", &[("GET", POLICIES), ("PUT", POLICIES)]),
    ("/v1/admin/policies/{app}/history", &[("GET", POLICIES)]),
    ("/v1/admin/policies:evaluate", &[("POST", POLICIES)]),
    ("/v1/admin/seals", &[("GET", SEALS), ("POST", SEALS)]),
    ("/v1/admin/seals/{id}", &[("GET", SEALS)]),
    ("/v1/admin/seals/{id}/replace", &[("POST", SEALS)]),
    ("/v1/admin/seals/{id}/resume", &[("POST", SEALS)]),
    ("/v1/admin/seals/{id}/revoke", &[("POST", SEALS)]),
    ("/v1/admin/seals/{id}/suspend", &[("POST", SEALS)]),
    ("/v1/admin/service-levels", &[("GET", Needed::Caller)]),
    ("/v1/admin/stamp-templates", &[("GET", SEALS)]),
    ("/v1/admin/stamp-templates/{id}", &[("GET", SEALS), ("PUT", SEALS)]),
    ("/v1/admin/stamp-templates/{id}/disable", &[("POST", SEALS)]),
    ("/v1/admin/stamp-templates/{id}/enable", &[("POST", SEALS)]),
    ("/v1/audit/checkpoint", &[("GET", AUDIT)]),
    ("/v1/audit/entries", &[("GET", AUDIT)]),
    // Of an entry of its own any caller has the proof; of others it takes the scope.
    ("/v1/audit/proofs/{index}", &[("GET", Needed::Caller)]),
    ("/v1/audit/proofs:consistency", &[("GET", AUDIT)]),
    ("/v1/devices", &[("GET", DEVICES)]),
    ("/v1/devices/{id}", &[("GET", DEVICES)]),
    ("/v1/devices/{id}/drain", &[("POST", MAINTENANCE)]),
    ("/v1/devices/{id}/fault", &[("PUT", MAINTENANCE)]),
    ("/v1/devices/{id}/history", &[("GET", DEVICES)]),
    ("/v1/devices/{id}/maintain", &[("POST", MAINTENANCE)]),
    ("/v1/devices/{id}/release", &[("POST", MAINTENANCE)]),
    ("/v1/devices/{id}/replace", &[("POST", MAINTENANCE)]),
    ("/v1/devices/{id}/restart", &[("POST", MAINTENANCE)]),
    ("/v1/devices/{id}/resume", &[("POST", MAINTENANCE)]),
    ("/v1/devices/{id}/self-test", &[("POST", MAINTENANCE)]),
    ("/v1/identifiers:check", &[("POST", LICENSES)]),
    ("/v1/keys", &[("GET", KEYS)]),
    ("/v1/keys/{id}", &[("GET", KEYS)]),
    ("/v1/licenses", &[("GET", LICENSES)]),
    ("/v1/licenses/{uscc}/face", &[("GET", LICENSES)]),
    ("/v1/licenses/{uscc}/files", &[("GET", LICENSES)]),
    ("/v1/licenses/{uscc}/files/{kind}", &[("GET", LICENSES)]),
    ("/v1/licenses/{uscc}/status", &[("GET", LICENSES)]),
    ("/v1/licenses:verify", &[("POST", LICENSES)]),
    ("/v1/licenses:verify-batch", &[("POST", LICENSES)]),
    ("/v1/mandates", &[("GET", SIGNATURES)]),
    ("/v1/phone/sessions/{id}/confirm", &[("POST", Needed::Nothing)]),
    ("/v1/phone/sessions/{id}/deny", &[("POST", Needed::Nothing)]),
    ("/v1/phone/sessions:scan", &[("POST", Needed::Nothing)]),
    // As of jobs of stamps.
    ("/v1/query-certificate-jobs", &[("GET", Needed::Caller), ("POST", QUERY_CERTIFICATES)]),
    ("/v1/query-certificate-jobs/{id}", &[("GET", Needed::Caller)]),
    ("/v1/query-certificate-jobs/{id}/cancel", &[("POST", Needed::Caller)]),
    ("/v1/query-certificate-jobs/{id}/content", &[("GET", QUERY_CERTIFICATES)]),
    ("/v1/query-certificate-jobs/{id}/documents/{n}/content", &[("GET", QUERY_CERTIFICATES)]),
    ("/v1/query-certificates", &[("POST", QUERY_CERTIFICATES)]),
    // As of a stamp.
    ("/v1/query-certificates/{number}", &[("GET", Needed::Caller)]),
    // Of a retention of its own an app has all; of others it takes the scope of auditors.
    ("/v1/retentions", &[("GET", Needed::Caller), ("POST", LICENSES)]),
    ("/v1/retentions/{id}", &[("GET", Needed::Caller)]),
    ("/v1/retentions/{id}/evidence", &[("GET", Needed::Caller)]),
    ("/v1/retentions/{id}/file", &[("GET", Needed::Caller)]),
    // Who verifies or signs may see it.
    ("/v1/seals/{id}", &[("GET", Needed::Caller)]),
    ("/v1/sessions", &[("POST", SESSIONS)]),
    ("/v1/sessions/{id}", &[("GET", SESSIONS)]),
    ("/v1/sessions/{id}/cancel", &[("POST", SESSIONS)]),
    ("/v1/sessions/{id}/consume", &[("POST", SESSIONS)]),
    ("/v1/sessions/{id}/events", &[("GET", SESSIONS)]),
    // And signatures.
    ("/v1/sessions:stamp", &[("POST", SESSIONS)]),
    ("/v1/sign-in", &[("POST", Needed::Nothing)]),
    ("/v1/sign-in:second-factor", &[("POST", Needed::Nothing)]),
    ("/v1/sign-out", &[("POST", Needed::Caller)]),
    ("/v1/signatures", &[("POST", SIGNATURES)]),
    ("/v1/signatures:batch", &[("POST", SIGNATURES)]),
    ("/tsa", &[("POST", Needed::Nothing)]),
    // Of a job of its own an app that signs has what is known; of others it takes the scope of maintenance.
    ("/v1/stamp-jobs", &[("GET", Needed::Caller), ("POST", SIGNATURES)]),
    ("/v1/stamp-jobs/{id}", &[("GET", Needed::Caller)]),
    ("/v1/stamp-jobs/{id}/cancel", &[("POST", Needed::Caller)]),
    ("/v1/stamp-jobs/{id}/content", &[("GET", SIGNATURES)]),
    ("/v1/stamp-jobs/{id}/documents/{n}/content", &[("GET", SIGNATURES)]),
    ("/v1/stamp-templates", &[("GET", SIGNATURES)]),
    ("/v1/stamps", &[("POST", SIGNATURES)]),
    // Of a stamp of its own an app that signs has the record; of others it takes the scope of auditors.
    ("/v1/stamps/{id}", &[("GET", Needed::Caller)]),
    ("/v1/stamps/{id}/archive", &[("POST", Needed::Caller)]),
    ("/v1/stamps/{id}/evidence", &[("GET", Needed::Caller)]),
    ("/v1/stamps:verify", &[("POST", VERIFICATIONS)]),
    ("/v1/timestamps", &[("POST", TIMESTAMPS)]),
    // One of two scopes is enough for this and the next.
    ("/v1/timestamps/clock", &[("GET", Needed::Caller)]),
    ("/v1/timestamps:verify", &[("POST", Needed::Caller)]),
    ("/v1/trust", &[("GET", MAINTENANCE)]),
    ("/v1/uploads", &[("PUT", SIGNATURES)]),
    // One's own; of others it takes one of two scopes: maintenance or audit.
    ("/v1/usage", &[("GET", Needed::Caller)]),
    ("/v1/verifications", &[("POST", VERIFICATIONS)]),
    ("/v1/verifications:batch", &[("POST", VERIFICATIONS)]),
    ("/verify/{code}", &[("GET", Needed::Nothing)]),
    ("/verify/{code}/evidence", &[("GET", Needed::Nothing)]),
];

/// What an operation takes; none of a route that the table does not know: its handler decides alone.
pub(crate) fn needed(method: &str, route: &str) -> Option<Needed> {
    static BY_ROUTE: LazyLock<HashMap<&'static str, &'static [(&'static str, Needed)]>> =
        LazyLock::new(|| TABLE.iter().copied().collect());
    let method = if method == "HEAD" { "GET" } else { method };
    let methods = BY_ROUTE.get(route)?;
    methods.iter().find(|(of, _)| *of == method).map(|(_, needed)| *needed)
}
