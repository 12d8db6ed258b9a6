/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/*
 * What files.h tells, of those processes alone that are asked for by their IDs: whoever has not
 * run since holds what it held.
 *
 * Descriptors are looked at as they stand in a process's table, a word of the bitmap of open ones
 * at a time, so that neither a large table nor one that is nearly empty keeps others waiting; a
 * run that finds no more room is followed by another one, which goes on there.
 *
 * The traps: nothing keeps the table, a file or a socket from being given to somebody else while
 * it is looked at. So a socket is told only if its file is still in its place once it has been
 * read, and a process only if it still has the table; what was told before of one that has not is
 * taken back by another record of it, that begins at no time. And a file that was opened as a mere
 * path leads to the inode of a socket without being one: it does not bear the socket.
 */
#pragma once

#include "files.h"
#include "survey.h"

#define SOCKFS_MAGIC 0x534F434B

/* Descriptors looked at in one step: those of a word of the bitmap. */
#define SLOTS 64
/* Steps in one run. */
#define STEPS_MAX 2048

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct super_block {
	unsigned long s_magic;
};

struct inode___mounted {
	struct super_block *i_sb;
};

struct file___private {
	void *private_data;
};

struct socket___file {
	struct file *file;
};

struct files_struct___count {
	atomic_t count;
};

struct fdtable___files {
	struct file **fd;
};

#pragma clang attribute pop

/* Adds a record to what is told. */
ALWAYS_INLINE void tell_socket(struct told *told, const struct record_socket *record)
{
	struct record_socket *room = room_for(told, sizeof(*room));

	if (!room)
		return;
	*room = *record;
	told->filled += sizeof(*room);
}

struct slots {
	u64 of[SLOTS]; /* addresses of files; 0: none */
};

struct {
	MAP_NUMBER(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	MAP_NUMBER(max_entries, 1);
	MAP_TYPE(key, u32);
	MAP_TYPE(value, struct slots);
} slots SECTION(".maps");

/* On its way along the descriptors of a process. */
struct slot_walk {
	struct record_socket record; /* filled in but for the socket */
	u64 first; /* the address of the first slot of those looked at */
	u32 slots; /* how many */
	u32 is_lost; /* whether they could not all be read */
};

/* The socket that a file is; NULL where it is none. */
ALWAYS_INLINE const struct socket *socket_of(const struct file *file)
{
	const struct inode___mounted *inode = (const void *)file->f_inode;
	const struct socket___file *socket;

	if (inode->i_sb->s_magic != SOCKFS_MAGIC)
		return NULL;
	socket = bpf_rdonly_cast(((const struct file___private *)file)->private_data,
				 TYPE_NUMBER(struct socket));
	return socket->file == file ? (const void *)socket : NULL;
}

static long look_at_slot(u32 index, struct slot_walk *walk)
{
	struct record_socket *record = &walk->record;
	const struct socket *socket;
	const struct file *file;
	const struct sock *sock;
	struct slots *found;
	struct told *to;
	u32 zero = 0;
	u64 place;

	found = bpf_map_lookup_elem(&slots, &zero);
	to = bpf_map_lookup_elem(&told, &zero);
	if (!found || !to || index >= walk->slots || index >= SLOTS)
		return 1;
	if (!found->of[index])
		return 0;
	file = bpf_rdonly_cast((const void *)found->of[index], TYPE_NUMBER(struct file));
	socket = socket_of(file);
	if (!socket)
		return 0;
	sock = socket->sk;
	if (!sock)
		return 0;
	record->inode = file->f_inode->i_ino;
	record->namespace = namespace_of_socket(sock);
	record->family = sock->__sk_common.skc_family;
	record->protocol = sock->sk_protocol;
	record->port = sock->__sk_common.skc_num;
	record->type = sock->sk_type;
	record->state = sock->__sk_common.skc_state;
	if (bpf_probe_read_kernel(&place, sizeof(place),
				  (const void *)(walk->first + index * sizeof(place)))) {
		walk->is_lost = 1;
		return 1;
	}
	if (place == found->of[index])
		tell_socket(to, record);
	return 0;
}

/* How many bits there are up to the last one that is set. */
ALWAYS_INLINE u32 width_of(u64 word)
{
	word |= word >> 1;
	word |= word >> 2;
	word |= word >> 4;
	word |= word >> 8;
	word |= word >> 16;
	word |= word >> 32;
	return ones(word);
}

/* Looks at up to SLOTS descriptors from this one on; returns the one to go on from, and 0 where
 * there are no more. */
ALWAYS_INLINE u32 look_at_slots(const struct files_struct *files, u32 fd, struct slot_walk *walk,
				struct slots *found)
{
	const struct fdtable *table = files->fdt;
	u32 slots_max = table->max_fds;
	u64 word = 0;

	if (fd >= slots_max)
		return 0;
	walk->first = (u64)((const struct fdtable___files *)table)->fd + fd * sizeof(u64);
	if (bpf_probe_read_kernel(&word, sizeof(word), &table->open_fds[fd / SLOTS]))
		walk->is_lost = 1;
	walk->slots = width_of(word) & (2 * SLOTS - 1);
	if (walk->slots > SLOTS)
		return 0;
	if (bpf_probe_read_kernel(found->of, walk->slots * sizeof(u64), (const void *)walk->first))
		walk->is_lost = 1;
	else
		bpf_loop(walk->slots, look_at_slot, walk, 0);
	return fd + SLOTS < slots_max ? fd + SLOTS : 0;
}

/* On its way along threads that may have descriptors. */
struct users_walk {
	u64 node; /* an address */
	u64 head;
	u64 first; /* the address of the first thread that has some; 0: none so far */
	const struct files_struct *files; /* a table */
	u32 users; /* how many of the threads have this one */
	u32 zero;
};

static long look_at_thread(u32 index, struct users_walk *walk)
{
	const struct task_struct *thread;
	u64 address = walk->node - FIELD_OFFSET(((struct task_struct *)0)->thread_node);

	(void)index;
	if (walk->node == walk->head)
		return 1;
	thread = bpf_rdonly_cast((const void *)address, TYPE_NUMBER(struct task_struct));
	if (thread->files && !walk->first)
		walk->first = address;
	if (thread->files == walk->files)
		walk->users++;
	return bpf_probe_read_kernel(&walk->node, sizeof(walk->node),
				     &thread->thread_node.next) != 0;
}

/* Goes along the threads of a process; whether these are all. */
ALWAYS_INLINE u32 look_at_threads(const struct task_struct *leader, struct users_walk *walk)
{
	u64 signal;

	if (bpf_probe_read_kernel(&signal, sizeof(signal), &leader->signal) || !signal)
		return 0;
	walk->head = signal + FIELD_OFFSET(((struct signal_struct *)0)->thread_head);
	if (bpf_probe_read_kernel(&walk->node, sizeof(walk->node), (const void *)walk->head))
		return 0;
	bpf_loop(THREADS_MAX, look_at_thread, walk, 0);
	return walk->node == walk->head;
}

/* The thread by which the descriptors of a process are seen: the leader, or where that is gone the
 * first other one. Like any task that there is not, it has none where there is none. */
ALWAYS_INLINE const struct task_struct *holding_thread(const struct task_struct *leader)
{
	struct users_walk walk = {};

	if (leader->files)
		return leader;
	look_at_threads(leader, &walk);
	return bpf_rdonly_cast((const void *)walk.first, TYPE_NUMBER(struct task_struct));
}

/* Whether nobody but a process's own threads uses a table. */
ALWAYS_INLINE u32 is_used_alone(const struct task_struct *leader, const struct files_struct *files)
{
	u32 users = ((const struct files_struct___count *)files)->count.counter;
	struct users_walk walk = { .files = files };

	if (users == 1)
		return 1;
	return look_at_threads(leader, &walk) && walk.users == users;
}

/* Tells what a process holds from this descriptor on; returns as look_at_slots() does. */
ALWAYS_INLINE u32 tell_holder(struct told *to, struct slots *found,
			      const struct task_struct *leader, u32 fd)
{
	const struct task_struct *task = holding_thread(leader);
	const struct files_struct *files = task->files;
	struct slot_walk walk = {
		.record = {
			.tgid = leader->tgid,
			.tid = task->pid,
			.start = leader->start_boottime,
		},
	};
	u32 filled = to->filled, next;

	if (files && !fd) {
		walk.record.namespace = namespace_of_process(task);
		if (is_used_alone(leader, files))
			walk.record.state = HOLDER_ALONE;
		tell_socket(to, &walk.record);
	}
	next = files ? look_at_slots(files, fd, &walk, found) : 0;
	if (files && task->files == files && !walk.is_lost)
		return next;
	to->filled = filled;
	if (fd) {
		walk.record.start = 0;
		walk.record.inode = 0;
		tell_socket(to, &walk.record);
	}
	return 0;
}

/* Goes on with the next one; how far that has come stands with it. Not static, as tell_one(). */
__attribute__((noinline)) int tell_next_sockets(u32 count)
{
	u32 zero = 0, next, fd = 0;
	struct task_struct *task;
	struct slots *found;
	struct asks *asks;
	struct told *to;

	if (!with_survey || !with_files)
		return OUTCOME_NO_MORE;
	found = bpf_map_lookup_elem(&slots, &zero);
	asks = bpf_map_lookup_elem(&asked, &zero);
	to = bpf_map_lookup_elem(&told, &zero);
	if (!found || !asks || !to)
		return OUTCOME_NO_MORE;
	next = to->next;
	if (next >= count || next >= ASKED_MAX ||
	    to->filled > TOLD_BYTES - (SLOTS + 1) * sizeof(struct record_socket))
		return OUTCOME_NO_MORE;
	bpf_rcu_read_lock();
	task = bpf_task_from_pid(asks->of[next].tgid);
	if (task) {
		if (task->pid == task->tgid)
			fd = tell_holder(to, found, untrusted(task), asks->of[next].stand);
		bpf_task_release(task);
	}
	bpf_rcu_read_unlock();
	asks->of[next].stand = fd;
	if (!fd)
		to->next = next + 1;
	return OUTCOME_TOLD;
}

static long tell_sockets_of_next(u32 index, struct telling_walk *walk)
{
	(void)index;
	walk->outcome = tell_next_sockets(walk->asked);
	return walk->outcome != OUTCOME_TOLD;
}

SECTION("syscall") int tell_sockets(struct telling *context)
{
	struct telling_walk walk = { .asked = context->asked };
	struct told *to;
	u32 zero = 0;

	if (!with_survey || !with_files)
		return -EPERM;
	to = bpf_map_lookup_elem(&told, &zero);
	if (!to)
		return -EPERM;
	to->next = context->next;
	to->filled = 0;
	bpf_loop(STEPS_MAX, tell_sockets_of_next, &walk, 0);
	return 0;
}
