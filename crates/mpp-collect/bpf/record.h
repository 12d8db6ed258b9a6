/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * What the BPF programs hand to user space, byte by byte.
 *
 * The reader is `mpp-parse/src/bpf_record.rs`, which repeats these layouts: whoever changes one
 * changes the other, and raises RECORD_VERSION. Every record begins with its length, so that
 * records can follow one another. All times are nanoseconds, those of days since boot with
 * suspended time (CLOCK_BOOTTIME); memory is in pages. Process and thread IDs are those of the
 * initial PID namespace.
 */
#pragma once

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef int s32;
typedef long long s64;

#define RECORD_VERSION 5

enum record_kind {
	RECORD_TASK = 1,
	RECORD_EXIT = 2,
	RECORD_FREE = 3,
	RECORD_EXEC = 4,
	RECORD_STILL = 5,
	RECORD_BIRTH = 6,
};

#define COMM_BYTES 16
#define FILENAME_BYTES 256
#define CMDLINE_BYTES 4096
#define ENVIRONMENT_BYTES 16384

struct record_header {
	u16 kind;
	u16 version;
	u32 size; /* of the whole record, this header included */
};

/* A process for as long as the machine runs. */
struct record_key {
	u32 tgid;
	u32 zero;
	u64 start;
};

/* One thread's or one pool's I/O, `struct task_io_accounting`. */
struct record_io {
	u64 rchar;
	u64 wchar;
	u64 syscr;
	u64 syscw;
	u64 read_bytes;
	u64 write_bytes;
	u64 cancelled_write_bytes;
};

/* What one thread itself used. */
struct record_usage {
	u64 utime;
	u64 stime;
	u64 runtime; /* sum_exec_runtime: exact, the two above may be ticks */
	u64 nvcsw;
	u64 nivcsw;
	u64 min_flt;
	u64 maj_flt;
};

/* For how long something waited, nanoseconds. */
struct record_delays {
	u64 cpu; /* ready to run, for a CPU */
	u64 block_io;
	u64 swap; /* for pages to be swapped in */
	u64 reclaim; /* for memory to be freed */
};

#define DELAYS_CPU 1 /* the first is counted by this kernel */
#define DELAYS_OTHERS 2 /* the others can be counted by this kernel */
#define DELAYS_MISSED 4 /* but were not, of some thread that began while that was switched off */
#define DELAYS_OF_ENDED 8 /* threads have ended */

/* What a process keeps of its threads that were released, and (c...) of children it reaped. */
struct record_pool {
	struct record_io io; /* both together */
	u64 utime;
	u64 stime;
	u64 runtime;
	u64 cutime;
	u64 cstime;
	u64 min_flt;
	u64 maj_flt;
	u64 cmin_flt;
	u64 cmaj_flt;
	u64 nvcsw;
	u64 nivcsw;
	u64 cnvcsw;
	u64 cnivcsw;
};

#define TASK_HAS_PROCESS 1 /* it is the leader of its thread group: record_process follows */
#define TASK_HAS_MEMORY 2 /* record_memory follows */
#define TASK_FDS_CUT 4 /* there are more descriptors than were counted */
#define TASK_FDS_UNKNOWN 8 /* it has let go of its descriptors */
#define TASK_HAS_DELAYS 16 /* record_task_delays follows, last */
#define TASK_FORKER_KEPT 32 /* who forked it is who it was in the reading before */

struct record_task {
	struct record_header header;
	u32 tid;
	u32 tgid;
	u64 start;
	u32 flags; /* PF_* */
	u32 exit_state; /* 0 while it lives */
	u32 state; /* TASK_* */
	u32 parts; /* TASK_* above */
	struct record_io io;
	struct record_usage usage;
};

struct record_process {
	struct record_key parent;
	struct record_key forker; /* tgid 0: it began before we watched */
	u64 self_exec_id;
	u8 comm[COMM_BYTES];
	u32 euid;
	u32 nr_threads;
	u64 cgroup_id;
	u64 fd_limit;
	struct record_pool pool;
};

struct record_memory {
	u64 file_pages;
	u64 anon_pages;
	u64 shmem_pages;
	u64 swap_entries;
	u64 total_pages;
	u64 data_pages; /* data and stack, as statm adds them */
	u64 start_code; /* an address */
	u64 end_code;
	u32 fds;
	u32 zero;
};

/* What somebody asked for. */
struct record_task_delays {
	struct record_delays own;
	/* Of the process's threads that have ended, with the leader; 0 with the others. */
	struct record_delays of_ended;
	u32 marks; /* DELAYS_* */
	u32 zero;
};

/* A process of which no thread has run since it was told in the reading before, whose threads are
 * not told either. It has the parent and the control groups that it had; what else others may have
 * changed of it was the same when it was its turn to be looked at, within the last sixteen readings. */
struct record_still {
	struct record_header header;
	u32 tgid;
	u32 zero;
	u64 start;
};

/* A process that was forked, told only where its ancestors are watched from their begin. */
struct record_birth {
	struct record_header header;
	struct record_key key;
	struct record_key exec; /* whose exec gave it its program */
	u64 exec_time; /* 0: before we watched */
};

#define EXIT_GROUP_DEAD 1 /* the process's last thread: record_group follows */
#define EXIT_AUTO_REAPED 2 /* nobody will wait for the process */
#define EXIT_ORIGIN_UNKNOWN 4 /* who forked it, and whose exec it runs, could not be kept */

struct record_exit {
	struct record_header header;
	u32 tid;
	u32 tgid;
	u64 start;
	u64 leader_start;
	struct record_key parent;
	struct record_key forker; /* tgid 0: it began before we watched */
	struct record_key exec; /* whose exec gave it its identity: itself, or an ancestor */
	u64 exec_time; /* 0: before we watched */
	u8 comm[COMM_BYTES]; /* the leader's */
	u64 end;
	u64 self_exec_id; /* this thread's: how many programs were executed, from where it came on */
	u32 euid;
	s32 exit_code; /* this thread's, as wait(2) has it */
	u32 marks; /* EXIT_* above */
	u32 delay_marks; /* DELAYS_* */
	struct record_io io;
	struct record_usage usage;
	struct record_delays delays; /* of all the process's threads that have ended, with this one */
};

struct record_group {
	struct record_pool pool;
	u64 maxrss_pages;
	s32 status; /* the process's, as wait(2) has it */
	u32 zero;
};

/* The last CPU time of an auto-reaped process, which goes on for a little after its exit. */
struct record_free {
	struct record_header header;
	struct record_key key;
	u64 runtime; /* of the whole process, final */
	u64 utime;
	u64 stime;
	u64 tail; /* what of the runtime is in no exit record */
};

#define EXEC_CMDLINE_ASKED 1
#define EXEC_CMDLINE_CUT 2
#define EXEC_CMDLINE_UNREADABLE 4
#define EXEC_ENVIRONMENT_ASKED 8
#define EXEC_ENVIRONMENT_CUT 16
#define EXEC_ENVIRONMENT_UNREADABLE 32

/* Followed by file name, command line and environment, without anything between them. */
struct record_exec {
	struct record_header header;
	struct record_key key;
	struct record_key parent;
	u64 time;
	u64 self_exec_id;
	u8 comm[COMM_BYTES];
	u32 euid;
	u32 marks; /* EXEC_* above */
	u32 filename_bytes; /* without its NUL */
	u32 cmdline_bytes;
	u32 environment_bytes;
	u32 zero;
};

/* Below: what user space reads from maps. `mpp-collect/src/bpf/hooks.rs` repeats it. */

/* The own counters of a parent's children whose exit records found no room. */
struct spill {
	u64 count;
	struct record_io io;
	struct record_usage usage;
};

/* Since the programs were loaded. */
struct losses {
	u64 spilled; /* exits whose record found no room, but whose counters are in a spill */
	u64 dropped; /* exits of which nothing is left */
	u64 tails_dropped;
	u64 execs_dropped; /* and births */
};

#define SETTING_CMDLINE 1
#define SETTING_ENVIRONMENT 2
#define SETTING_SPILL_ODD 4 /* which of the two maps of spills is filled */
#define SETTING_DELAYS 8

_Static_assert(sizeof(struct record_task) == 152, "as in bpf_record.rs");
_Static_assert(sizeof(struct record_process) == 240, "as in bpf_record.rs");
_Static_assert(sizeof(struct record_memory) == 72, "as in bpf_record.rs");
_Static_assert(sizeof(struct record_task_delays) == 72, "as in bpf_record.rs");
_Static_assert(sizeof(struct record_still) == 24, "as in bpf_record.rs");
_Static_assert(sizeof(struct record_birth) == 48, "as in bpf_record.rs");
_Static_assert(sizeof(struct record_exit) == 280, "as in bpf_record.rs");
_Static_assert(sizeof(struct record_group) == 176, "as in bpf_record.rs");
_Static_assert(sizeof(struct record_free) == 56, "as in bpf_record.rs");
_Static_assert(sizeof(struct record_exec) == 96, "as in bpf_record.rs");
_Static_assert(sizeof(struct spill) == 120, "as in hooks.rs");
