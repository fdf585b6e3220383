//! Policy to tables: `registry` keeps numbers stable, `prefixes`, `services`, `nets` and `rules` fill one table
//! each, `sets` stores every combination of rules once, `space` lays prefixes out for the data plane, `schedule` lays hours on the data plane's clock, and
//! `host` lets the decision run on the result outside the kernel.

mod claims;
mod classes;
pub mod detection;
pub mod error;
pub mod host;
mod limit_room;
pub mod members;
mod nets;
pub mod prefixes;
pub mod registry;
mod room;
mod rules;
pub mod schedule;
pub mod services;
pub mod sets;
pub mod space;
pub mod tables;

#[cfg(test)]
mod conversation_tests;
#[cfg(test)]
mod limit_tests;
#[cfg(test)]
mod member_tests;
#[cfg(test)]
mod scale_tests;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, sync::Arc};

use sekimori_ebpf::abi::{
    BUILTIN_ARP, BUILTIN_ICMP_ERRORS, BUILTIN_LACP_SHIFT, BUILTIN_LLDP_SHIFT, BUILTIN_MLD, BUILTIN_NDP, BUILTIN_RESETS,
    BUILTIN_STP_SHIFT, BUILTIN_VRRP, GenConfig, L2_DROP, L2_FORWARD, L2_LOCAL, MAX_RULES,
};

use self::{
    error::{CompileError, Table, named},
    registry::{Kind, Registry},
    rules::Plans,
    sets::Sets,
    tables::Compiled,
};
use crate::policy::model::{Builtin, Device, L2Control, Net, Policy};

/// Turns a policy into the tables of one generation.
///
/// The registry gives names the numbers they had before and is changed only on success.
///
/// # Errors
/// The policy needs more than the data plane's tables hold; the error names what went past the limit.
pub fn compile(policy: &Policy, registry: &mut Registry) -> Result<Compiled, CompileError> {
    if let Some(rule) = policy.rules.get(MAX_RULES) {
        return Err(CompileError::Rules { count: policy.rules.len(), rule: rule.id.clone() });
    }
    let mut numbers = registry.clone();
    numbers.begin();
    let net_ids = narrow(numbers.assign(Kind::Net, policy.nets.iter().map(|net| net.name.as_str()))?);
    let slots = numbers.assign(Kind::Rule, policy.rules.iter().map(|rule| rule.id.as_str()))?;
    let device_ids = numbers.assign(Kind::Device, policy.devices.iter().map(|device| device.name.as_str()))?;
    let mut names: Vec<&str> =
        policy.nets.iter().flat_map(|net| &net.ports).map(|port| port.interface.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    let iface_ids = narrow(numbers.assign(Kind::Interface, names.iter().copied())?);
    let by_name: BTreeMap<&str, u16> = names.iter().copied().zip(iface_ids.iter().copied()).collect();

    fits(policy)?;

    let mut sets = Sets::new();
    let mut plans = Plans::new();
    let nets = nets::table(policy, &net_ids, &mut sets)?;
    let addrs = prefixes::table(policy, &net_ids, &nets, &mut sets)?;
    let (devices, device_names) = nets::devices(policy, &net_ids, &device_ids, &mut plans, &mut sets)?;
    let services = services::table(policy, &mut sets)?;
    let rules = rules::entries(policy, &slots, &net_ids, &mut plans)?;
    let watching = detection::table(policy, &net_ids)?;
    *registry = numbers;
    Ok(Compiled {
        hash: policy.hash,
        config: GenConfig {
            generation: 0,
            builtin: builtin(&policy.builtin),
            rules: policy.rules.len() as u32,
            pad: 0,
        },
        interfaces: by_name.iter().map(|(name, &id)| ((*name).to_owned(), id)).collect(),
        ports: nets::ports(policy, &net_ids, &by_name),
        nets,
        net_names: policy.nets.iter().zip(&net_ids).map(|(net, &id)| (net.name.clone(), id)).collect(),
        addrs,
        laid_out: Arc::default(),
        macs: nets::macs(policy, &net_ids, &device_ids),
        bindings: nets::bindings(policy, &device_ids),
        devices,
        device_names,
        services,
        sets: sets.into_list(),
        rules,
        limits: rules::limits(policy),
        rule_ids: policy.rules.iter().map(|rule| rule.id.clone()).collect(),
        schedules: plans.into_list(),
        watching,
    })
}

/// Refuses what would overflow a table without a set or a stable number being asked for.
fn fits(policy: &Policy) -> Result<(), CompileError> {
    let net = |net: &Net| named(Kind::Net, &net.name);
    let device = |device: &Device| named(Kind::Device, &device.name);
    let ports = || policy.nets.iter().flat_map(|n| n.ports.iter().map(move |_| net(n)));
    let routers = || policy.nets.iter().flat_map(|n| n.routers.iter().map(move |_| net(n)));
    let macs = || policy.devices.iter().map(device).chain(routers());
    let addresses = || policy.devices.iter().flat_map(|d| d.addresses.iter().map(move |_| device(d)));
    let count = |of: &dyn Fn(&Net) -> usize| policy.nets.iter().map(of).sum::<usize>();
    Table::Ports.check(count(&|net| net.ports.len()), |at| ports().nth(at))?;
    Table::Macs.check(policy.devices.len() + count(&|net| net.routers.len()), |at| macs().nth(at))?;
    Table::Bindings.check(policy.devices.iter().map(|device| device.addresses.len()).sum(), |at| addresses().nth(at))
}

/// Net and interface numbers fit 16 bits by their kinds' ranges.
fn narrow(ids: Vec<u32>) -> Vec<u16> {
    ids.into_iter().map(|id| id as u16).collect()
}

fn builtin(builtin: &Builtin) -> u32 {
    let set = |on: bool, flag: u32| if on { flag } else { 0 };
    let control = |control: L2Control| match control {
        L2Control::Drop => L2_DROP,
        L2Control::Local => L2_LOCAL,
        L2Control::Forward => L2_FORWARD,
    };
    set(builtin.arp, BUILTIN_ARP)
        | set(builtin.ndp, BUILTIN_NDP)
        | set(builtin.mld, BUILTIN_MLD)
        | set(builtin.icmp_errors, BUILTIN_ICMP_ERRORS)
        | set(builtin.resets, BUILTIN_RESETS)
        | set(builtin.vrrp, BUILTIN_VRRP)
        | control(builtin.stp) << BUILTIN_STP_SHIFT
        | control(builtin.lacp) << BUILTIN_LACP_SHIFT
        | control(builtin.lldp) << BUILTIN_LLDP_SHIFT
}
