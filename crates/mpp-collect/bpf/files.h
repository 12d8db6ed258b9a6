/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/*
 * Every descriptor of the machine that is a socket, once, with whose it is and in what state. The
 * kernel walks descriptors by process; of threads that share them it walks only the leader's.
 *
 * Each process with descriptors has one record that stands before those of its sockets, so that
 * one without sockets is told from one that was not shown. The reader is
 * `mpp-parse/src/bpf_socket_record.rs`.
 */
#pragma once

#include "kernel.h"

/* Where the kernel refuses the program, it is emptied before it is loaded. */
const volatile u32 with_files = 1;

struct record_socket {
	u32 tgid;
	u32 tid; /* whose descriptors these are: another one than the leader, where that is gone */
	u64 start; /* the process's */
	u32 inode; /* 0: no socket, but the process itself */
	u32 namespace; /* the inode of the socket's network namespace, or of the process's */
	u16 family;
	u16 protocol;
	u16 port; /* its own */
	u8 type;
	u8 state; /* of a process: HOLDER_* */
};

/* Nobody but its own threads uses its descriptors. Said by sockets.h only. */
#define HOLDER_ALONE 1

_Static_assert(sizeof(struct record_socket) == 32, "as in bpf_socket_record.rs");

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct ns_common {
	unsigned int inum;
};

struct net {
	struct ns_common ns;
};

typedef struct {
	struct net *net; /* with CONFIG_NET_NS */
} possible_net_t;

struct sock_common {
	u16 skc_num;
	u16 skc_family;
	u8 skc_state;
	possible_net_t skc_net;
};

struct sock {
	struct sock_common __sk_common;
	u16 sk_type;
	u16 sk_protocol;
};

struct socket {
	struct sock *sk;
};

struct inode {
	unsigned long i_ino;
};

struct file {
	struct inode *f_inode;
};

struct nsproxy {
	struct net *net_ns;
};

struct task_struct___namespaces {
	struct nsproxy *nsproxy;
};

#pragma clang attribute pop

struct bpf_iter__task_file {
	struct bpf_iter_meta *meta;
	struct task_struct *task;
	u32 fd __attribute__((aligned(8)));
	struct file *file;
};

static struct socket *(*bpf_sock_from_file)(struct file *file) = (void *)162;

/* Whose descriptors were walked last, and in which walk. */
struct walker {
	u64 session;
	s32 tid;
	u32 zero;
};

struct {
	MAP_NUMBER(type, BPF_MAP_TYPE_ARRAY);
	MAP_NUMBER(max_entries, 1);
	MAP_TYPE(key, u32);
	MAP_TYPE(value, struct walker);
} walkers SECTION(".maps");

ALWAYS_INLINE u32 namespace_of_process(const struct task_struct *task)
{
	if (!FIELD_EXISTS(((struct sock_common *)0)->skc_net.net))
		return 0;
	return ((const struct task_struct___namespaces *)task)->nsproxy->net_ns->ns.inum;
}

ALWAYS_INLINE u32 namespace_of_socket(const struct sock *sock)
{
	if (!FIELD_EXISTS(((struct sock_common *)0)->skc_net.net))
		return 0;
	return sock->__sk_common.skc_net.net->ns.inum;
}

/* The process's record, before the first of its sockets. */
ALWAYS_INLINE long write_holder(struct seq_file *seq, const struct task_struct *task)
{
	struct record_socket record = {
		.tgid = task->tgid,
		.tid = task->pid,
		.start = task->group_leader->start_boottime,
		.namespace = namespace_of_process(task),
	};

	return bpf_seq_write(seq, &record, sizeof(record));
}

ALWAYS_INLINE long write_held(struct seq_file *seq, const struct task_struct *task,
			      const struct file *file, const struct sock *sock)
{
	struct record_socket record = {
		.tgid = task->tgid,
		.tid = task->pid,
		.start = task->group_leader->start_boottime,
		.inode = file->f_inode->i_ino,
		.namespace = namespace_of_socket(sock),
		.family = sock->__sk_common.skc_family,
		.protocol = sock->sk_protocol,
		.port = sock->__sk_common.skc_num,
		.type = sock->sk_type,
		.state = sock->__sk_common.skc_state,
	};

	return bpf_seq_write(seq, &record, sizeof(record));
}

SECTION("iter/task_file") int write_socket(struct bpf_iter__task_file *context)
{
	struct seq_file *seq = context->meta->seq;
	struct task_struct *task = context->task;
	struct file *file = context->file;
	struct walker *walker;
	struct socket *socket;
	struct sock *sock;
	u32 zero = 0;
	u64 session;

	if (!with_files || !task || !file)
		return 0;
	/* A thread with descriptors of its own is no process. */
	if (task->pid != task->tgid && task->group_leader->files)
		return 0;
	walker = bpf_map_lookup_elem(&walkers, &zero);
	if (!walker)
		return 0;
	session = context->meta->session_id;
	if ((walker->session != session || walker->tid != task->pid) && write_holder(seq, task))
		return 0;
	socket = bpf_sock_from_file(file);
	sock = socket ? socket->sk : NULL;
	if (sock && write_held(seq, task, file, sock))
		return 0;
	/* Only now: where there was no room, the kernel shows it again and takes all of it back. */
	walker->session = session;
	walker->tid = task->pid;
	return 0;
}
