//! Calls to the kernel that the standard library does not have: signals that are waited for,
//! children of others, and the foreground of a terminal.
//!
//! The numbers are those of Linux on x86-64, ARM and RISC-V.

#![allow(unsafe_code, reason = "the standard library has none of these calls")]

use std::ffi::c_int;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitStatus};

/// The signal of a child that ended.
pub(crate) const SIGCHLD: c_int = 17;
const SIG_SETMASK: c_int = 2;
const WNOHANG: c_int = 1;
const STDIN: c_int = 0;

/// Set of signals, as large as that of glibc and musl.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct SignalSet([u64; 16]);

unsafe extern "C" {
    fn sigfillset(set: *mut SignalSet) -> c_int;
    fn sigprocmask(how: c_int, set: *const SignalSet, old: *mut SignalSet) -> c_int;
    fn sigwait(set: *const SignalSet, signal: *mut c_int) -> c_int;
    fn waitpid(pid: c_int, status: *mut c_int, options: c_int) -> c_int;
    fn kill(pid: c_int, signal: c_int) -> c_int;
    fn tcsetpgrp(file: c_int, group: c_int) -> c_int;
    fn getpid() -> c_int;
}

/// Holds all signals back; those that were held back before.
pub(crate) fn hold_signals() -> io::Result<SignalSet> {
    let (mut all, mut before) = (SignalSet([0; 16]), SignalSet([0; 16]));
    // SAFETY: it writes the set that it is given.
    unsafe { sigfillset(&raw mut all) };
    // SAFETY: both sets live longer than the call.
    match unsafe { sigprocmask(SIG_SETMASK, &raw const all, &raw mut before) } {
        0 => Ok(before),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Waits for the next signal.
pub(crate) fn next_signal() -> io::Result<c_int> {
    let (mut all, mut signal) = (SignalSet([0; 16]), 0);
    // SAFETY: it writes the set that it is given.
    unsafe { sigfillset(&raw mut all) };
    // SAFETY: both live longer than the call.
    match unsafe { sigwait(&raw const all, &raw mut signal) } {
        0 => Ok(signal),
        error => Err(io::Error::from_raw_os_error(error)),
    }
}

/// Lets a child begin in a group of its own, which has the terminal if there is one, and with the
/// signals that are given held back.
pub(crate) fn begin_apart(command: &mut Command, held: SignalSet) {
    command.process_group(0);
    let apart = move || {
        // SAFETY: it takes numbers. Where stdin is no terminal, nothing comes of it. The signal of
        // a group in the background is still held back.
        unsafe { tcsetpgrp(STDIN, getpid()) };
        // SAFETY: the set lives longer than the call, and nothing is written.
        match unsafe { sigprocmask(SIG_SETMASK, &raw const held, std::ptr::null_mut()) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    };
    // SAFETY: between fork and exec it makes system calls alone, and takes no memory.
    unsafe { command.pre_exec(apart) };
}

/// Takes the end of one child, whosever it was; none if none has ended.
pub(crate) fn ended_child() -> Option<(c_int, ExitStatus)> {
    use std::os::unix::process::ExitStatusExt;
    let mut status = 0;
    // SAFETY: it writes the number that it is given.
    let child = unsafe { waitpid(-1, &raw mut status, WNOHANG) };
    (child > 0).then(|| (child, ExitStatus::from_raw(status)))
}

/// Sends a signal. A program that has ended gets none.
pub(crate) fn send(program: c_int, signal: c_int) {
    // SAFETY: it takes numbers.
    unsafe { kill(program, signal) };
}
