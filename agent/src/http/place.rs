//! Where the API may listen: on the box itself, or at an address that the box has on the way by which its administrator comes.

use std::net::IpAddr;

use crate::{
    agent::config::Config,
    dataplane::{ManagementPath, system},
};

/// Why the API may not listen at the configured address now, if it may not.
pub(super) fn refused(config: &Config, address: IpAddr) -> Option<String> {
    if address.is_loopback() {
        return None;
    }
    let named: Vec<&str> = names(&config.management);
    if named.is_empty() {
        return Some(format!("{address} is not loopback, and no `management` path is configured"));
    }
    let devices = match tokio::task::block_in_place(|| system::holders(address)) {
        Ok(devices) => devices,
        Err(error) => return Some(format!("which interface has {address} cannot be seen: {error}")),
    };
    if devices.is_empty() {
        return Some(format!("the box does not have the address {address} now"));
    }
    let fits = devices.iter().any(|device| named.contains(&device.as_str()));
    (!fits).then(|| {
        format!(
            "{address} is on {}, and the `management` paths are on {}: name an address that the box has there",
            devices.join(", "),
            named.join(", ")
        )
    })
}

fn names(paths: &[ManagementPath]) -> Vec<&str> {
    paths.iter().map(|path| path.interface.as_str()).collect()
}
