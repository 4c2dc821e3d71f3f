//! The comparison of training runs with traces of EasyRec, in parts: what a case is, how far numbers may be apart and by which rule, what is
//! compared step by step, and where rounding decides.

pub(crate) mod compare;
mod evaluation;
pub(crate) mod kinks;
pub(crate) mod spread;
pub(crate) mod trace;
pub(crate) mod verdict;
