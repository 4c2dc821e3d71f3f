//! EasyRec pipeline configs.

pub mod proto;
