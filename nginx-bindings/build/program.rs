// The part of the checking program that does not depend on the list. `check.rs` writes the rest of it.

use std::ffi::{CStr, c_char, c_void};

fn main() -> std::process::ExitCode {
    let mut check = Check { at: 0, differences: 0 };
    compare(&mut check);
    if check.at == C_NUMBERS && check.differences == 0 {
        return std::process::ExitCode::SUCCESS;
    }
    std::process::ExitCode::FAILURE
}

struct Check {
    /// The index of the next number in `c_numbers`.
    at: usize,
    differences: usize,
}

impl Check {
    fn number(&mut self, what: &str, rust: i64) {
        // SAFETY: `c_numbers` has C_NUMBERS elements, written by the same loop that writes the calls of this
        // function.
        let c = unsafe { c_numbers[self.at] };
        self.at += 1;
        if rust != c {
            self.differ(&format!("{what}: {rust} in Rust, {c} in C"));
        }
    }

    fn field<T, F>(&mut self, what: &str, offset: usize, _field: impl Fn(*const T) -> *const F) {
        self.number(&format!("offset of {what}"), offset as i64);
        self.number(&format!("size of {what}"), size_of::<F>() as i64);
    }

    fn string(&mut self, what: &str, rust: &CStr, c: *const c_char) {
        // SAFETY: the C side's strings are literals, which end with NUL.
        let c = unsafe { CStr::from_ptr(c) };
        if rust != c {
            self.differ(&format!("{what}: {rust:?} in Rust, {c:?} in C"));
        }
    }

    /// Sets the field on each side, over zeros and over ones. The other side must read the same value, and all bytes
    /// of the structure must be equal.
    fn bits<T>(
        &mut self,
        what: &str,
        get: impl Fn(&T) -> u64,
        set: impl Fn(&mut T, u64),
        c_get: unsafe extern "C" fn(*const c_void) -> u64,
        c_set: unsafe extern "C" fn(*mut c_void, u64),
    ) {
        for background in [0, 0xff] {
            for value in [0, 1, 0x5555_5555_5555_5555, 0xaaaa_aaaa_aaaa_aaaa, u64::MAX] {
                let (mut rust, mut c) = (Bytes::<T>::new(background), Bytes::<T>::new(background));
                // SAFETY: only integers are read from the two structures and written to them, through their own bits;
                // no reference to any other part of them is used.
                let same = unsafe {
                    set(&mut *rust.value.as_mut_ptr(), value);
                    c_set(c.value.as_mut_ptr().cast(), value);
                    rust.bytes() == c.bytes()
                        && get(&*c.value.as_ptr()) == c_get(c.value.as_ptr().cast())
                        && get(&*rust.value.as_ptr()) == c_get(rust.value.as_ptr().cast())
                };
                if !same {
                    self.differ(&format!("{what}: the bits of this field"));
                    return;
                }
            }
        }
    }

    fn differ(&mut self, what: &str) {
        self.differences += 1;
        println!("  {what}");
    }
}

struct Bytes<T> {
    value: std::mem::MaybeUninit<T>,
}

impl<T> Bytes<T> {
    fn new(background: u8) -> Self {
        let mut value = std::mem::MaybeUninit::uninit();
        // SAFETY: exactly the bytes of the value are written.
        unsafe { std::ptr::write_bytes(value.as_mut_ptr(), background, 1) };
        Self { value }
    }

    fn bytes(&self) -> &[u8] {
        // SAFETY: `new` has written all bytes of the value.
        unsafe { std::slice::from_raw_parts(self.value.as_ptr().cast(), size_of::<T>()) }
    }
}
