//! The checkers on histories that are known, made at random, and made by a simulated cache with and without faults.

mod agreement;
mod asynchronous;
mod brute_force;
mod known;
mod made;
mod simulated;
mod size;
