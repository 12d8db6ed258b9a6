/*
 * How cheap can it be? The fewest system calls that a sample of /proc needs, in C,
 * with one static buffer, numbers parsed where they lie, and nothing kept.
 *
 * Per process: openat of its directory, fstat of it (owner), stat, statm and io read
 * whole, and the number of descriptors by fstatat of `fd`. With `--status` also status,
 * for the context switches of the main thread.
 *
 * With `--iterator` nothing of /proc is read, but the records of the BPF task iterator that was
 * attached last on this machine, by whichever program holds it meanwhile: read whole, walked by
 * their lengths, their numbers added, nothing kept. Needs the rights that attaching needs.
 *
 * With `--taskstats` only those are read whose CPU clock has moved since the sample before, and a
 * sixteenth of the others: taskstats by process and by main thread, eight processes to a
 * message, statm, and the numbers of descriptors and threads by fstatat of `fd` and `task`.
 * Needs CAP_NET_ADMIN.
 *
 * Usage: limit [--samples N] [--interval-ms N] [--status | --iterator | --taskstats]
 * Prints one line of KEY=VALUE words.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/genetlink.h>
#include <linux/netlink.h>
#include <linux/taskstats.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { WARM_UPS = 2, BUFFER_BYTES = 64 * 1024 };

static char buffer[BUFFER_BYTES];
static volatile uint64_t sink; /* keeps the compiler from leaving the parsing out */

/* Reads a whole file of a process's directory; returns its length, 0 when it is gone. */
static size_t read_file(int directory, const char *name)
{
	int fd = openat(directory, name, O_RDONLY | O_CLOEXEC);
	ssize_t length;

	if (fd < 0)
		return 0;
	length = read(fd, buffer, sizeof(buffer) - 1);
	close(fd);
	if (length <= 0)
		return 0;
	buffer[length] = '\0';
	return (size_t)length;
}

/* Adds every number of the text to the sink. */
static void take_numbers(const char *text)
{
	uint64_t number = 0, sum = 0;

	for (; *text; text++) {
		if (*text >= '0' && *text <= '9') {
			number = number * 10 + (uint64_t)(*text - '0');
		} else {
			sum += number;
			number = 0;
		}
	}
	sink += sum + number;
}

/* Reads one process; returns whether it was there. */
static int sample_process(int proc, const char *pid, int with_status)
{
	struct stat found;
	int directory = openat(proc, pid, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	const char *end;

	if (directory < 0)
		return 0;
	if (fstat(directory, &found) == 0)
		sink += found.st_uid;
	if (read_file(directory, "stat")) {
		end = strrchr(buffer, ')');
		take_numbers(end ? end : buffer);
	}
	if (read_file(directory, "statm"))
		take_numbers(buffer);
	if (read_file(directory, "io"))
		take_numbers(buffer);
	if (with_status && read_file(directory, "status"))
		take_numbers(buffer);
	if (fstatat(directory, "fd", &found, 0) == 0)
		sink += (uint64_t)found.st_size;
	close(directory);
	return 1;
}

static int bpf(int command, union bpf_attr *attributes)
{
	return (int)syscall(SYS_bpf, command, attributes, sizeof(*attributes));
}

/* Whether a link is that of an iterator over tasks. */
static int is_task_iterator(int link)
{
	char target[16] = "";
	struct bpf_link_info info = { .iter.target_name = (uintptr_t)target,
				      .iter.target_name_len = sizeof(target) };
	union bpf_attr ask = { .info = { .bpf_fd = (uint32_t)link,
					 .info_len = sizeof(info),
					 .info = (uintptr_t)&info } };

	return bpf(BPF_OBJ_GET_INFO_BY_FD, &ask) == 0 && info.type == BPF_LINK_TYPE_ITER &&
	       !strcmp(target, "task");
}

/* The iterator over tasks that was attached last; -1 where there is none, or we may not. */
static int find_iterator(void)
{
	int found = -1;

	for (uint32_t id = 0;;) {
		union bpf_attr next = { .start_id = id };
		union bpf_attr open = {};

		if (bpf(BPF_LINK_GET_NEXT_ID, &next))
			return found;
		id = open.link_id = next.next_id;
		int link = bpf(BPF_LINK_GET_FD_BY_ID, &open);

		if (link >= 0 && is_task_iterator(link)) {
			if (found >= 0)
				close(found);
			found = link;
		} else if (link >= 0) {
			close(link);
		}
	}
}

/* Walks the whole records of the buffer; returns how many bytes of another one are left. Every
 * record begins with kind, version and length; that of a process's leader is a long one. */
static size_t walk_records(size_t length, long *processes)
{
	enum { HEADER = 8, WITH_PROCESS = 152 + 240 };
	size_t begin = 0;
	uint32_t size;

	while (length - begin >= HEADER) {
		memcpy(&size, buffer + begin + 4, sizeof(size));
		if (size < HEADER || size > length - begin)
			break;
		for (size_t at = HEADER; at + 8 <= size; at += 8) {
			uint64_t number;

			memcpy(&number, buffer + begin + at, sizeof(number));
			sink += number;
		}
		*processes += size >= WITH_PROCESS;
		begin += size;
	}
	memmove(buffer, buffer + begin, length - begin);
	return length - begin;
}

/* Reads every task by the iterator; returns how many processes there were. */
static long sample_iterator(int link)
{
	union bpf_attr create = { .iter_create.link_fd = (uint32_t)link };
	int iteration = bpf(BPF_ITER_CREATE, &create);
	long processes = 0;
	size_t kept = 0;

	if (iteration < 0)
		return 0;
	for (;;) {
		ssize_t count = read(iteration, buffer + kept, sizeof(buffer) - kept);

		if (count < 0 && (errno == EAGAIN || errno == EINTR))
			continue;
		if (count <= 0)
			break;
		kept = walk_records(kept + (size_t)count, &processes);
	}
	close(iteration);
	return processes;
}

enum { REQUESTS = 16, SLOT_BYTES = 2048, PIDS = 1 << 22, TURNS = 16 };

/* Asks for one account. */
struct request {
	struct nlmsghdr header;
	struct genlmsghdr command;
	struct nlattr attribute;
	uint32_t id;
};

static int genetlink = -1;
static uint16_t family; /* number of TASKSTATS */
static struct request requests[REQUESTS];
static int asked;
static uint64_t run_time_ns[PIDS]; /* at the sample before, by PID */
static unsigned turn;

/* The payload of the attribute of a kind behind a generic netlink header; NULL without one. */
static const char *find_attribute(const char *message, size_t length, uint16_t kind)
{
	size_t at = NLMSG_HDRLEN + GENL_HDRLEN;

	while (at + NLA_HDRLEN <= length) {
		struct nlattr attribute;

		memcpy(&attribute, message + at, sizeof(attribute));
		if (attribute.nla_len < NLA_HDRLEN || attribute.nla_len > length - at)
			return NULL;
		if (attribute.nla_type == kind)
			return message + at + NLA_HDRLEN;
		at += NLA_ALIGN(attribute.nla_len);
	}
	return NULL;
}

/* Opens the socket and asks for the family's number; returns whether it has one. */
static int open_taskstats(void)
{
	struct {
		struct nlmsghdr header;
		struct genlmsghdr command;
		struct nlattr attribute;
		char name[12];
	} ask = {
		.header = { .nlmsg_len = sizeof(ask),
			    .nlmsg_type = GENL_ID_CTRL,
			    .nlmsg_flags = NLM_F_REQUEST },
		.command = { .cmd = CTRL_CMD_GETFAMILY, .version = 1 },
		.attribute = { .nla_len = NLA_HDRLEN + sizeof(TASKSTATS_GENL_NAME),
			       .nla_type = CTRL_ATTR_FAMILY_NAME },
		.name = TASKSTATS_GENL_NAME,
	};
	const char *number;
	ssize_t length;

	genetlink = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_GENERIC);
	if (genetlink < 0 || send(genetlink, &ask, sizeof(ask), 0) < 0)
		return 0;
	length = recv(genetlink, buffer, sizeof(buffer), 0);
	number = length > 0 ? find_attribute(buffer, (size_t)length, CTRL_ATTR_FAMILY_ID) : NULL;
	if (number)
		memcpy(&family, number, sizeof(family));
	return number != NULL;
}

/* Sends what has been put together with one call, and takes the answers with another. */
static void take_accounts(void)
{
	struct mmsghdr messages[REQUESTS] = {};
	struct iovec slots[REQUESTS];
	int missing = asked;

	if (send(genetlink, requests, (size_t)asked * sizeof(*requests), 0) < 0)
		missing = 0;
	for (int i = 0; i < REQUESTS; i++) {
		slots[i] = (struct iovec){ buffer + i * SLOT_BYTES, SLOT_BYTES };
		messages[i].msg_hdr.msg_iov = &slots[i];
		messages[i].msg_hdr.msg_iovlen = 1;
	}
	while (missing > 0) {
		int count = recvmmsg(genetlink, messages, (unsigned)missing, MSG_DONTWAIT, NULL);

		if (count <= 0)
			break;
		for (int i = 0; i < count; i++)
			for (size_t at = 0; at + 8 <= messages[i].msg_len; at += 8) {
				uint64_t number;

				memcpy(&number, buffer + i * SLOT_BYTES + at, sizeof(number));
				sink += number;
			}
		missing -= count;
	}
	asked = 0;
}

static void ask_account(uint16_t kind, uint32_t id)
{
	requests[asked++] = (struct request){
		.header = { .nlmsg_len = sizeof(struct request),
			    .nlmsg_type = family,
			    .nlmsg_flags = NLM_F_REQUEST },
		.command = { .cmd = TASKSTATS_CMD_GET, .version = TASKSTATS_GENL_VERSION },
		.attribute = { .nla_len = NLA_HDRLEN + sizeof(uint32_t), .nla_type = kind },
		.id = id,
	};
}

/* Whether a process has run since the sample before, or it is its turn all the same. */
static int is_to_be_read(uint32_t pid)
{
	struct timespec time = {};
	uint64_t now, before = run_time_ns[pid % PIDS];

	/* Its CPU clock, as clock_getcpuclockid(3) makes it, without the look whether it is there. */
	if (clock_gettime((clockid_t)(~pid << 3 | 2), &time))
		return 1;
	now = (uint64_t)time.tv_sec * 1000000000 + (uint64_t)time.tv_nsec + 1;
	run_time_ns[pid % PIDS] = now;
	return now != before || pid % TURNS == turn % TURNS;
}

/* Asks for one process, where anything can have changed; returns whether it was there. */
static int sample_account(int proc, const char *pid)
{
	char name[32];
	struct stat found;
	uint32_t number = (uint32_t)strtoul(pid, NULL, 10);

	if (!is_to_be_read(number))
		return 1;
	ask_account(TASKSTATS_CMD_ATTR_TGID, number);
	ask_account(TASKSTATS_CMD_ATTR_PID, number);
	if (asked == REQUESTS)
		take_accounts();
	snprintf(name, sizeof(name), "%u/statm", number);
	if (read_file(proc, name))
		take_numbers(buffer);
	snprintf(name, sizeof(name), "%u/fd", number);
	if (fstatat(proc, name, &found, 0) == 0)
		sink += (uint64_t)found.st_size;
	snprintf(name, sizeof(name), "%u/task", number);
	if (fstatat(proc, name, &found, 0))
		return 0;
	sink += (uint64_t)found.st_nlink + found.st_uid;
	return 1;
}

/* Reads every process; returns how many there were. */
static long sample_proc(int with_status)
{
	DIR *proc = opendir("/proc");
	struct dirent *entry;
	long processes = 0;

	if (!proc)
		return 0;
	while ((entry = readdir(proc)))
		if (entry->d_name[0] >= '1' && entry->d_name[0] <= '9')
			processes += genetlink < 0 ?
				sample_process(dirfd(proc), entry->d_name, with_status) :
				sample_account(dirfd(proc), entry->d_name);
	closedir(proc);
	if (asked)
		take_accounts();
	turn++;
	return processes;
}

static long sample(int with_status, int iterator)
{
	return iterator < 0 ? sample_proc(with_status) : sample_iterator(iterator);
}

static double cpu_us(void)
{
	struct rusage usage;

	getrusage(RUSAGE_SELF, &usage);
	return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1e6 +
	       (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
}

/* A line of this program's status, in KiB. */
static long status_kib(const char *key)
{
	int self = open("/proc/self", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	const char *line;
	long kib = 0;

	if (self >= 0 && read_file(self, "status") && (line = strstr(buffer, key)))
		kib = strtol(line + strlen(key), NULL, 10);
	if (self >= 0)
		close(self);
	return kib;
}

int main(int argc, char **argv)
{
	long samples = 10, interval_ms = 1000, processes = 0;
	int with_status = 0, iterator = -1;
	double before;

	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--status")) {
			with_status = 1;
		} else if (!strcmp(argv[i], "--iterator")) {
			iterator = find_iterator();
			if (iterator < 0) {
				fputs("error: no BPF iterator over tasks is attached\n", stderr);
				return 1;
			}
		} else if (!strcmp(argv[i], "--taskstats")) {
			if (!open_taskstats()) {
				fputs("error: taskstats do not answer\n", stderr);
				return 1;
			}
		} else if (!strcmp(argv[i], "--samples") && i + 1 < argc) {
			samples = strtol(argv[++i], NULL, 10);
		} else if (!strcmp(argv[i], "--interval-ms") && i + 1 < argc) {
			interval_ms = strtol(argv[++i], NULL, 10);
		} else {
			fprintf(stderr, "error: unexpected argument `%s`\n", argv[i]);
			return 2;
		}
	}
	struct timespec pause = { interval_ms / 1000, interval_ms % 1000 * 1000000 };

	for (int i = 0; i < WARM_UPS; i++) {
		sample(with_status, iterator);
		nanosleep(&pause, NULL);
	}
	before = cpu_us();
	for (long i = 0; i < samples; i++) {
		processes += sample(with_status, iterator);
		nanosleep(&pause, NULL);
	}
	if (processes == 0)
		return 1;
	printf("cpu_us_per_process=%.3f processes=%ld peak_rss_kib=%ld anonymous_kib=%ld\n",
	       (cpu_us() - before) / (double)processes, processes / samples,
	       status_kib("VmHWM:"), status_kib("RssAnon:"));
	return 0;
}
