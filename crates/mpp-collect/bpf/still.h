/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/*
 * Who stands still: a process of which a reading would say what the one before said.
 *
 * What a process has done itself, and collected from children, changes only while a thread of it
 * runs, and then that thread's time on a CPU and the count of its switches change, too. So one
 * whose threads all rest, and have run for as long as in the reading before, is told as standing
 * still without a look at anything else, which is what a reading costs: its memory, descriptors
 * and limits lie far from one another. Another parent or control group is seen at once, since the
 * thread itself says where those are.
 *
 * The trap is what others do to the rest of it: memory is reclaimed, collapsed or shared, limits
 * are set, descriptors are shared. That is read again in turn, of a sixteenth of all in each
 * reading, and held as one number against what it was when it was told last.
 *
 * All of that is kept from one reading to the next in a slot that several processes may share: of
 * those everything is told.
 */
#pragma once

#include "delays.h"
#include "settings.h"

/* So many slots; a power of two. */
#define LASTS 32768
/* After so many readings all of everybody has been looked at; a power of two. */
#define READINGS_TO_ALL 16
/* Of a process with more threads everything is told. */
#define THREADS_MAX 64

/* A process as it was told last. */
struct last {
	u64 runtime; /* of its threads, and how often they were switched to */
	u64 place; /* who it is and under whom; 0: of no use */
	u64 print;
	u64 task; /* its address, as a number */
	u32 round;
	u32 still; /* its ID, where it was told as standing still in that round */
};

struct {
	MAP_NUMBER(type, BPF_MAP_TYPE_ARRAY);
	MAP_NUMBER(max_entries, LASTS);
	MAP_TYPE(key, u32);
	MAP_TYPE(value, struct last);
} lasts SECTION(".maps");

/* The number of this reading, by one who was told everything in the one whose number is one less.
 * 0: everything is to be told, and nothing is kept. */
struct {
	MAP_NUMBER(type, BPF_MAP_TYPE_ARRAY);
	MAP_NUMBER(max_entries, 1);
	MAP_TYPE(key, u32);
	MAP_TYPE(value, u32);
} rounds SECTION(".maps");

/* What is known of a process before anything but its threads is looked at. */
enum stand {
	STAND_MOVED, /* everything is to be told, and nothing is kept */
	STAND_NEW, /* everything is to be told, for it was not told of */
	STAND_ASKED, /* it has not run, and it is its turn to be looked at */
	STAND_STILL,
	STAND_RAN, /* since the reading before, in which it was told of */
};

/* The round of this reading; 0 where everything is to be told. */
ALWAYS_INLINE u32 this_round(void)
{
	u32 zero = 0;
	u32 *asked = bpf_map_lookup_elem(&rounds, &zero);

	/* For a CPU it may wait, and not run. */
	return asked && !(setting() & SETTING_DELAYS) ? *asked : 0;
}

ALWAYS_INLINE struct last *last_of(const struct task_struct *task)
{
	u32 slot = task->tgid & (LASTS - 1);

	return bpf_map_lookup_elem(&lasts, &slot);
}

/* Takes a number into a print: another number is another print. */
ALWAYS_INLINE u64 mixed(u64 print, u64 number)
{
	print = (print ^ number) * 0x9e3779b97f4a7c15;
	return print ^ (print >> 32);
}

/* In turn, but not together with those whose IDs are as far apart as threads let them be. */
ALWAYS_INLINE u32 is_turn(u32 tgid, u32 round)
{
	return !(((tgid * 0x9e3779b9 >> 16) + round) & (READINGS_TO_ALL - 1));
}

ALWAYS_INLINE u32 is_on_cpu(const struct task_struct *task)
{
	/* Where there is one CPU it is ours. */
	if (!FIELD_EXISTS(((struct task_struct___cpus *)0)->on_cpu))
		return 0;
	return ((const struct task_struct___cpus *)task)->on_cpu;
}

/* Whether a thread neither runs nor ends. */
ALWAYS_INLINE u32 rests(const struct task_struct *task)
{
	return !(task->flags & PF_EXITING) && !is_on_cpu(task);
}

/* Whether a process has no other thread than this one. The list goes round through its head. */
ALWAYS_INLINE u32 has_one_thread(const struct task_struct *task)
{
	return task->thread_node.next == task->thread_node.prev;
}

/* On its way along the threads of a process. */
struct thread_walk {
	u64 node; /* an address */
	u64 head;
	u64 runtime;
	u64 switches;
	u32 rest; /* whether all of them so far */
	u32 zero;
};

static long add_thread(u32 index, struct thread_walk *walk)
{
	const struct task_struct *thread;

	(void)index;
	if (walk->node == walk->head)
		return 1;
	thread = bpf_rdonly_cast((const void *)(walk->node -
						FIELD_OFFSET(((struct task_struct *)0)->thread_node)),
				 TYPE_NUMBER(struct task_struct));
	if (!rests(thread)) {
		walk->rest = 0;
		return 1;
	}
	walk->runtime = mixed(walk->runtime ^ (u32)thread->pid, thread->se.sum_exec_runtime);
	walk->switches = mixed(walk->switches, thread->nvcsw + thread->nivcsw);
	if (bpf_probe_read_kernel(&walk->node, sizeof(walk->node), &thread->thread_node.next)) {
		walk->rest = 0;
		return 1;
	}
	return 0;
}

/* Adds up for how long the threads of a process have run; whether they all rest. */
ALWAYS_INLINE u32 all_rest(const struct task_struct *task, struct thread_walk *walk)
{
	u64 signal;

	if (!rests(task))
		return 0;
	walk->runtime = task->se.sum_exec_runtime;
	walk->switches = task->nvcsw + task->nivcsw;
	if (has_one_thread(task))
		return 1;
	if (!with_casts || TYPE_EXISTS(struct mm_rss_stat))
		return 0;
	if (bpf_probe_read_kernel(&signal, sizeof(signal), &task->signal))
		return 0;
	walk->head = signal + FIELD_OFFSET(((struct signal_struct *)0)->thread_head);
	if (bpf_probe_read_kernel(&walk->node, sizeof(walk->node), (const void *)walk->head))
		return 0;
	/* This thread is one of those on the way: taken in twice it would cancel itself. */
	walk->runtime = 0;
	walk->switches = 0;
	walk->rest = 1;
	bpf_loop(THREADS_MAX, add_thread, walk, 0);
	return walk->rest && walk->node == walk->head;
}

/* All that others may change of a process, but for where it is. There is always a place for its
 * memory, which says something where the parts have it: Linux 6.1 would not know that a pointer is
 * one wherever a number says so. */
ALWAYS_INLINE u64 print_of(const struct task_struct *task, u32 parts,
			   const struct record_memory *memory)
{
	const struct task_struct *seen = untrusted(task);
	u64 print = mixed(task->tgid, (u64)seen->real_parent->tgid << 32 | parts);

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

/* Who a process is, and where it stands among others. The addresses of its parent and of its
 * control groups are loaded by way of a place in a map: from there they are numbers. While a
 * process does not run, none of the two is given to another one and comes back to it, but for
 * control groups that are made within one reading's time. */
ALWAYS_INLINE u64 place_of(const struct task_struct *task, u64 *room)
{
	volatile u64 *numbers = room;
	u64 place;

	numbers[0] = (u64)task->real_parent;
	numbers[1] = (u64)task->cgroups;
	place = mixed(task->start_boottime, numbers[0]);
	return mixed(place, numbers[1]) | 1;
}

/* Remembers where a process is to be found; from a place in a map that is a number. */
ALWAYS_INLINE void remember(struct last *last, const struct task_struct *task)
{
	volatile u64 *number = &last->task;

	*number = (u64)task;
}

/* How a process stands, by its threads alone; remembers how that is now. Whoever comes to a slot
 * that was used in this reading already, leaves it so that nobody finds himself there in the next
 * one: not another process, and not the same one that is read by somebody else besides. */
ALWAYS_INLINE enum stand stand_of(const struct task_struct *task, u64 *room)
{
	struct last *last = last_of(task);
	u32 round = this_round(), is_same;
	struct thread_walk walk = {};
	u64 place, runtime;

	if (!last || !round)
		return STAND_MOVED;
	remember(last, task);
	last->still = 0;
	/* First: what it does from here on is found out the next time. */
	if (last->round == round || !all_rest(task, &walk)) {
		last->place = 0;
		last->round = round;
		return STAND_MOVED;
	}
	place = place_of(task, room);
	runtime = mixed(mixed(0, walk.runtime), walk.switches);
	is_same = last->round == round - 1 && last->place == place;
	last->round = round;
	if (!is_same || last->runtime != runtime) {
		last->runtime = runtime;
		last->place = place;
		return is_same ? STAND_RAN : STAND_NEW;
	}
	if (is_turn(task->tgid, round))
		return STAND_ASKED;
	last->still = task->tgid;
	return STAND_STILL;
}

/* How a process stands now that all of it has been looked at. */
ALWAYS_INLINE enum stand judged(enum stand stand, const struct task_struct *task, u32 parts,
				const struct record_memory *memory)
{
	struct last *last = last_of(task);
	u64 print;

	if (stand == STAND_MOVED || !last)
		return stand;
	print = print_of(task, parts, memory);
	if (stand == STAND_ASKED && last->print == print) {
		last->still = task->tgid;
		return STAND_STILL;
	}
	last->print = print;
	return stand;
}

/* Whether a thread's process has been told as standing still in this reading. */
ALWAYS_INLINE u32 is_of_still(const struct task_struct *task)
{
	struct last *last = last_of(task);
	u32 round = this_round();

	return round && last && last->round == round && last->still == (u32)task->tgid;
}
