//! Packages that call themselves, through others or at once.

use super::{Check, State, cycles_from};
use crate::proto::{BackboneTower, Block, input};

/// Reports each circle of calls once, at the package of it that comes first in the config.
pub(super) fn check(check: &mut Check<'_>, backbone: &BackboneTower) {
    let packages = &backbone.packages;
    let number = |name: &str| packages.iter().position(|package| package.name() == name);
    let calls: Vec<Vec<usize>> =
        packages.iter().map(|package| package.blocks.iter().flat_map(called).filter_map(number).collect()).collect();
    let mut state = vec![State::New; packages.len()];
    for start in 0..packages.len() {
        for circle in cycles_from(start, &calls, &mut state) {
            let first = circle.iter().copied().min().unwrap_or(start);
            let turn = circle.iter().position(|&at| at == first).unwrap_or(0);
            let around: Vec<&str> = circle[turn..].iter().chain(&circle[..=turn]).map(|&at| packages[at].name()).collect();
            let message = format!("packages call each other without end: {}", around.join(" calls "));
            check.error(&format!("model_config.backbone.packages[{first}].name"), message, "remove one of these calls");
        }
    }
}

/// The names that may be packages, of all inputs of a block.
fn called(block: &Block) -> impl Iterator<Item = &str> {
    block.inputs.iter().flat_map(|input| {
        let named = match &input.name {
            Some(input::Name::PackageName(name)) => Some(name.as_str()),
            _ => None,
        };
        named.into_iter().chain(input.package_input.as_deref().filter(|_| named.is_some()))
    })
}
