//! The whole log on simulated disks.

mod basics;
mod crash;
mod damage;
mod faults;
mod golden;
mod mapped;
mod noted;
mod retention;
mod rig;
mod salvage;
mod schedules;
mod threads;
mod windows;
