//! The names of logs.

use std::{fmt, str::FromStr};

use uuid::Uuid;

use super::CheckpointError;
use crate::key::check_name;

/// The name of a log: `<host>/tenant/<tenant id>` for what happened to a tenant, `<host>/platform` for the log of all tenants' checkpoints.
///
/// Others' logs may be called anything that could also be the name of a key: 1 to 256 bytes without white space and `+`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Origin(String);

impl Origin {
    /// The log of a tenant on the platform `host`, such as `hub.example.com`.
    ///
    /// # Errors
    /// When the host cannot be part of a name.
    pub fn tenant(host: &str, tenant_id: Uuid) -> Result<Self, CheckpointError> {
        Self::of_host(host, format_args!("tenant/{}", tenant_id.hyphenated()))
    }

    /// The log that has a leaf for each checkpoint of each tenant.
    ///
    /// # Errors
    /// When the host cannot be part of a name.
    pub fn platform(host: &str) -> Result<Self, CheckpointError> {
        Self::of_host(host, format_args!("platform"))
    }

    fn of_host(host: &str, log: fmt::Arguments<'_>) -> Result<Self, CheckpointError> {
        if host.is_empty() || host.contains('/') {
            return Err(CheckpointError::Format);
        }
        format!("{host}/{log}").parse()
    }

    /// The tenant, if this is the log of one.
    #[must_use]
    pub fn tenant_id(&self) -> Option<Uuid> {
        let (_, id) = self.0.split_once("/tenant/")?;
        id.parse().ok().filter(|tenant_id: &Uuid| tenant_id.to_string() == id)
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl FromStr for Origin {
    type Err = CheckpointError;

    fn from_str(text: &str) -> Result<Self, CheckpointError> {
        check_name(text).map_err(|_| CheckpointError::Format)?;
        Ok(Self(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::Origin;

    #[test]
    fn a_log_is_named_after_its_host_and_tenant() {
        let tenant_id = Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0001);
        let origin = Origin::tenant("hub.example.com", tenant_id).unwrap();
        assert_eq!(origin.as_str(), "hub.example.com/tenant/01900000-0000-7000-8000-000000000001");
        assert_eq!(origin.tenant_id(), Some(tenant_id));
        let platform = Origin::platform("hub.example.com:8443").unwrap();
        assert_eq!(platform.as_str(), "hub.example.com:8443/platform");
        assert_eq!(platform.tenant_id(), None);
    }

    #[test]
    fn only_the_usual_spelling_of_a_tenant_names_it() {
        for id in ["01900000000070008000000000000001", "01900000-0000-7000-8000-00000000000A", "", "x", "1/2"] {
            assert_eq!(format!("a/tenant/{id}").parse::<Origin>().unwrap().tenant_id(), None, "{id}");
        }
    }

    #[test]
    fn what_would_break_a_line_is_no_name() {
        for host in ["", "a b", "a/b", "a+b", "a\nb", "a\t", &"a".repeat(256)] {
            assert!(Origin::platform(host).is_err(), "{host:?}");
        }
        for origin in ["", "a b", "a\n", "a+b"] {
            assert!(origin.parse::<Origin>().is_err(), "{origin:?}");
        }
    }
}
