/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/*
 * Where a process came from, as the hooks remember it with the process itself and as both they
 * and the iterator tell it.
 */
#pragma once

#include "kernel.h"

/* What is remembered of a process, with each of its threads; the leader's is the one that counts.
 * A thread other than the leader may become the leader, by an exec. */
struct origin {
	struct record_key forker;
	struct record_key exec;
	u64 exec_time;
	u64 reported; /* CPU time of its threads that exit records have told */
	u32 is_auto_reaped;
	u32 misses_delays; /* not all waits of a thread that ended were counted */
	u32 was_alone; /* at its end it had a single thread, and never had another */
};

struct {
	MAP_NUMBER(type, BPF_MAP_TYPE_TASK_STORAGE);
	MAP_NUMBER(map_flags, BPF_F_NO_PREALLOC);
	MAP_TYPE(key, int);
	MAP_TYPE(value, struct origin);
} origins SECTION(".maps");
