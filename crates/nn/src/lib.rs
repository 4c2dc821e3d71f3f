//! What models are made of: layers that compose graph operations, initializers, optimizers and learning-rate schedules.

pub mod init;
pub mod layers;
pub mod optim;
pub mod random;
pub mod schedule;
