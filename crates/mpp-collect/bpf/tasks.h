/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/*
 * Every thread of the machine, once: its own counters, and with the leader of a thread group what
 * its process is, holds and has collected from threads and children that are gone.
 */
#pragma once

#include "settings.h"
#include "still.h"

/* Words of a bitmap of descriptors that are looked at together. */
#define CHUNK_WORDS 32
/* Enough for 4 million descriptors; of more, TASK_FDS_CUT says that there are more. */
#define CHUNKS_MAX 2048

/* Beyond, what is kept for each CPU is left out. */
#define CPUS_MAX 1024

/* How many CPUs there may ever be. 0: what is kept for each CPU is left out. */
const volatile u32 possible_cpus = 0;

/* A thread, with a leader its process, and what that one holds. */
struct whole {
	struct record_task task;
	struct record_process process;
	struct record_memory memory;
};

struct scratch {
	struct whole whole;
	struct record_task_delays delays;
	struct record_still still;
	u64 chunk[CHUNK_WORDS];
	enum stand stand;
};

struct {
	MAP_NUMBER(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	MAP_NUMBER(max_entries, 1);
	MAP_TYPE(key, u32);
	MAP_TYPE(value, struct scratch);
} scratches SECTION(".maps");

/* How far each CPU's copy of anything lies from the address that stands for all copies. */
struct distances {
	u64 of_cpu[CPUS_MAX];
};

struct {
	MAP_NUMBER(type, BPF_MAP_TYPE_ARRAY);
	MAP_NUMBER(max_entries, 1);
	MAP_TYPE(key, u32);
	MAP_TYPE(value, struct distances);
} cpu_distances SECTION(".maps");

/* Serves only to be found at the same time by its address and by each CPU's. */
struct {
	MAP_NUMBER(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	MAP_NUMBER(max_entries, 1);
	MAP_TYPE(key, u32);
	MAP_TYPE(value, u64);
} yardstick SECTION(".maps");

/* Measures the distances, by a map of ours: the kernel's own variables bear names that not every
 * kernel tells. A function of its own leaves nothing behind that the verifier would go on with. */
static __attribute__((noinline)) int measure_distances(void)
{
	u32 zero = 0, cpu;
	struct distances *distances = bpf_map_lookup_elem(&cpu_distances, &zero);
	volatile u64 *slot;
	u64 map, origin;
	const void *copy;

	if (!distances)
		return 0;
	/* What is stored and loaded again is no pointer any more, but a number. */
	slot = distances->of_cpu;
	*slot = (u64)&yardstick;
	map = *slot;
	if (bpf_probe_read_kernel(&origin, sizeof(origin),
				  (const void *)(map + FIELD_OFFSET(((struct bpf_array *)0)->pptrs))))
		return 0;
	for (cpu = 0; cpu < CPUS_MAX && cpu < possible_cpus; cpu++) {
		copy = bpf_map_lookup_percpu_elem(&yardstick, &zero, cpu);
		if (!copy)
			break;
		slot = &distances->of_cpu[cpu];
		*slot = (u64)copy;
		*slot -= origin;
	}
	return 0;
}

ALWAYS_INLINE u32 ones(u64 word)
{
	word -= (word >> 1) & 0x5555555555555555;
	word = (word & 0x3333333333333333) + ((word >> 2) & 0x3333333333333333);
	word = (word + (word >> 4)) & 0x0f0f0f0f0f0f0f0f;
	return (word * 0x0101010101010101) >> 56;
}

struct fd_walk {
	const unsigned long *next;
	u32 words;
	u32 fds;
};

static long count_chunk(u32 index, struct fd_walk *walk)
{
	struct scratch *scratch;
	u32 zero = 0, words = walk->words, i;

	(void)index;
	scratch = bpf_map_lookup_elem(&scratches, &zero);
	if (!scratch || !words)
		return 1;
	if (words > CHUNK_WORDS)
		words = CHUNK_WORDS;
	if (bpf_probe_read_kernel(scratch->chunk, words * sizeof(u64), walk->next))
		return 1;
	for (i = 0; i < CHUNK_WORDS; i++) {
		if (i >= words)
			break;
		walk->fds += ones(scratch->chunk[i]);
	}
	walk->next += words;
	walk->words -= words;
	return 0;
}

/* How many descriptors are open, by the bitmap of them; says in `parts` what is not known. */
ALWAYS_INLINE u32 count_fds(const struct task_struct *task, u32 *parts, u64 *room)
{
	const struct files_struct *files = untrusted(task)->files;
	struct fd_walk walk = {};
	struct fdtable *table;

	if (!files) {
		*parts |= TASK_FDS_UNKNOWN;
		return 0;
	}
	table = files->fdt;
	walk.next = table->open_fds;
	walk.words = table->max_fds / 64;
	if (walk.words == 1) {
		/* Nearly everybody has at most 64. */
		if (load_words(room, walk.next, 1))
			*parts |= TASK_FDS_UNKNOWN;
		else
			walk.fds = ones(*room);
		return walk.fds;
	}
	bpf_loop(CHUNKS_MAX, count_chunk, &walk, 0);
	if (walk.words)
		*parts |= TASK_FDS_CUT;
	return walk.fds;
}

ALWAYS_INLINE u64 not_negative(s64 number)
{
	return number < 0 ? 0 : number;
}

/* Adds up what each CPU keeps of the four counters. Their parts lie next to one another, because
 * the kernel allocates the four together; on one that does not they are left out. */
ALWAYS_INLINE void add_parts_of_cpus(s64 *sums, const struct mm_struct *mm, u64 *room)
{
	const u8 *first = (const u8 *)mm->rss_stat[0].counters;
	const u8 *last = (const u8 *)mm->rss_stat[NR_MM_COUNTERS - 1].counters;
	const s32 *parts = (const s32 *)room;
	struct distances *distances;
	u32 zero = 0, cpu;

	distances = bpf_map_lookup_elem(&cpu_distances, &zero);
	if (!distances || last - first != (NR_MM_COUNTERS - 1) * sizeof(s32))
		return;
	for (cpu = 0; cpu < CPUS_MAX && cpu < possible_cpus; cpu++) {
		if (load_words(room, first + distances->of_cpu[cpu], 2))
			return;
		FORGET_MEMORY();
		sums[0] += parts[0];
		sums[1] += parts[1];
		sums[2] += parts[2];
		sums[3] += parts[3];
	}
}

ALWAYS_INLINE void copy_resident(struct record_memory *to, const struct mm_struct *mm, u64 *room)
{
	s64 sums[NR_MM_COUNTERS] = {};

	if (TYPE_EXISTS(struct mm_rss_stat)) {
		const struct mm_struct___atomic *old = (const void *)mm;

		/* Loaded one by one they are refused there: an array of a typedef is no array of
		 * structures to that verifier. */
		bpf_probe_read_kernel(sums, sizeof(sums), &old->rss_stat);
	} else {
		sums[0] = mm->rss_stat[0].count;
		sums[1] = mm->rss_stat[1].count;
		sums[2] = mm->rss_stat[2].count;
		sums[3] = mm->rss_stat[3].count;
		add_parts_of_cpus(sums, mm, room);
	}
	to->file_pages = not_negative(sums[MM_FILEPAGES]);
	to->anon_pages = not_negative(sums[MM_ANONPAGES]);
	to->swap_entries = not_negative(sums[MM_SWAPENTS]);
	to->shmem_pages = not_negative(sums[MM_SHMEMPAGES]);
}

ALWAYS_INLINE void copy_memory(struct record_memory *to, const struct task_struct *task,
			       const struct mm_struct *mm, u32 *parts, u64 *room)
{
	copy_resident(to, mm, room);
	to->total_pages = mm->total_vm;
	to->data_pages = mm->data_vm + mm->stack_vm;
	to->start_code = mm->start_code;
	to->end_code = mm->end_code;
	to->fds = count_fds(task, parts, room);
	to->zero = 0;
}

ALWAYS_INLINE void copy_forker(struct record_process *to, struct task_struct *task)
{
	const struct origin *origin = bpf_task_storage_get(&origins, task, NULL, 0);

	if (origin)
		to->forker = origin->forker;
	else
		to->forker = (struct record_key){};
}

/* All of a process but who forked it. */
ALWAYS_INLINE void copy_process(struct record_process *to, const struct task_struct *task)
{
	const struct task_struct *seen = untrusted(task);
	const struct signal_struct *signal = seen->signal;

	to->parent = key_of(seen->real_parent);
	to->self_exec_id = task->self_exec_id;
	load_words(to->comm, &task->comm, 2);
	to->euid = seen->real_cred->euid.val;
	to->nr_threads = signal->nr_threads;
	to->cgroup_id = seen->cgroups->dfl_cgrp->kn->id;
	to->fd_limit = signal->rlim[RLIMIT_NOFILE].rlim_cur;
	copy_pool(&to->pool, signal);
}

ALWAYS_INLINE void copy_thread(struct record_task *to, const struct task_struct *task)
{
	to->tid = task->pid;
	to->tgid = task->tgid;
	to->start = task->start_boottime;
	to->flags = task->flags;
	to->exit_state = task->exit_state;
	to->state = task->__state;
	copy_io(&to->io, &task->ioac);
	copy_usage(&to->usage, task);
}

/* A thread's waits, and with the leader those of threads that have ended. */
ALWAYS_INLINE void copy_task_delays(struct record_task_delays *to, struct task_struct *task)
{
	const struct origin *origin;
	u32 marks = copy_delays(&to->own, task);

	to->of_ended = (struct record_delays){};
	if (task->pid == task->tgid) {
		marks |= copy_delays_of_ended(&to->of_ended, untrusted(task)->signal);
		origin = bpf_task_storage_get(&origins, task, NULL, 0);
		if (origin && origin->misses_delays)
			marks |= DELAYS_MISSED;
	}
	to->marks = marks;
	to->zero = 0;
}

/* All that is told of a process that has stood still. */
ALWAYS_INLINE void copy_still(struct record_still *to, const struct task_struct *task)
{
	to->header = header_of(RECORD_STILL, sizeof(*to));
	to->tgid = task->tgid;
	to->zero = 0;
	to->start = task->start_boottime;
}

/* Tells in a few bytes of a process that has stood still. */
ALWAYS_INLINE void write_still(struct scratch *scratch, const struct task_struct *task,
			       struct seq_file *seq)
{
	copy_still(&scratch->still, task);
	bpf_seq_write(seq, &scratch->still, sizeof(scratch->still));
}

/* Whether a thread need not be told, because its process stands still, by what is known before
 * memory and files are looked at; the leader says so for all. */
ALWAYS_INLINE u32 is_told_by_standing(struct scratch *scratch, const struct task_struct *task,
				      struct seq_file *seq)
{
	if (task->pid != task->tgid)
		return is_of_still(task);
	scratch->stand = stand_of(task, scratch->chunk);
	if (scratch->stand != STAND_STILL)
		return 0;
	write_still(scratch, task, seq);
	return 1;
}

/* The same, once they have been. */
ALWAYS_INLINE u32 is_told_by_print(struct scratch *scratch, const struct task_struct *task,
				   struct seq_file *seq)
{
	if (task->pid != task->tgid)
		return 0;
	if (judged(scratch->stand, task, scratch->whole.task.parts, &scratch->whole.memory) !=
	    STAND_STILL)
		return 0;
	write_still(scratch, task, seq);
	return 1;
}

/* Which parts a record has stands in the record itself and is read from there again: a number
 * that the verifier does not know lets it go on once, and not once for each combination. */
ALWAYS_INLINE void copy_parts(struct whole *to, const struct task_struct *task, u64 *room)
{
	const struct task_struct *seen = untrusted(task);
	const struct task_struct *leader = seen->group_leader;
	const struct mm_struct *mm = seen->mm;
	u32 parts = 0;

	if (task->pid == task->tgid)
		parts = TASK_HAS_PROCESS;
	to->task.parts = parts;
	FORGET_MEMORY();
	if (!mm || task->flags & PF_KTHREAD)
		return;
	/* Where the leader is gone, what the process holds is seen through the others. */
	if (task->pid != task->tgid && leader->mm)
		return;
	parts = to->task.parts | TASK_HAS_MEMORY;
	copy_memory(&to->memory, task, mm, &parts, room);
	to->task.parts = parts;
}

/* Fills in what was not looked at on the way: a thread, and with a leader its process. */
ALWAYS_INLINE void copy_rest(struct whole *to, const struct task_struct *task)
{
	copy_thread(&to->task, task);
	if (to->task.parts & TASK_HAS_PROCESS)
		copy_process(&to->process, task);
	FORGET_MEMORY();
}

/* Bytes that lie together at the beginning: a thread, and with a leader its process. */
ALWAYS_INLINE u32 first_bytes(const struct whole *whole)
{
	if (whole->task.parts & TASK_HAS_PROCESS)
		return sizeof(struct record_task) + sizeof(struct record_process);
	return sizeof(struct record_task);
}

SECTION("iter/task") int write_task(struct bpf_iter__task *context)
{
	struct task_struct *task = context->task;
	struct seq_file *seq = context->meta->seq;
	u32 zero = 0, first, second = 0, third = 0;
	struct scratch *scratch;
	struct whole *whole;

	if (!task)
		return 0;
	if (!context->meta->seq_num && !TYPE_EXISTS(struct mm_rss_stat))
		measure_distances();
	scratch = bpf_map_lookup_elem(&scratches, &zero);
	if (!scratch)
		return 0;
	if (is_told_by_standing(scratch, task, seq))
		return 0;
	FORGET_MEMORY();
	whole = &scratch->whole;
	copy_parts(whole, task, scratch->chunk);
	FORGET_MEMORY();
	if (is_told_by_print(scratch, task, seq))
		return 0;
	copy_rest(whole, task);
	if (whole->task.parts & TASK_HAS_PROCESS)
		copy_forker(&whole->process, task);
	if (setting() & SETTING_DELAYS) {
		copy_task_delays(&scratch->delays, task);
		whole->task.parts |= TASK_HAS_DELAYS;
	}
	FORGET_MEMORY();
	first = first_bytes(whole);
	if (whole->task.parts & TASK_HAS_MEMORY)
		second = sizeof(struct record_memory);
	if (whole->task.parts & TASK_HAS_DELAYS)
		third = sizeof(struct record_task_delays);
	whole->task.header = header_of(RECORD_TASK, first + second + third);
	/* Where one finds no room, the kernel takes back those before. */
	bpf_seq_write(seq, whole, first);
	if (second)
		bpf_seq_write(seq, &whole->memory, second);
	if (third)
		bpf_seq_write(seq, &scratch->delays, third);
	return 0;
}
