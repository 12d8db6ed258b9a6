/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The few fields of the kernel's own structures that the programs read, and the helper functions
 * that they call, by their numbers in bpf-helpers(7).
 *
 * Only names and types matter here: where a field lies is found out by the kernel when the
 * programs are loaded (CO-RE). What is not in every kernel since 5.17 bears a flavour, three
 * underscores, and is looked at only where it exists. No system header is included, so that the
 * compiled bytes are the same everywhere.
 */
#pragma once

#include "record.h"

#define NULL ((void *)0)
#define SECTION(name) __attribute__((section(name), used))
#define ALWAYS_INLINE static inline __attribute__((always_inline))

/* What was stored is to be read again. */
#define FORGET_MEMORY() asm volatile("" ::: "memory")

/* How a map is described to the loader: numbers as the lengths of arrays. */
#define MAP_NUMBER(name, value) int (*name)[value]
#define MAP_TYPE(name, value) value *name

#define BPF_MAP_TYPE_HASH 1
#define BPF_MAP_TYPE_ARRAY 2
#define BPF_MAP_TYPE_PERCPU_ARRAY 6
#define BPF_MAP_TYPE_RINGBUF 27
#define BPF_MAP_TYPE_TASK_STORAGE 29
#define BPF_F_NO_PREALLOC 1
#define BPF_NOEXIST 1
#define BPF_LOCAL_STORAGE_GET_F_CREATE 1
#define BPF_RB_NO_WAKEUP 1
#define BPF_RB_FORCE_WAKEUP 2
#define BPF_RB_AVAIL_DATA 0
#define BPF_RB_RING_SIZE 1

#define PF_EXITING 0x00000004
#define PF_KTHREAD 0x00200000
#define SIGCHLD 17
#define SIG_IGN 1
#define SA_NOCLDWAIT 2
#define SIGNAL_GROUP_EXIT 4
#define RLIMIT_NOFILE 7

enum { MM_FILEPAGES, MM_ANONPAGES, MM_SWAPENTS, MM_SHMEMPAGES, NR_MM_COUNTERS };

#define FIELD_EXISTS(field) __builtin_preserve_field_info(field, 2)
#define FIELD_OFFSET(field) __builtin_preserve_field_info(field, 0)
#define TYPE_EXISTS(type) __builtin_preserve_type_info(*(type *)0, 0)
#define TYPE_NUMBER(type) __builtin_btf_type_id(*(type *)0, 1)

/* Where this kernel takes no casts, pointers are followed as they are. */
const volatile u32 with_casts = 1;

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct task_io_accounting {
	u64 rchar;
	u64 wchar;
	u64 syscr;
	u64 syscw;
	u64 read_bytes;
	u64 write_bytes;
	u64 cancelled_write_bytes;
};

struct list_head {
	struct list_head *next;
	struct list_head *prev;
};

struct sched_entity {
	u64 sum_exec_runtime;
};

typedef struct {
	u32 val;
} kuid_t;

struct cred {
	kuid_t euid;
};

struct kernfs_node {
	u64 id;
};

struct cgroup {
	struct kernfs_node *kn;
};

struct css_set {
	struct cgroup *dfl_cgrp;
};

struct rlimit {
	unsigned long rlim_cur;
};

typedef struct {
	int counter;
} atomic_t;

typedef struct {
	long counter;
} atomic_long_t;

struct signal_struct {
	atomic_t live;
	int nr_threads;
	struct list_head thread_head;
	int group_exit_code;
	unsigned int flags;
	u64 utime;
	u64 stime;
	u64 cutime;
	u64 cstime;
	unsigned long nvcsw;
	unsigned long nivcsw;
	unsigned long cnvcsw;
	unsigned long cnivcsw;
	unsigned long min_flt;
	unsigned long maj_flt;
	unsigned long cmin_flt;
	unsigned long cmaj_flt;
	unsigned long maxrss;
	struct task_io_accounting ioac;
	unsigned long long sum_sched_runtime;
	struct rlimit rlim[16];
};

struct sigaction {
	void *sa_handler;
	unsigned long sa_flags;
};

struct k_sigaction {
	struct sigaction sa;
};

struct sighand_struct {
	struct k_sigaction action[64];
};

struct fdtable {
	unsigned int max_fds;
	unsigned long *open_fds;
};

struct files_struct {
	struct fdtable *fdt;
};

struct percpu_counter {
	s64 count;
	s32 *counters;
};

struct mm_struct {
	unsigned long total_vm;
	unsigned long data_vm;
	unsigned long stack_vm;
	unsigned long start_code;
	unsigned long end_code;
	unsigned long arg_start;
	unsigned long arg_end;
	unsigned long env_start;
	unsigned long env_end;
	struct percpu_counter rss_stat[NR_MM_COUNTERS];
};

/* Before Linux 6.2. */
struct mm_rss_stat {
	atomic_long_t count[NR_MM_COUNTERS];
};

struct mm_struct___atomic {
	struct mm_rss_stat rss_stat;
};

struct task_struct {
	unsigned int __state;
	unsigned int flags;
	unsigned int ptrace;
	struct sched_entity se;
	struct mm_struct *mm;
	int exit_state;
	int exit_code;
	int exit_signal;
	int pid;
	int tgid;
	struct task_struct *real_parent;
	struct task_struct *group_leader;
	struct list_head thread_node;
	u64 utime;
	u64 stime;
	unsigned long nvcsw;
	unsigned long nivcsw;
	u64 start_boottime;
	unsigned long min_flt;
	unsigned long maj_flt;
	const struct cred *real_cred;
	char comm[COMM_BYTES];
	struct files_struct *files;
	struct signal_struct *signal;
	struct sighand_struct *sighand;
	u64 parent_exec_id;
	u64 self_exec_id;
	struct task_io_accounting ioac;
	struct css_set *cgroups;
};

struct sched_info {
	unsigned long long run_delay;
};

struct task_delay_info {
	u64 blkio_delay;
	u64 swapin_delay;
	u64 freepages_delay;
};

struct taskstats {
	u64 cpu_delay_total;
	u64 blkio_delay_total;
	u64 swapin_delay_total;
	u64 freepages_delay_total;
};

/* With CONFIG_SMP. */
struct task_struct___cpus {
	int on_cpu;
};

/* With CONFIG_SCHED_INFO. */
struct task_struct___queues {
	struct sched_info sched_info;
};

/* With CONFIG_TASK_DELAY_ACCT. */
struct task_struct___waits {
	struct task_delay_info *delays; /* NULL: it began while that was switched off */
};

/* With CONFIG_TASKSTATS. */
struct signal_struct___ends {
	struct taskstats *stats; /* NULL: no thread has ended before the last one */
};

/* A map with an element for each CPU. */
struct bpf_array {
	void *pptrs[0];
};

struct linux_binprm {
	const char *filename;
};

/* Since Linux 6.16 the tracepoint says itself whether the process is dead. */
struct trace_event_raw_sched_process_exit___tells {
	_Bool group_dead;
};

#pragma clang attribute pop

struct seq_file;

struct bpf_iter_meta {
	struct seq_file *seq;
	u64 session_id;
	u64 seq_num;
};

struct bpf_iter__task {
	struct bpf_iter_meta *meta;
	struct task_struct *task;
};

static void *(*bpf_map_lookup_elem)(void *map, const void *key) = (void *)1;
static long (*bpf_map_update_elem)(void *map, const void *key, const void *value,
				   u64 flags) = (void *)2;
static u64 (*bpf_get_current_task)(void) = (void *)35;
static long (*bpf_probe_read_user)(void *to, u32 size, const void *from) = (void *)112;
static long (*bpf_probe_read_kernel)(void *to, u32 size, const void *from) = (void *)113;
static long (*bpf_probe_read_kernel_str)(void *to, u32 size, const void *from) = (void *)115;
static u64 (*bpf_ktime_get_boot_ns)(void) = (void *)125;
static long (*bpf_seq_write)(struct seq_file *seq, const void *bytes, u32 size) = (void *)127;
static long (*bpf_ringbuf_output)(void *ring, void *bytes, u64 size, u64 flags) = (void *)130;
static void *(*bpf_ringbuf_reserve)(void *ring, u64 size, u64 flags) = (void *)131;
static void (*bpf_ringbuf_submit)(void *record, u64 flags) = (void *)132;
static u64 (*bpf_ringbuf_query)(void *ring, u64 what) = (void *)134;
static void *(*bpf_task_storage_get)(void *map, struct task_struct *task, void *value,
				     u64 flags) = (void *)156;
static void *(*bpf_map_lookup_percpu_elem)(void *map, const void *key, u32 cpu) = (void *)195;
static long (*bpf_loop)(u32 count, void *step, void *context, u64 flags) = (void *)181;

/* Since Linux 6.2; what it returns may be looked at and not be handed on. */
extern void *bpf_rdonly_cast(const void *object, u32 type)
	__attribute__((section(".ksyms"), weak));

/* The same task, of which nothing is presumed but its type: to be read from, and not to be given
 * to a helper function. Since Linux 6.3 the verifier looks through all types of the kernel, up to
 * four times, for each pointer that is followed from a task that it trusts, and that took two
 * thirds of the time in which the programs are loaded. Where a pointer leads from this one it asks
 * nothing. Kernels before 6.2, that know no casts, are those with the older counters of memory. */
ALWAYS_INLINE const struct task_struct *untrusted(const struct task_struct *task)
{
	if (with_casts && !TYPE_EXISTS(struct mm_rss_stat))
		return bpf_rdonly_cast(task, TYPE_NUMBER(struct task_struct));
	return task;
}

/* Two words anywhere; any structure of two would do. */
ALWAYS_INLINE const struct list_head *pair_at(const void *address)
{
	return bpf_rdonly_cast(address, TYPE_NUMBER(struct list_head));
}

/* Loads one or two words from anywhere into a place in a map. A load of the program's own is much
 * cheaper than the helper's, and the same where nothing is there but that it says nothing of it. */
ALWAYS_INLINE long load_words(void *to, const void *from, u32 count)
{
	volatile u64 *words = to;
	const struct list_head *pair;

	if (!with_casts || TYPE_EXISTS(struct mm_rss_stat))
		return bpf_probe_read_kernel(to, count * sizeof(u64), from);
	pair = pair_at(from);
	words[0] = (u64)pair->next;
	if (count > 1)
		words[1] = (u64)pair->prev;
	FORGET_MEMORY();
	return 0;
}

/* What every program writes the same way. */

ALWAYS_INLINE struct record_header header_of(u16 kind, u32 size)
{
	return (struct record_header){ .kind = kind, .version = RECORD_VERSION, .size = size };
}

ALWAYS_INLINE void copy_io(struct record_io *to, const struct task_io_accounting *from)
{
	to->rchar = from->rchar;
	to->wchar = from->wchar;
	to->syscr = from->syscr;
	to->syscw = from->syscw;
	to->read_bytes = from->read_bytes;
	to->write_bytes = from->write_bytes;
	to->cancelled_write_bytes = from->cancelled_write_bytes;
}

ALWAYS_INLINE void copy_usage(struct record_usage *to, const struct task_struct *task)
{
	to->utime = task->utime;
	to->stime = task->stime;
	to->runtime = task->se.sum_exec_runtime;
	to->nvcsw = task->nvcsw;
	to->nivcsw = task->nivcsw;
	to->min_flt = task->min_flt;
	to->maj_flt = task->maj_flt;
}

ALWAYS_INLINE void copy_pool(struct record_pool *to, const struct signal_struct *signal)
{
	copy_io(&to->io, &signal->ioac);
	to->utime = signal->utime;
	to->stime = signal->stime;
	to->runtime = signal->sum_sched_runtime;
	to->cutime = signal->cutime;
	to->cstime = signal->cstime;
	to->min_flt = signal->min_flt;
	to->maj_flt = signal->maj_flt;
	to->cmin_flt = signal->cmin_flt;
	to->cmaj_flt = signal->cmaj_flt;
	to->nvcsw = signal->nvcsw;
	to->nivcsw = signal->nivcsw;
	to->cnvcsw = signal->cnvcsw;
	to->cnivcsw = signal->cnivcsw;
}

ALWAYS_INLINE void copy_comm(u8 *to, const struct task_struct *task)
{
	/* Raw bytes: what follows the NUL is no one's business, and is cut off by the reader. */
	bpf_probe_read_kernel(to, COMM_BYTES, &task->comm);
}

ALWAYS_INLINE struct record_key key_of(const struct task_struct *task)
{
	const struct task_struct *leader = untrusted(task)->group_leader;

	return (struct record_key){ .tgid = task->tgid, .start = leader->start_boottime };
}
