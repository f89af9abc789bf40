//! The report for people.

use std::fmt::{self, Display, Formatter};

use super::{Behaviour, Report};

impl Display for Report {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match (self.usable, &self.dialect) {
            (true, Some(dialect)) => writeln!(f, "USABLE with dialect = \"{dialect}\"")?,
            (true, None) => {
                writeln!(f, "USABLE for P-256 and RSA; its SM2 needs a dialect of its own (below)")?
            }
            (false, _) => writeln!(f, "NOT USABLE")?,
        }
        if !self.also_fits.is_empty() {
            writeln!(f, "  also fits: {}", self.also_fits.join(", "))?;
        }
        if let Some(reason) = &self.stopped {
            writeln!(f, "  stopped: {reason}")?;
        }
        for note in &self.notes {
            writeln!(f, "  - {note}")?;
        }
        self.facts(f)?;
        self.findings(f)?;
        self.lists(f)?;
        if !self.profile.is_empty() {
            writeln!(f, "\nDialect\n\n{}\nDevice\n\n{}", self.profile, self.device)?;
        }
        Ok(())
    }
}

fn mark(works: bool) -> &'static str {
    if works { "yes" } else { "no" }
}

fn count(number: Option<u64>, zero: &str) -> String {
    match number {
        None => "not said".to_owned(),
        Some(0) => zero.to_owned(),
        Some(number) => number.to_string(),
    }
}

impl Report {
    fn facts(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if let Some(library) = &self.library {
            writeln!(
                f,
                "\nLibrary   {} {} {} (PKCS#11 {})",
                library.manufacturer, library.description, library.version, library.cryptoki
            )?;
        }
        if let Some(token) = &self.token {
            writeln!(
                f,
                "Token     {:?}: {} {}, serial {}, firmware {}, now in slot {}",
                token.label, token.manufacturer, token.model, token.serial, token.firmware, token.slot
            )?;
            writeln!(f, "          {}", token.flags.join(", "))?;
            writeln!(
                f,
                "          sessions: at most {}, open when examined {}",
                count(token.max_sessions, "no limit"),
                count(token.open_sessions, "0")
            )?;
        }
        Ok(())
    }

    fn findings(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if !self.sm2.is_empty() {
            writeln!(f, "\nSM2")?;
        }
        for finding in &self.sm2 {
            writeln!(f, "  {:9} key type {}: key {}", finding.family, finding.key_type, finding.key)?;
            if let Some(point) = &finding.point {
                let private = finding.point_on_private.as_deref().unwrap_or("not shown");
                writeln!(f, "            CKA_EC_POINT {point}; on the private key {private}")?;
            }
            for one in &finding.signatures {
                let found = match (&one.signs, &one.refused) {
                    (Some(signs), _) => {
                        format!("signs {signs}, answers {}", one.form.as_deref().unwrap_or("nothing"))
                    }
                    (None, refused) => refused.clone().unwrap_or_default(),
                };
                writeln!(f, "            {} {:23} {found}", one.number, one.name)?;
            }
        }
        if !self.algorithms.is_empty() {
            writeln!(f, "\nOther signatures")?;
        }
        for one in &self.algorithms {
            writeln!(f, "  {:3} {:18} {}", mark(one.works), one.algorithm, one.detail)?;
        }
        if !self.services.is_empty() {
            writeln!(f, "\nOther services")?;
        }
        for one in &self.services {
            writeln!(f, "  {:3} {:26} {}", mark(one.works), one.service, one.detail)?;
        }
        if !self.wrapping.is_empty() {
            writeln!(f, "\nPrivate keys wrapped")?;
        }
        for one in &self.wrapping {
            let octets = one.octets.map(|octets| format!(" ({octets} octets)")).unwrap_or_default();
            writeln!(
                f,
                "  {:3} {} by {} with {}: {}{octets}",
                mark(one.works),
                one.key,
                one.by,
                one.mechanism,
                one.detail
            )?;
        }
        self.behaviour.write(f)?;
        if !self.rates.is_empty() {
            writeln!(f, "\nSpeed              lanes      /s   p50 us   p99 us   failed")?;
        }
        for one in &self.rates {
            writeln!(
                f,
                "  {:18} {:3} {:9.0} {:8} {:8} {:8}",
                one.algorithm, one.lanes, one.per_second, one.p50_us, one.p99_us, one.failed
            )?;
        }
        Ok(())
    }

    fn lists(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if !self.refusals.is_empty() {
            writeln!(f, "\nRefusals met")?;
        }
        for one in &self.refusals {
            writeln!(f, "  {:4} × {}", one.count, one.refusal)?;
        }
        if !self.mechanisms.is_empty() {
            writeln!(f, "\nMechanisms ({})", self.mechanisms.len())?;
        }
        for one in &self.mechanisms {
            let name = one.name.as_deref().unwrap_or("?");
            writeln!(
                f,
                "  {} {name}: {} to {}; {}",
                one.number,
                one.min_key,
                one.max_key,
                one.uses.join(", ")
            )?;
        }
        Ok(())
    }
}

impl Behaviour {
    fn write(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if *self == Self::default() {
            return Ok(());
        }
        writeln!(f, "\nBehaviour")?;
        if let (Some(asked), Some(given)) = (self.sessions_asked, self.sessions_given) {
            writeln!(f, "  sessions           {given} of {asked} given")?;
        }
        if let Some(parallel) = self.parallel {
            writeln!(f, "  two at once        {}", if parallel { "independent" } else { "NOT independent" })?;
        }
        for (what, said) in [
            ("second C_SignInit", &self.second_init),
            ("first operation", &self.first_operation),
            ("after C_Logout", &self.after_logout),
            ("after next C_Login", &self.after_login),
            ("a key on the token", &self.token_key_after_login),
        ] {
            if let Some(said) = said {
                writeln!(f, "  {what:18} {said}")?;
            }
        }
        Ok(())
    }
}
