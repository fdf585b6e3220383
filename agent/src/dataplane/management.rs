//! Writing the ways by which the administrator reaches the box.

use sekimori_ebpf::abi::{MAX_MANAGEMENT, ManagementEntry};

use super::{
    error::{Error, While},
    maps::Maps,
};

/// Replaces the management paths.
pub(super) fn write(maps: &mut Maps, paths: &[ManagementEntry]) -> Result<(), Error> {
    if paths.len() > MAX_MANAGEMENT {
        return Err(Error::new(
            "write the management paths",
            format!("{} source prefixes, at most {MAX_MANAGEMENT} fit: list fewer", paths.len()),
        ));
    }
    let unused = ManagementEntry::default();
    for (index, entry) in (0u32..).zip(paths.iter().chain(std::iter::repeat(&unused)).take(MAX_MANAGEMENT)) {
        maps.management.set(index, *entry, 0).doing("write the management paths")?;
    }
    Ok(())
}
