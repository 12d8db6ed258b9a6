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
/* So many are reached for together before they are told; a power of two. */
#define WAVE 16
/* Of so many CPUs what they keep is reached for, too. */
#define CPUS_REACHED 8
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

/* Those that are to be told, as they were met. Of those whose sockets are, the stand is the
 * descriptor to go on from. */
struct asks {
	struct met of[ASKED_MAX];
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

/* Room for one more of what is told, which is taken once `filled` is raised; NULL where there is
 * none. */
ALWAYS_INLINE void *room_for(struct told *told, u32 bytes)
{
	u32 at = told->filled;

	if (at > TOLD_BYTES - bytes)
		return NULL;
	return &told->bytes[at];
}

static long tell_thread(u32 index, struct thread_walk *walk)
{
	const struct task_struct *thread;
	struct record_task *record;
	struct told *to;
	u32 zero = 0;

	(void)index;
	if (walk->node == walk->head)
		return 1;
	to = bpf_map_lookup_elem(&told, &zero);
	if (!to)
		return 1;
	record = room_for(to, sizeof(*record));
	if (!record)
		return 1;
	thread = bpf_rdonly_cast((const void *)(walk->node -
						FIELD_OFFSET(((struct task_struct *)0)->thread_node)),
				 TYPE_NUMBER(struct task_struct));
	if (bpf_probe_read_kernel(&walk->node, sizeof(walk->node), &thread->thread_node.next))
		return 1;
	if (thread->pid == thread->tgid)
		return 0;
	copy_thread(record, thread);
	record->parts = 0;
	record->header = header_of(RECORD_TASK, sizeof(*record));
	to->filled += sizeof(*record);
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

/* Whether a process was told of in the reading before, and is where it was. */
ALWAYS_INLINE u32 is_as_remembered(u32 stand)
{
	return stand == STAND_RAN || stand == STAND_ASKED;
}

/* Tells a process, but for who forked it, in its room; whether it could be told as a whole. Where
 * the leader is gone, what the others hold is not looked at here. */
ALWAYS_INLINE u32 tell_process(struct told *to, struct whole *whole, u64 *room,
			       const struct task_struct *task, u32 stand)
{
	u32 size = sizeof(struct record_task) + sizeof(struct record_process), kept = 0;

	if (task->pid != task->tgid)
		return 1;
	if (!task->mm && !has_one_thread(task))
		return 0;
	copy_parts(whole, task, room);
	FORGET_MEMORY();
	if (judged(stand, task, whole->task.parts, &whole->memory) == STAND_STILL) {
		copy_still((struct record_still *)whole, task);
		to->filled += sizeof(struct record_still);
		return 1;
	}
	copy_rest(whole, task);
	if (is_as_remembered(stand)) {
		whole->process.forker = (struct record_key){};
		kept = TASK_FORKER_KEPT;
	}
	if (whole->task.parts & TASK_HAS_MEMORY)
		size += sizeof(struct record_memory);
	whole->task.parts |= kept;
	whole->task.header = header_of(RECORD_TASK, size);
	to->filled += size;
	return tell_threads(task);
}

ALWAYS_INLINE void forget(u32 tgid)
{
	u32 slot = tgid & (LASTS - 1);
	struct last *last = bpf_map_lookup_elem(&lasts, &slot);

	if (last)
		last->place = 0;
}

/* A process that was told of before, by its address: to look it up costs more than to hold what is
 * found there against what it is to be. Whoever is not ending stays there for as long as the lock
 * is held that the caller holds. NULL: it is to be looked up. */
ALWAYS_INLINE const struct task_struct *remembered(const struct met *entry)
{
	u32 slot = entry->tgid & (LASTS - 1);
	struct last *last = bpf_map_lookup_elem(&lasts, &slot);
	const struct task_struct *task;

	if (!last || !is_as_remembered(entry->stand))
		return NULL;
	task = bpf_rdonly_cast((const void *)last->task, TYPE_NUMBER(struct task_struct));
	if ((u32)task->pid != entry->tgid || (u32)task->tgid != entry->tgid ||
	    task->start_boottime != entry->start || task->flags & PF_EXITING)
		return NULL;
	return task;
}

/* A process by its ID, and who forked it; NULL where there is none. What is returned may be looked
 * at for as long as the caller's lock is held. */
ALWAYS_INLINE const struct task_struct *looked_up(struct met *entry, struct record_process *process,
						  u64 *room)
{
	struct task_struct *task = bpf_task_from_pid(entry->tgid);
	volatile u64 *number = room;

	if (!task)
		return NULL;
	if (is_as_remembered(entry->stand))
		entry->stand = STAND_NEW;
	copy_forker(process, task);
	*number = (u64)task;
	bpf_task_release(task);
	return bpf_rdonly_cast((const void *)*number, TYPE_NUMBER(struct task_struct));
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
	const struct task_struct *task;
	struct scratch *scratch;
	struct whole *whole;
	struct asks *asks;
	struct met *entry;
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
	whole = room_for(to, CROWD_BYTES);
	if (next >= count || next >= ASKED_MAX || !whole)
		return OUTCOME_NO_MORE;
	entry = &asks->of[next];
	bpf_rcu_read_lock();
	task = remembered(entry);
	if (!task)
		task = looked_up(entry, &whole->process, scratch->chunk);
	if (task)
		is_whole = tell_process(to, whole, scratch->chunk, task, entry->stand);
	else
		/* It has ended, or is kept from programs: nothing of it is known. */
		forget(entry->tgid);
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

/* Loads something, and does nothing with it. What is known of a process lies in dozens of places
 * that nobody has looked at for long, and to wait for one after the other is most of what telling
 * costs. Loads that do not wait for one another come in together: so those of a few processes are
 * reached for at once, before anything is done with them. */
#define REACH_FOR(number) asm volatile("" : : "r"(number))

/* One of those that are told next, who may be gone: what is there is only looked at. */
ALWAYS_INLINE const struct task_struct *one_of_wave(u32 index)
{
	u32 zero = 0, slot;
	struct last *last;
	struct asks *asks;
	struct told *to;

	asks = bpf_map_lookup_elem(&asked, &zero);
	to = bpf_map_lookup_elem(&told, &zero);
	if (!asks || !to)
		return NULL;
	slot = asks->of[(to->next + index) & (ASKED_MAX - 1)].tgid & (LASTS - 1);
	last = bpf_map_lookup_elem(&lasts, &slot);
	if (!last)
		return NULL;
	return bpf_rdonly_cast((const void *)last->task, TYPE_NUMBER(struct task_struct));
}

/* What is found at once of one of them, then by what was found, and then by that. */
static long reach_for_task(u32 index, struct telling_walk *walk)
{
	const struct task_struct *task = one_of_wave(index);

	(void)walk;
	if (!task)
		return 1;
	REACH_FOR(task->flags);
	REACH_FOR(task->se.sum_exec_runtime);
	REACH_FOR(task->mm);
	REACH_FOR(task->exit_state);
	REACH_FOR(task->pid);
	REACH_FOR(task->group_leader);
	REACH_FOR(task->thread_node.next);
	REACH_FOR(task->utime);
	REACH_FOR(task->nvcsw);
	REACH_FOR(task->real_cred);
	REACH_FOR(task->signal);
	REACH_FOR(task->self_exec_id);
	REACH_FOR(task->ioac.rchar);
	REACH_FOR(task->ioac.cancelled_write_bytes);
	REACH_FOR(task->cgroups);
	return 0;
}

static long reach_for_process(u32 index, struct telling_walk *walk)
{
	const struct task_struct *task = one_of_wave(index);
	const struct signal_struct *signal;
	const struct mm_struct *mm;

	(void)walk;
	if (!task)
		return 1;
	signal = task->signal;
	mm = task->mm;
	REACH_FOR(signal->nr_threads);
	REACH_FOR(signal->utime);
	REACH_FOR(signal->nvcsw);
	REACH_FOR(signal->min_flt);
	REACH_FOR(signal->ioac.rchar);
	REACH_FOR(signal->ioac.cancelled_write_bytes);
	REACH_FOR(signal->rlim[RLIMIT_NOFILE].rlim_cur);
	REACH_FOR(mm->total_vm);
	REACH_FOR(mm->data_vm);
	REACH_FOR(mm->end_code);
	REACH_FOR(mm->rss_stat[0].count);
	REACH_FOR(mm->rss_stat[2].count);
	REACH_FOR(mm->rss_stat[3].count);
	REACH_FOR(task->files->fdt);
	REACH_FOR(task->real_cred->euid.val);
	return 0;
}

static long reach_beyond(u32 index, struct telling_walk *walk)
{
	const struct task_struct *task = one_of_wave(index);
	struct distances *distances;
	const u8 *counters;
	u32 zero = 0, cpu;

	(void)walk;
	distances = bpf_map_lookup_elem(&cpu_distances, &zero);
	if (!task || !distances)
		return 1;
	REACH_FOR(pair_at(task->files->fdt->open_fds)->next);
	counters = (const u8 *)task->mm->rss_stat[0].counters;
	for (cpu = 0; cpu < CPUS_REACHED && cpu < possible_cpus; cpu++)
		REACH_FOR(pair_at(counters + distances->of_cpu[cpu])->next);
	return 0;
}

/* Tells as many as are reached for together. */
static long tell_wave(u32 index, struct telling_walk *walk)
{
	(void)index;
	bpf_loop(WAVE, reach_for_task, walk, 0);
	bpf_loop(WAVE, reach_for_process, walk, 0);
	bpf_loop(WAVE, reach_beyond, walk, 0);
	bpf_loop(WAVE, tell_next, walk, 0);
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
	bpf_loop(ASKED_MAX / WAVE, tell_wave, &walk, 0);
	context->is_crowd = walk.outcome == OUTCOME_CROWD;
	return 0;
}
