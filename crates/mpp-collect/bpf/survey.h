/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/*
 * What the iterator of tasks.h tells, in two steps and without the kernel's own way of iterating:
 * that one takes hold of each thread, looks its ID up and writes into a file, which costs more
 * than all that is looked at of a process that stands still.
 *
 * First a survey goes along the kernel's list of processes, and says of each how it stands. Then
 * those that do not stand still are told one by one, by their IDs. Both take a few hundred
 * processes in each run, so that nobody waits long for the CPU that they run on.
 *
 * The traps: the list is in the order in which processes began, which is that of their IDs only
 * until these begin anew; and a process that ends is in it no more, so that a survey which was to
 * go on behind it has failed.
 */
#pragma once

#include "tasks.h"

/* Where the kernel refuses these programs, they are emptied before they are loaded. */
const volatile u32 with_survey = 1;

/* Processes met in one run. */
#define MET_MAX 1024
/* Processes asked for in one run; a power of two. */
#define ASKED_MAX 256
/* Bytes told in one run. */
#define TOLD_BYTES 32768
/* What a process with THREADS_MAX threads takes. */
#define CROWD_BYTES                                                                                \
	(sizeof(struct record_process) + sizeof(struct record_memory) +                            \
	 (THREADS_MAX + 1) * sizeof(struct record_task))

/* Of whoever has more ancestors no survey is made. */
#define GENERATIONS_MAX 1024

#define EPERM 1
#define ESRCH 3
#define EOPNOTSUPP 95

/* Since Linux 6.2; of programs of this kind, later. */
extern void bpf_rcu_read_lock(void) __attribute__((section(".ksyms"), weak));
extern void bpf_rcu_read_unlock(void) __attribute__((section(".ksyms"), weak));
extern struct task_struct *bpf_task_from_pid(s32 pid) __attribute__((section(".ksyms"), weak));
extern void bpf_task_release(struct task_struct *task) __attribute__((section(".ksyms"), weak));

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct task_struct___list {
	struct list_head tasks;
};

#pragma clang attribute pop

/* A process in the list. */
struct met {
	u32 tgid;
	u32 stand; /* enum stand */
	u64 start;
};

struct mets {
	struct met met[MET_MAX];
};

struct {
	MAP_NUMBER(type, BPF_MAP_TYPE_ARRAY);
	MAP_NUMBER(max_entries, 1);
	MAP_TYPE(key, u32);
	MAP_TYPE(value, struct mets);
} met SECTION(".maps");

/* What a run of the survey is given, and leaves. */
struct survey {
	u32 last; /* the process behind which it goes on; 0: from the first one; then: to the last */
	u32 met; /* how many were met */
};

/* On its way along the list. */
struct survey_walk {
	u64 node; /* an address */
	u32 last;
	u32 met;
	u32 is_lost; /* whether there was no way on */
	u32 zero;
};

/* The task whose place in the list of all processes this is. */
ALWAYS_INLINE const struct task_struct *task_in_list(u64 node)
{
	return bpf_rdonly_cast((const void *)(node -
					      FIELD_OFFSET(((struct task_struct___list *)0)->tasks)),
			       TYPE_NUMBER(struct task_struct));
}

/* The place of the next one. Where memory is gone it is 0, at which there is no task. It goes by way
 * of a place in a map: from there it is a number. */
ALWAYS_INLINE u64 next_of(const struct task_struct *task, u64 *room)
{
	const struct task_struct___list *in_list = (const void *)task;
	volatile u64 *number = room;

	*number = (u64)in_list->tasks.next;
	return *number;
}

static long meet(u32 index, struct survey_walk *walk)
{
	const struct task_struct *task = task_in_list(walk->node);
	struct scratch *scratch;
	struct mets *mets;
	struct met *entry;
	u32 zero = 0, slot = walk->met;

	(void)index;
	scratch = bpf_map_lookup_elem(&scratches, &zero);
	mets = bpf_map_lookup_elem(&met, &zero);
	if (!scratch || !mets || slot >= MET_MAX)
		return 1;
	/* The idle task, which is the head of the list; or nothing that can be read. */
	if (!task->pid) {
		walk->last = 0;
		walk->is_lost = !next_of(task, scratch->chunk);
		return 1;
	}
	entry = &mets->met[slot];
	entry->tgid = task->tgid;
	entry->start = task->start_boottime;
	entry->stand = stand_of(task, scratch->chunk);
	walk->met = slot + 1;
	walk->last = task->tgid;
	walk->node = next_of(task, scratch->chunk);
	return 0;
}

/* Climbs to the parent of a task, from whose place it sets out in the list. */
static long climb(u32 index, struct survey_walk *walk)
{
	const struct task_struct *task = task_in_list(walk->node);

	(void)index;
	if (!task->pid)
		return 1;
	task = task->real_parent;
	walk->node = (u64)task + FIELD_OFFSET(((struct task_struct___list *)0)->tasks);
	return 0;
}

/* Sets out behind the process where the run before ended; at first behind the head of the list,
 * which is the ancestor of everybody. */
ALWAYS_INLINE long set_out(struct survey_walk *walk, u32 last)
{
	struct scratch *scratch;
	struct task_struct *task;
	u32 zero = 0;

	scratch = bpf_map_lookup_elem(&scratches, &zero);
	if (!scratch)
		return -ESRCH;
	if (!last) {
		walk->node = (u64)bpf_get_current_task() +
			     FIELD_OFFSET(((struct task_struct___list *)0)->tasks);
		bpf_loop(GENERATIONS_MAX, climb, walk, 0);
		if (task_in_list(walk->node)->pid)
			return -ESRCH;
		walk->node = next_of(task_in_list(walk->node), scratch->chunk);
		return 0;
	}
	task = bpf_task_from_pid(last);
	if (!task)
		return -ESRCH;
	walk->node = next_of(untrusted(task), scratch->chunk);
	bpf_task_release(task);
	return 0;
}

SECTION("syscall") int survey_processes(struct survey *context)
{
	struct survey_walk walk = { .last = context->last };
	long outcome;

	if (!with_survey)
		return -EPERM;
	/* Whoever is told waits is told everything. */
	if (setting() & SETTING_DELAYS)
		return -EOPNOTSUPP;
	bpf_rcu_read_lock();
	outcome = set_out(&walk, context->last);
	if (!outcome)
		bpf_loop(MET_MAX, meet, &walk, 0);
	bpf_rcu_read_unlock();
	context->last = walk.last;
	context->met = walk.met;
	return walk.is_lost ? -ESRCH : outcome;
}

/* A process that is to be told. */
struct asked {
	u32 tgid;
	u32 stand; /* as it was met; of sockets: the descriptor to go on from */
};

struct asks {
	struct asked of[ASKED_MAX];
};

struct {
	MAP_NUMBER(type, BPF_MAP_TYPE_ARRAY);
	MAP_NUMBER(max_entries, 1);
	MAP_TYPE(key, u32);
	MAP_TYPE(value, struct asks);
} asked SECTION(".maps");

/* How far a run has come stands here: of a number that is loaded from a map the verifier knows
 * nothing, and so it goes on once, and not once for each number. */
struct told {
	u32 filled; /* bytes */
	u32 next; /* the first of those asked for that has not been told */
	u8 bytes[TOLD_BYTES];
};

struct {
	MAP_NUMBER(type, BPF_MAP_TYPE_ARRAY);
	MAP_NUMBER(max_entries, 1);
	MAP_TYPE(key, u32);
	MAP_TYPE(value, struct told);
} told SECTION(".maps");

/* What a run that tells is given, and leaves. */
struct telling {
	u32 asked; /* how many */
	u32 next; /* the first of them that is to be told */
	u32 is_crowd; /* whether the next one has too many threads to be told here */
	u32 zero;
};

/* On its way along those asked for. */
struct telling_walk {
	u32 asked;
	u32 outcome; /* enum outcome, of the last one */
};

/* Adds bytes of a fixed number to what is told. */
#define TELL(told, from, length)                                                                   \
	do {                                                                                       \
		u32 at = (told)->filled;                                                           \
                                                                                                   \
		if (at > TOLD_BYTES - (length))                                                    \
			break;                                                                     \
		bpf_probe_read_kernel(&(told)->bytes[at], length, from);                           \
		(told)->filled = at + (length);                                                    \
	} while (0)

static long tell_thread(u32 index, struct thread_walk *walk)
{
	const struct task_struct *thread;
	struct scratch *scratch;
	struct told *to;
	u32 zero = 0;

	(void)index;
	if (walk->node == walk->head)
		return 1;
	scratch = bpf_map_lookup_elem(&scratches, &zero);
	to = bpf_map_lookup_elem(&told, &zero);
	if (!scratch || !to)
		return 1;
	thread = bpf_rdonly_cast((const void *)(walk->node -
						FIELD_OFFSET(((struct task_struct *)0)->thread_node)),
				 TYPE_NUMBER(struct task_struct));
	if (bpf_probe_read_kernel(&walk->node, sizeof(walk->node), &thread->thread_node.next))
		return 1;
	if (thread->pid == thread->tgid)
		return 0;
	copy_thread(&scratch->task, thread);
	scratch->task.parts = 0;
	scratch->task.header = header_of(RECORD_TASK, sizeof(struct record_task));
	TELL(to, &scratch->task, sizeof(struct record_task));
	return 0;
}

/* Tells the threads beside the leader; whether that were all. */
ALWAYS_INLINE u32 tell_threads(const struct task_struct *task)
{
	struct thread_walk walk = {};
	u64 signal;

	if (has_one_thread(task))
		return 1;
	if (bpf_probe_read_kernel(&signal, sizeof(signal), &task->signal))
		return 0;
	walk.head = signal + FIELD_OFFSET(((struct signal_struct *)0)->thread_head);
	if (bpf_probe_read_kernel(&walk.node, sizeof(walk.node), (const void *)walk.head))
		return 0;
	bpf_loop(THREADS_MAX, tell_thread, &walk, 0);
	return walk.node == walk.head;
}

/* Tells a process; whether it could be told as a whole. Where the leader is gone, what the others
 * hold is not looked at here. */
ALWAYS_INLINE u32 tell_process(struct told *to, struct scratch *scratch, struct task_struct *task,
			       u32 stand)
{
	u32 has_memory;

	if (task->pid != task->tgid)
		return 1;
	if (!untrusted(task)->mm && !has_one_thread(task))
		return 0;
	copy_parts(scratch, task);
	FORGET_MEMORY();
	if (judged(stand, task, scratch->task.parts, &scratch->memory) == STAND_STILL) {
		copy_still(&scratch->still, task);
		TELL(to, &scratch->still, sizeof(scratch->still));
		return 1;
	}
	copy_rest(scratch, task);
	has_memory = scratch->task.parts & TASK_HAS_MEMORY;
	scratch->task.header = header_of(RECORD_TASK, sizeof(struct record_task) +
							      sizeof(struct record_process));
	if (has_memory)
		scratch->task.header.size += sizeof(struct record_memory);
	TELL(to, scratch, sizeof(struct record_task) + sizeof(struct record_process));
	if (has_memory)
		TELL(to, &scratch->memory, sizeof(struct record_memory));
	return tell_threads(task);
}

ALWAYS_INLINE void forget(u32 tgid)
{
	u32 slot = tgid & (LASTS - 1);
	struct last *last = bpf_map_lookup_elem(&lasts, &slot);

	if (last)
		last->place = 0;
}

/* What came of telling the next one. */
enum outcome {
	OUTCOME_TOLD,
	OUTCOME_NO_MORE, /* or no room for more */
	OUTCOME_CROWD,
};

/* Tells the next one. Not static: the verifier looks at it once by itself, and not again for each
 * time that the loop may come by; kernels before 6.8 do so even where nobody calls it. */
__attribute__((noinline)) int tell_one(u32 count)
{
	u32 zero = 0, next, filled, is_whole = 1;
	struct task_struct *task;
	struct scratch *scratch;
	struct asks *asks;
	struct told *to;

	if (!with_survey)
		return OUTCOME_NO_MORE;
	scratch = bpf_map_lookup_elem(&scratches, &zero);
	asks = bpf_map_lookup_elem(&asked, &zero);
	to = bpf_map_lookup_elem(&told, &zero);
	if (!scratch || !asks || !to)
		return OUTCOME_NO_MORE;
	next = to->next;
	filled = to->filled;
	if (next >= count || next >= ASKED_MAX || filled > TOLD_BYTES - CROWD_BYTES)
		return OUTCOME_NO_MORE;
	bpf_rcu_read_lock();
	task = bpf_task_from_pid(asks->of[next].tgid);
	if (task) {
		is_whole = tell_process(to, scratch, task, asks->of[next].stand);
		bpf_task_release(task);
	} else {
		/* It has ended, or is kept from programs: nothing of it is known. */
		forget(asks->of[next].tgid);
	}
	bpf_rcu_read_unlock();
	if (!is_whole) {
		to->filled = filled;
		return OUTCOME_CROWD;
	}
	to->next = next + 1;
	return OUTCOME_TOLD;
}

static long tell_next(u32 index, struct telling_walk *walk)
{
	(void)index;
	walk->outcome = tell_one(walk->asked);
	return walk->outcome != OUTCOME_TOLD;
}

SECTION("syscall") int tell_asked(struct telling *context)
{
	struct telling_walk walk = { .asked = context->asked };
	struct told *to;
	u32 zero = 0;

	if (!with_survey)
		return -EPERM;
	to = bpf_map_lookup_elem(&told, &zero);
	if (!to)
		return -EPERM;
	if (!context->next && !TYPE_EXISTS(struct mm_rss_stat))
		measure_distances();
	to->next = context->next;
	to->filled = 0;
	bpf_loop(ASKED_MAX, tell_next, &walk, 0);
	context->is_crowd = walk.outcome == OUTCOME_CROWD;
	return 0;
}
