//! The examples of all model classes: they learn, their gradients are right, those that can be written on a
//! backbone are equal there, and both sides of each fix.

mod as_backbone;
mod common;
mod examples;
mod fixes;
mod gradients;
