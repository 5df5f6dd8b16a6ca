/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is to be known of a running attempt: whether a task is of it, and what it uses.
 *
 * A PID namespace lives as long as a process id in it is referred to; the attempt's pidfd does. So
 * the inode of the namespace is the attempt's alone until it is collected.
 */
#include "engine/attempt.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/nsfs.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/process.h"

/* How deep the kernel lets them nest (MAX_PID_NS_LEVEL). */
#define NAMESPACES_MAX 32

/* Of more processes than these the CPU is not counted; they are counted when somebody waits. */
#define PROCESSES_MAX 4096

static bool is_namespace(int fd, uint64_t inode)
{
	struct stat info;

	return fstat(fd, &info) == 0 && info.st_ino == inode;
}

/* Whether a namespace is the given one or in it. Ours has no parent that we may see: EPERM. */
static bool is_within(int fd, uint64_t inode)
{
	bool found = is_namespace(fd, inode);

	for (int i = 0; !found && i < NAMESPACES_MAX; i++) {
		int parent = ioctl(fd, NS_GET_PARENT);

		close(fd);
		if (parent < 0)
			return false;
		fd = parent;
		found = is_namespace(fd, inode);
	}
	close(fd);
	return found;
}

bool attempt_contains(const struct attempt *attempt, pid_t task)
{
	char path[48];
	int fd;

	if (task <= 0 || attempt->holder <= 0)
		return false;
	if (attempt->namespace_inode == 0)
		return process_descends(task, attempt->holder);
	snprintf(path, sizeof(path), "/proc/%d/ns/pid", (int)task);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0) /* EACCES: root without CAP_SYS_PTRACE */
		return errno == EACCES && process_descends(task, attempt->holder);
	return is_within(fd, attempt->namespace_inode);
}

/*
 * utime and stime: all threads of a process, those that ended too, in ticks of 10 ms that are cut
 * off from the exact time; what is cut off comes later, once it makes a tick. Whoever is waited for
 * moves from its own account to its parent's. Children are read before their parents: one that is
 * waited for in between is counted twice for once, rather than missed.
 */
int attempt_cpu_ns(const struct attempt *attempt, uint64_t *ret_ns)
{
	pid_t list[PROCESSES_MAX];
	struct process_stat process;
	uint64_t ticks = 0;
	size_t count;

	if (attempt->holder <= 0)
		return -ESRCH;
	count = process_descendants(attempt->holder, list, PROCESSES_MAX);
	while (count-- > 0) {
		if (process_stat(list[count], &process) == 0)
			ticks += process.cpu_ticks + process.waited_ticks;
	}
	if (process_stat(attempt->holder, &process) < 0 || process.state == 'Z')
		return -ESRCH;
	ticks += process.waited_ticks;
	*ret_ns = ticks * (UINT64_C(1000000000) / (uint64_t)sysconf(_SC_CLK_TCK));
	return 0;
}
