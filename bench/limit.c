/*
 * How cheap can it be? The fewest system calls that a sample of /proc needs, in C,
 * with one static buffer, numbers parsed where they lie, and nothing kept.
 *
 * Per process: openat of its directory, fstat of it (owner), stat, statm and io read
 * whole, and the number of descriptors by fstatat of `fd`. With `--status` also status,
 * for the context switches of the main thread.
 *
 * Usage: limit [--samples N] [--interval-ms N] [--status]
 * Prints one line of KEY=VALUE words.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
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

/* Reads every process; returns how many there were. */
static long sample(int with_status)
{
	DIR *proc = opendir("/proc");
	struct dirent *entry;
	long processes = 0;

	if (!proc)
		return 0;
	while ((entry = readdir(proc)))
		if (entry->d_name[0] >= '1' && entry->d_name[0] <= '9')
			processes += sample_process(dirfd(proc), entry->d_name, with_status);
	closedir(proc);
	return processes;
}

static double cpu_us(void)
{
	struct rusage usage;

	getrusage(RUSAGE_SELF, &usage);
	return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1e6 +
	       (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
}

/* The most memory that this program held, in KiB: VmHWM of its status. */
static long peak_rss_kib(void)
{
	int self = open("/proc/self", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	const char *line;
	long kib = 0;

	if (self >= 0 && read_file(self, "status") && (line = strstr(buffer, "VmHWM:")))
		kib = strtol(line + 6, NULL, 10);
	if (self >= 0)
		close(self);
	return kib;
}

int main(int argc, char **argv)
{
	long samples = 10, interval_ms = 1000, processes = 0;
	int with_status = 0;
	double before;

	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--status")) {
			with_status = 1;
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
		sample(with_status);
		nanosleep(&pause, NULL);
	}
	before = cpu_us();
	for (long i = 0; i < samples; i++) {
		processes += sample(with_status);
		nanosleep(&pause, NULL);
	}
	if (processes == 0)
		return 1;
	printf("cpu_us_per_process=%.3f processes=%ld peak_rss_kib=%ld\n",
	       (cpu_us() - before) / (double)processes, processes / samples, peak_rss_kib());
	return 0;
}
