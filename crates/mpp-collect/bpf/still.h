/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/*
 * Who stands still: a process of which a reading would say what the one before said.
 *
 * What a process with a single thread has done itself, and collected from children, changes only
 * while that thread runs, and then its time on a CPU and the count of its switches change, too.
 * What others may change of it meanwhile, its memory, descriptors, limits, parent and control
 * group, is read all the same, and held against what it was as one number. All of that is kept
 * from one reading to the next in a slot that several processes may share: of those everything is
 * told.
 */
#pragma once

#include "delays.h"
#include "settings.h"

/* So many slots; a power of two. */
#define LASTS 32768

/* A process as it was told last. */
struct last {
	u64 start;
	u64 runtime;
	u64 print;
	u32 round;
	u32 zero;
};

struct {
	MAP_NUMBER(type, BPF_MAP_TYPE_ARRAY);
	MAP_NUMBER(max_entries, LASTS);
	MAP_TYPE(key, u32);
	MAP_TYPE(value, struct last);
} lasts SECTION(".maps");

/* The number of the reading that is being made by whoever has been told everything in the one
 * before, one less. 0: everything is to be told, and nothing is kept. */
struct {
	MAP_NUMBER(type, BPF_MAP_TYPE_ARRAY);
	MAP_NUMBER(max_entries, 1);
	MAP_TYPE(key, u32);
	MAP_TYPE(value, u32);
} rounds SECTION(".maps");

/* Takes a number into a print: another number is another print. */
ALWAYS_INLINE u64 mixed(u64 print, u64 number)
{
	print = (print ^ number) * 0x9e3779b97f4a7c15;
	return print ^ (print >> 32);
}

ALWAYS_INLINE u32 is_on_cpu(const struct task_struct *task)
{
	/* Where there is one CPU it is ours. */
	if (!FIELD_EXISTS(((struct task_struct___cpus *)0)->on_cpu))
		return 0;
	return ((const struct task_struct___cpus *)task)->on_cpu;
}

/* Whether nothing is done for a process but by the one thread that it has, and that one rests. */
ALWAYS_INLINE u32 rests_alone(const struct task_struct *task)
{
	return untrusted(task)->signal->nr_threads == 1 && !task->exit_state &&
	       !(task->flags & PF_EXITING) && !is_on_cpu(task);
}

/* All that may change of a process, but for what changes with the time that it has run. There is
 * always a place for its memory, which says something where the parts have it: Linux 6.1 would not
 * know that a pointer is one wherever a number says so. */
ALWAYS_INLINE u64 print_of(const struct task_struct *task, u32 parts,
			   const struct record_memory *memory)
{
	const struct task_struct *seen = untrusted(task);
	u64 print = mixed(task->tgid, (u64)seen->real_parent->tgid << 32 | parts);

	print = mixed(print, task->nvcsw + task->nivcsw);
	print = mixed(print, seen->cgroups->dfl_cgrp->kn->id);
	print = mixed(print, seen->signal->rlim[RLIMIT_NOFILE].rlim_cur);
	if (!(parts & TASK_HAS_MEMORY))
		return print;
	print = mixed(print, memory->file_pages);
	print = mixed(print, memory->anon_pages);
	print = mixed(print, memory->shmem_pages);
	print = mixed(print, memory->swap_entries);
	print = mixed(print, memory->total_pages);
	print = mixed(print, memory->data_pages);
	print = mixed(print, memory->start_code);
	print = mixed(print, memory->end_code);
	return mixed(print, memory->fds);
}

/* Whether a process is as it was told in the reading before, and remembers how it is now. Whoever
 * comes to a slot that was used in this reading already, leaves it so that nobody finds himself
 * there in the next one: not another process, and not the same one that is read by somebody else
 * besides. */
ALWAYS_INLINE u32 stands_still(const struct task_struct *task, u32 parts,
			       const struct record_memory *memory)
{
	u32 zero = 0, slot = task->tgid & (LASTS - 1), round, is_still;
	u32 *asked = bpf_map_lookup_elem(&rounds, &zero);
	struct last *last = bpf_map_lookup_elem(&lasts, &slot);
	u64 runtime, print;

	if (!asked || !last)
		return 0;
	round = *asked;
	/* For a CPU it may wait, and not run. */
	if (!round || setting() & SETTING_DELAYS)
		return 0;
	if (last->round == round || !rests_alone(task)) {
		last->start = 0;
		last->round = round;
		return 0;
	}
	/* First: what it does from here on is found out the next time. */
	runtime = task->se.sum_exec_runtime;
	print = print_of(task, parts, memory);
	is_still = last->round == round - 1 && last->start == task->start_boottime &&
		   last->runtime == runtime && last->print == print;
	last->start = task->start_boottime;
	last->runtime = runtime;
	last->print = print;
	last->round = round;
	return is_still;
}
