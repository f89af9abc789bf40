//! What the roles of people come to: the one table from roles to scopes.
//!
//! 三员分立: the system administrator operates, the security administrator grants, the audit administrator watches both
//! and changes nothing. No person has two of these (`store::Role::conflict`), and no role has what another of the three
//! is there to check.

use std::collections::BTreeSet;

use store::Role;

use super::scope::Scope;

/// What a role may ask for.
pub(crate) fn scopes(role: Role) -> &'static [Scope] {
    match role {
        Role::Operator => &[Scope::Devices, Scope::Maintenance],
        Role::WindowClerk => &[Scope::Licenses, Scope::Verifications],
        Role::ServiceSeat => &[Scope::Devices, Scope::Licenses, Scope::Verifications],
        Role::Auditor => &[Scope::Audit, Scope::Devices, Scope::Keys],
        Role::SystemAdmin => &[Scope::Approvals, Scope::Devices, Scope::Keys, Scope::Maintenance],
        Role::SecurityAdmin => {
            &[Scope::Accounts, Scope::Approvals, Scope::Apps, Scope::Policies, Scope::Rights, Scope::Seals]
        }
        Role::AuditAdmin => &[Scope::Audit, Scope::Rights],
    }
}

/// License face fields that a role may see; `*` for all.
fn fields(role: Role) -> &'static [&'static str] {
    match role {
        Role::WindowClerk => &["*"],
        Role::ServiceSeat => {
            &["uscc", "name", "legal_representative", "registration_authority", "established"]
        }
        Role::Operator | Role::Auditor | Role::SystemAdmin | Role::SecurityAdmin | Role::AuditAdmin => &[],
    }
}

/// What a person of these roles may ask for.
pub(crate) fn granted(roles: &BTreeSet<Role>) -> BTreeSet<Scope> {
    roles.iter().flat_map(|role| scopes(*role)).copied().collect()
}

/// What a person of these roles may see of licenses.
pub(crate) fn visible(roles: &BTreeSet<Role>) -> BTreeSet<String> {
    roles.iter().flat_map(|role| fields(*role)).map(|field| (*field).to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_three_administrators_share_no_power() {
        let powers = |role| granted(&BTreeSet::from([role]));
        // To see who may do what is no power.
        let sees = BTreeSet::from([Scope::Rights]);
        // To approve takes somebody else's wish, so that what one of the two asks for the other one can approve.
        let approves = BTreeSet::from([Scope::Approvals]);
        let [system, security, audit] =
            [Role::SystemAdmin, Role::SecurityAdmin, Role::AuditAdmin].map(powers);
        assert!(system.intersection(&security).all(|scope| approves.contains(scope)));
        assert!(system.is_disjoint(&audit));
        assert!(security.intersection(&audit).all(|scope| sees.contains(scope)));
    }

    #[test]
    fn who_reads_the_record_grants_and_operates_nothing() {
        for role in [Role::Auditor, Role::AuditAdmin] {
            for power in [
                Scope::Accounts,
                Scope::Approvals,
                Scope::Apps,
                Scope::Maintenance,
                Scope::Policies,
                Scope::Seals,
                Scope::Signatures,
            ] {
                assert!(!scopes(role).contains(&power), "{role}");
            }
        }
    }

    #[test]
    fn no_role_signs() {
        assert!(Role::ALL.iter().all(|role| !scopes(*role).contains(&Scope::Signatures)));
    }
}
