//! Why a packet would pass or not, judged by the same source as the kernel's.
