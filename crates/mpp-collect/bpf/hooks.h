/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/*
 * The births, new programs and ends of all processes: one record for each thread that ends, one
 * for each program that is executed, and what is remembered in between: who forked a process,
 * and whose exec gave it its identity.
 *
 * Records wait in rings until user space takes them at its tick; nobody is woken up for a record.
 * What finds no room in the ring of exits is added up for each parent, so that totals stay right.
 */
#pragma once

#include "delays.h"
#include "settings.h"

/* Whose descendants alone are told of; 0: everybody. Those have an origin from their birth on, and
 * nobody else has one. */
#ifndef ROOT
#define ROOT 0
#endif

/* Beyond half a ring, this many bytes in which a record wakes up whoever waits for the ring. */
#define WAKE_BYTES 8192
#define SPILL_PARENTS_MAX 4096
#define COUNT_ONE(counter) __sync_fetch_and_add(&(counter), 1)
/* Holds a number below a limit in a way that no compiler moves away from where it is used. */
#define AT_MOST(number, limit)                                                                     \
	asm volatile("if %0 <= %1 goto +1\n\t%0 = %1" : "+r"(number) : "i"(limit))

/* Hooks that this kernel refuses are emptied before they are loaded. */
const volatile u32 with_fork = 1;
const volatile u32 with_exec = 1;
const volatile u32 with_free = 1;

struct exec_scratch {
	struct record_exec exec;
	u8 text[FILENAME_BYTES + CMDLINE_BYTES + ENVIRONMENT_BYTES];
};

struct {
	MAP_NUMBER(type, BPF_MAP_TYPE_RINGBUF);
	MAP_NUMBER(max_entries, 16 << 20);
} exits SECTION(".maps");

struct {
	MAP_NUMBER(type, BPF_MAP_TYPE_RINGBUF);
	MAP_NUMBER(max_entries, 8 << 20);
} execs SECTION(".maps");

/* Two, so that user space can empty one that is not being filled. */
struct {
	MAP_NUMBER(type, BPF_MAP_TYPE_HASH);
	MAP_NUMBER(max_entries, SPILL_PARENTS_MAX);
	MAP_TYPE(key, struct record_key);
	MAP_TYPE(value, struct spill);
} spills_even SECTION(".maps"), spills_odd SECTION(".maps");

struct {
	MAP_NUMBER(type, BPF_MAP_TYPE_ARRAY);
	MAP_NUMBER(max_entries, 1);
	MAP_TYPE(key, u32);
	MAP_TYPE(value, struct losses);
} counts SECTION(".maps");

struct {
	MAP_NUMBER(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	MAP_NUMBER(max_entries, 1);
	MAP_TYPE(key, u32);
	MAP_TYPE(value, struct exec_scratch);
} exec_scratches SECTION(".maps");

ALWAYS_INLINE struct losses *losses(void)
{
	u32 zero = 0;

	return bpf_map_lookup_elem(&counts, &zero);
}

/* What is remembered of a process, with this thread of it. Of one that began before we watched its
 * own key stands for whatever it executed before, with an exec time of 0. NULL where nothing could
 * be kept, or nothing is told of it. */
ALWAYS_INLINE struct origin *origin_of(struct task_struct *task,
				       const struct signal_struct *signal)
{
	struct origin before = {
		.exec = key_of(task),
		/* Threads that ended before we watched are not in anybody's records. */
		.reported = signal->sum_sched_runtime,
	};

	if (ROOT)
		return bpf_task_storage_get(&origins, task, NULL, 0);
	return bpf_task_storage_get(&origins, task, &before, BPF_LOCAL_STORAGE_GET_F_CREATE);
}

/* Tells of a descendant's birth. It comes before its end in the same ring. */
ALWAYS_INLINE void write_birth(const struct task_struct *child, const struct origin *born)
{
	struct record_birth record = {
		.header = header_of(RECORD_BIRTH, sizeof(record)),
		.key = { .tgid = child->tgid, .start = child->start_boottime },
		.exec = born->exec,
		.exec_time = born->exec_time,
	};
	struct losses *lost;

	if (bpf_ringbuf_output(&exits, &record, sizeof(record), BPF_RB_NO_WAKEUP)) {
		lost = losses();
		if (lost)
			COUNT_ONE(lost->execs_dropped);
	}
}

/* Remembers where a child comes from. Of a descendant of whom this is not possible nothing will be
 * told. */
ALWAYS_INLINE void keep_origin(struct task_struct *child, struct origin *born)
{
	struct losses *lost;

	if (bpf_task_storage_get(&origins, child, born, BPF_LOCAL_STORAGE_GET_F_CREATE) || !ROOT)
		return;
	lost = losses();
	if (lost)
		COUNT_ONE(lost->dropped);
}

/* A child inherits its parent's identity, a thread its process's. What is remembered with the
 * thread that forks is as good as what is with its leader, since an exec leaves no other thread;
 * and to follow a pointer from a task that is trusted costs the verifier a millisecond. */
SECTION("tp_btf/sched_process_fork") int remember_fork(u64 *context)
{
	struct task_struct *parent = (void *)context[0];
	struct task_struct *child = (void *)context[1];
	struct origin born = {};
	struct origin *known;

	if (!with_fork)
		return 0;
	known = origin_of(parent, untrusted(parent)->signal);
	if (known) {
		born.exec = known->exec;
		born.exec_time = known->exec_time;
	} else if (ROOT && parent->tgid == ROOT && child->tgid != ROOT) {
		born.exec = key_of(parent);
	} else {
		return 0;
	}
	if (child->tgid == parent->tgid)
		born.forker = known ? known->forker : (struct record_key){};
	else
		born.forker = key_of(parent);
	keep_origin(child, &born);
	if (ROOT && child->tgid != parent->tgid)
		write_birth(child, &born);
	return 0;
}

/* Copies what lies between two addresses of the current process; the bytes that were copied. */
ALWAYS_INLINE u64 copy_area(u8 *to, const u32 most, u64 from, u64 end, u32 *marks, u32 cut,
			    u32 unreadable)
{
	u64 length = end - from;

	if (end <= from)
		return 0;
	if (length > most)
		*marks |= cut;
	AT_MOST(length, most);
	if (bpf_probe_read_user(to, length, (const void *)from)) {
		*marks |= unreadable;
		return 0;
	}
	return length;
}

/* Copies the texts that were asked for behind the record; the bytes of them all. */
ALWAYS_INLINE u64 copy_texts(struct exec_scratch *scratch, const struct task_struct *task,
			     const struct linux_binprm *program)
{
	const struct mm_struct *mm = untrusted(task)->mm;
	u64 filename, cmdline = 0, environment = 0, bytes;
	struct record_exec *exec = &scratch->exec;
	u32 asked = setting(), marks = 0;
	long length;

	length = bpf_probe_read_kernel_str(scratch->text, FILENAME_BYTES, program->filename);
	/* The NUL is counted, but is not part of the name. */
	filename = length > 0 ? length - 1 : 0;
	AT_MOST(filename, FILENAME_BYTES);
	bytes = filename;
	if (asked & SETTING_CMDLINE) {
		marks |= EXEC_CMDLINE_ASKED;
		cmdline = copy_area(scratch->text + bytes, CMDLINE_BYTES, mm->arg_start,
				    mm->arg_end, &marks, EXEC_CMDLINE_CUT,
				    EXEC_CMDLINE_UNREADABLE);
		bytes += cmdline;
		AT_MOST(bytes, FILENAME_BYTES + CMDLINE_BYTES);
	}
	if (asked & SETTING_ENVIRONMENT) {
		marks |= EXEC_ENVIRONMENT_ASKED;
		environment = copy_area(scratch->text + bytes, ENVIRONMENT_BYTES, mm->env_start,
					mm->env_end, &marks, EXEC_ENVIRONMENT_CUT,
					EXEC_ENVIRONMENT_UNREADABLE);
		bytes += environment;
	}
	exec->marks = marks;
	exec->filename_bytes = filename;
	exec->cmdline_bytes = cmdline;
	exec->environment_bytes = environment;
	return bytes;
}

SECTION("tp_btf/sched_process_exec") int write_exec(u64 *context)
{
	struct task_struct *task = (void *)context[0];
	s32 old_pid = context[1];
	struct linux_binprm *program = (void *)context[2];
	const struct task_struct *seen = untrusted(task);
	struct exec_scratch *scratch;
	struct record_exec *exec;
	struct origin *origin;
	struct losses *lost;
	u32 zero = 0;
	u64 size;

	if (!with_exec)
		return 0;
	if (ROOT && !origin_of(task, seen->signal))
		return 0;
	scratch = bpf_map_lookup_elem(&exec_scratches, &zero);
	if (!scratch)
		return 0;
	exec = &scratch->exec;
	exec->key = key_of(task);
	exec->parent = key_of(seen->real_parent);
	exec->time = bpf_ktime_get_boot_ns();
	exec->self_exec_id = task->self_exec_id;
	copy_comm(exec->comm, task);
	exec->euid = seen->real_cred->euid.val;
	exec->zero = 0;
	origin = origin_of(task, seen->signal);
	if (origin) {
		origin->exec = exec->key;
		origin->exec_time = exec->time;
		/* A thread took the leader's place; all others are in the pool already. */
		if (old_pid != task->pid)
			origin->reported = seen->signal->sum_sched_runtime;
	}
	size = sizeof(*exec) + copy_texts(scratch, task, program);
	AT_MOST(size, sizeof(*scratch));
	exec->header = header_of(RECORD_EXEC, size);
	if (bpf_ringbuf_output(&execs, scratch, size, BPF_RB_NO_WAKEUP)) {
		lost = losses();
		if (lost)
			COUNT_ONE(lost->execs_dropped);
	}
	return 0;
}

/* How a record is handed over: the one with which the ring becomes half full wakes somebody up. */
ALWAYS_INLINE u64 wake_up(void)
{
	u64 half = bpf_ringbuf_query(&exits, BPF_RB_RING_SIZE) / 2;
	u64 waiting = bpf_ringbuf_query(&exits, BPF_RB_AVAIL_DATA);

	return waiting >= half && waiting - half < WAKE_BYTES ? BPF_RB_FORCE_WAKEUP
							      : BPF_RB_NO_WAKEUP;
}

ALWAYS_INLINE void add_to_spill(struct spill *spill, const struct task_struct *task)
{
	const struct task_io_accounting *io = &task->ioac;

	__sync_fetch_and_add(&spill->io.rchar, io->rchar);
	__sync_fetch_and_add(&spill->io.wchar, io->wchar);
	__sync_fetch_and_add(&spill->io.syscr, io->syscr);
	__sync_fetch_and_add(&spill->io.syscw, io->syscw);
	__sync_fetch_and_add(&spill->io.read_bytes, io->read_bytes);
	__sync_fetch_and_add(&spill->io.write_bytes, io->write_bytes);
	__sync_fetch_and_add(&spill->io.cancelled_write_bytes, io->cancelled_write_bytes);
	__sync_fetch_and_add(&spill->usage.utime, task->utime);
	__sync_fetch_and_add(&spill->usage.stime, task->stime);
	__sync_fetch_and_add(&spill->usage.runtime, task->se.sum_exec_runtime);
	__sync_fetch_and_add(&spill->usage.nvcsw, task->nvcsw);
	__sync_fetch_and_add(&spill->usage.nivcsw, task->nivcsw);
	__sync_fetch_and_add(&spill->usage.min_flt, task->min_flt);
	__sync_fetch_and_add(&spill->usage.maj_flt, task->maj_flt);
	COUNT_ONE(spill->count);
}

ALWAYS_INLINE struct spill *spill_in(void *map, const struct record_key *parent)
{
	struct spill *spill = bpf_map_lookup_elem(map, parent);
	struct spill empty = {};

	if (spill)
		return spill;
	/* Whoever comes second finds the first one's. */
	bpf_map_update_elem(map, parent, &empty, BPF_NOEXIST);
	return bpf_map_lookup_elem(map, parent);
}

/* There is no room for a record: what it would have said is added up for the parent. */
static __attribute__((noinline)) int spill(struct task_struct *task,
					   const struct record_key *parent)
{
	struct losses *lost = losses();
	struct spill *spill;

	if (setting() & SETTING_SPILL_ODD)
		spill = spill_in(&spills_odd, parent);
	else
		spill = spill_in(&spills_even, parent);
	if (spill)
		add_to_spill(spill, task);
	if (lost) {
		if (spill)
			COUNT_ONE(lost->spilled);
		else
			COUNT_ONE(lost->dropped);
	}
	return 0;
}

/* Whether the parent has said that it will not wait; as do_notify_parent() decides it. */
ALWAYS_INLINE int is_auto_reaped(const struct task_struct *leader,
				 const struct task_struct *parent)
{
	const struct sigaction *action = &parent->sighand->action[SIGCHLD - 1].sa;
	int signal = leader->exit_signal;

	if (leader->ptrace)
		return 0;
	/* After an exec on either side no other signal is sent. */
	if (leader->parent_exec_id != parent->self_exec_id)
		signal = SIGCHLD;
	if (signal != SIGCHLD)
		return 0;
	return (u64)action->sa_handler == SIG_IGN || (action->sa_flags & SA_NOCLDWAIT);
}

ALWAYS_INLINE int is_group_dead(const u64 *context, const struct signal_struct *signal)
{
	if (FIELD_EXISTS(((struct trace_event_raw_sched_process_exit___tells *)0)->group_dead))
		return (u8)context[1];
	return signal->live.counter == 0;
}

/* Whether a process has a single thread, and never had another. */
ALWAYS_INLINE int is_alone(const struct signal_struct *signal)
{
	return signal->nr_threads == 1 && !signal->sum_sched_runtime;
}

ALWAYS_INLINE void copy_origin(struct record_exit *exit, const struct origin *origin)
{
	if (origin) {
		exit->forker = origin->forker;
		exit->exec = origin->exec;
		exit->exec_time = origin->exec_time;
	} else {
		exit->forker = (struct record_key){};
		exit->exec = (struct record_key){};
		exit->exec_time = 0;
		exit->marks |= EXIT_ORIGIN_UNKNOWN;
	}
}

/* What is found by way of other structures. It is looked up once, before anything is decided: the
 * verifier looks at every way through a program, and at such a step for long. */
struct relatives {
	struct task_struct *leader;
	const struct signal_struct *signal;
	struct record_key parent;
	u32 euid;
};

ALWAYS_INLINE void copy_exit(struct record_exit *exit, const struct task_struct *task,
			     const struct relatives *of)
{
	exit->tid = task->pid;
	exit->tgid = task->tgid;
	exit->start = task->start_boottime;
	exit->leader_start = of->leader->start_boottime;
	exit->parent = of->parent;
	copy_comm(exit->comm, of->leader);
	exit->end = bpf_ktime_get_boot_ns();
	exit->self_exec_id = task->self_exec_id;
	exit->euid = of->euid;
	exit->exit_code = task->exit_code;
	copy_io(&exit->io, &task->ioac);
}

ALWAYS_INLINE void copy_group(struct record_group *group, const struct relatives *of)
{
	const struct signal_struct *signal = of->signal;

	copy_pool(&group->pool, signal);
	group->maxrss_pages = signal->maxrss;
	group->status = signal->flags & SIGNAL_GROUP_EXIT ? signal->group_exit_code
							  : of->leader->exit_code;
	group->zero = 0;
}

struct last_exit {
	struct record_exit exit;
	struct record_group group;
};

/* What the thread itself used, and what those of its process that have ended waited for. */
struct last_sight {
	struct record_usage usage;
	struct record_delays delays;
	u32 delay_marks;
};

/* Remembers with the process that not all waits were counted. */
ALWAYS_INLINE void copy_last_sight(struct last_sight *to, const struct task_struct *task,
				   const struct signal_struct *signal, struct origin *origin)
{
	copy_usage(&to->usage, task);
	to->delay_marks = copy_delays(&to->delays, task);
	/* The kernel has added this thread to the others. */
	to->delay_marks |= copy_delays_of_ended(&to->delays, signal);
	if (!origin)
		return;
	if (to->delay_marks & DELAYS_MISSED)
		origin->misses_delays = 1;
	else if (origin->misses_delays)
		to->delay_marks |= DELAYS_MISSED;
}

/* A record of `size` bytes, which is a constant wherever this is inlined. */
ALWAYS_INLINE struct record_exit *begin_exit(const struct task_struct *task,
					     const struct relatives *of,
					     const struct origin *origin,
					     const struct last_sight *sight, u32 size, u32 marks)
{
	struct record_exit *exit = bpf_ringbuf_reserve(&exits, size, 0);

	if (!exit)
		return NULL;
	exit->header = header_of(RECORD_EXIT, size);
	exit->marks = marks;
	copy_exit(exit, task, of);
	copy_origin(exit, origin);
	exit->usage = sight->usage;
	exit->delays = sight->delays;
	exit->delay_marks = sight->delay_marks;
	return exit;
}

SECTION("tp_btf/sched_process_exit") int write_exit(u64 *context)
{
	struct task_struct *task = (void *)context[0];
	const struct task_struct *seen = untrusted(task);
	const struct task_struct *parent = seen->real_parent;
	struct relatives of = {
		.leader = task->group_leader,
		.signal = seen->signal,
		.parent = key_of(parent),
		.euid = seen->real_cred->euid.val,
	};
	struct origin *origin = origin_of(of.leader, of.signal);
	struct last_sight sight;
	struct record_exit *exit;
	u32 marks = 0;

	if (ROOT && !origin)
		return 0;
	copy_last_sight(&sight, task, of.signal, origin);
	if (is_group_dead(context, of.signal))
		marks = is_auto_reaped(of.leader, parent) ? EXIT_GROUP_DEAD | EXIT_AUTO_REAPED
							  : EXIT_GROUP_DEAD;
	if (origin) {
		__sync_fetch_and_add(&origin->reported, sight.usage.runtime);
		if (marks & EXIT_AUTO_REAPED) {
			origin->is_auto_reaped = 1;
			origin->was_alone = is_alone(of.signal);
		}
	}
	if (marks & EXIT_GROUP_DEAD) {
		exit = begin_exit(task, &of, origin, &sight, sizeof(struct last_exit), marks);
		if (exit)
			copy_group(&((struct last_exit *)exit)->group, &of);
	} else {
		exit = begin_exit(task, &of, origin, &sight, sizeof(struct record_exit), marks);
	}
	if (exit)
		bpf_ringbuf_submit(exit, wake_up());
	else
		spill(task, &of.parent);
	return 0;
}

/* The CPU time of a process is final only here, a while after its exit. Where somebody waits for
 * it, that one gets it all; of an auto-reaped process nobody else will ever hear. */
SECTION("tp_btf/sched_process_free") int write_free(u64 *context)
{
	struct task_struct *task = (void *)context[0];
	const struct signal_struct *signal;
	struct record_free *record;
	struct origin *origin;
	struct losses *lost;

	if (!with_free || task->pid != task->tgid)
		return 0;
	origin = bpf_task_storage_get(&origins, task, NULL, 0);
	if (!origin || !origin->is_auto_reaped)
		return 0;
	record = bpf_ringbuf_reserve(&exits, sizeof(*record), 0);
	if (!record) {
		lost = losses();
		if (lost)
			COUNT_ONE(lost->tails_dropped);
		return 0;
	}
	signal = untrusted(task)->signal;
	record->header = header_of(RECORD_FREE, sizeof(*record));
	record->key = (struct record_key){ .tgid = task->tgid, .start = task->start_boottime };
	/* What was added up for the process is from before its last thread let go of the CPU. */
	record->runtime = origin->was_alone ? task->se.sum_exec_runtime : signal->sum_sched_runtime;
	record->utime = signal->utime;
	record->stime = signal->stime;
	record->tail = record->runtime > origin->reported ? record->runtime - origin->reported : 0;
	bpf_ringbuf_submit(record, BPF_RB_NO_WAKEUP);
	return 0;
}
