//! Variables that other systems trained.
