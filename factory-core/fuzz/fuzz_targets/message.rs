//! Messages from bytes.

#![no_main]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use factory_core::protocol::Message;

/// Counts the bytes that are allocated.
struct Counting;

static LIVE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        PEAK.fetch_max(LIVE.fetch_add(layout.size(), Relaxed) + layout.size(), Relaxed);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Relaxed);
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// What decoding may allocate whatever the input: lists are given room for what they claim to hold, up to a limit.
const FIXED: usize = 8 << 20;
/// What decoding may allocate for each byte.
const PER_BYTE: usize = 100;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let before = LIVE.load(Relaxed);
    PEAK.store(before, Relaxed);
    let decoded = Message::decode(data);
    let allocated = PEAK.load(Relaxed) - before;
    assert!(allocated <= FIXED + PER_BYTE * data.len(), "{allocated} bytes for an input of {}", data.len());
    if let Ok(message) = decoded {
        factory_core_fuzz::survives_encoding(&message);
    }
});
