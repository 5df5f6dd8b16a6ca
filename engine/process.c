/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads /proc. The tree of descendants comes from /proc/PID/task/TID/children, which costs as much
 * as the tree is large; a kernel without these files (CONFIG_PROC_CHILDREN) is read whole.
 */
#include "engine/process.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <unistd.h>

/* A chain of parents that is longer belongs to somebody who wants to keep us busy. */
#define GENERATIONS_MAX 256

#define PASS_MAX 4096

static int read_small(const char *path, char *text, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t length;

	if (fd < 0)
		return errno == ENOENT ? -ESRCH : -errno;
	length = read(fd, text, size - 1);
	if (length < 0)
		length = -errno; /* ESRCH: it ended in between */
	close(fd);
	if (length < 0)
		return (int)length;
	text[length] = '\0';
	return 0;
}

/* Field `number` of proc(5)'s /proc/PID/stat; `text` begins with the third one, the state. */
static uint64_t field(const char *text, int number)
{
	for (int i = 3; i < number; i++) {
		text = strchr(text, ' ');
		if (!text)
			return 0;
		text++;
	}
	return strtoull(text, NULL, 10);
}

int process_stat(pid_t pid, struct process_stat *ret_stat)
{
	char path[48], text[1024];
	const char *fields;
	int result;

	if (pid <= 0)
		return -ESRCH;
	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	result = read_small(path, text, sizeof(text));
	if (result < 0)
		return result;
	/* The name is the process's own choice, parentheses included: the last one ends it. */
	fields = strrchr(text, ')');
	if (!fields || fields[1] != ' ')
		return -EBADMSG;
	fields += 2;
	*ret_stat = (struct process_stat){
	    .state = fields[0],
	    .parent = (pid_t)field(fields, 4),
	    .cpu_ticks = field(fields, 14) + field(fields, 15),
	    .waited_ticks = field(fields, 16) + field(fields, 17),
	    .start_ticks = field(fields, 22),
	};
	return 0;
}

bool process_descends(pid_t pid, pid_t ancestor)
{
	struct process_stat stat;

	if (pid <= 0 || ancestor <= 0)
		return false;
	for (int i = 0; i < GENERATIONS_MAX; i++) {
		if (process_stat(pid, &stat) < 0)
			return false;
		if (stat.parent == ancestor)
			return true;
		if (stat.parent <= 1)
			return false;
		pid = stat.parent;
	}
	return false;
}

/* One thread's children: their ids, with a space behind each. */
static size_t read_children(const char *path, pid_t *list, size_t room)
{
	FILE *file = fopen(path, "re");
	size_t count = 0, size = 0;
	char *word = NULL;

	if (!file)
		return 0;
	while (count < room && getdelim(&word, &size, ' ', file) > 0)
		list[count++] = (pid_t)strtol(word, NULL, 10);
	free(word);
	fclose(file);
	return count;
}

/* Which of a process's threads began a child is of no interest, but the kernel keeps them apart. */
static size_t list_children(pid_t pid, pid_t *list, size_t room)
{
	const struct dirent *entry;
	size_t count = 0;
	char path[320];
	DIR *threads;

	snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
	threads = opendir(path);
	if (!threads)
		return 0;
	while ((entry = readdir(threads)) && count < room) {
		if (entry->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "/proc/%d/task/%s/children", (int)pid, entry->d_name);
		count += read_children(path, list + count, room - count);
	}
	closedir(threads);
	return count;
}

static size_t search_everything(pid_t ancestor, pid_t *list, size_t room)
{
	DIR *processes = opendir("/proc");
	const struct dirent *entry;
	size_t count = 0;

	if (!processes)
		return 0;
	while ((entry = readdir(processes)) && count < room) {
		pid_t pid = (pid_t)strtol(entry->d_name, NULL, 10);

		if (process_descends(pid, ancestor))
			list[count++] = pid;
	}
	closedir(processes);
	return count;
}

size_t process_descendants(pid_t ancestor, pid_t *list, size_t room)
{
	size_t count;

	if (access("/proc/thread-self/children", F_OK) < 0)
		return search_everything(ancestor, list, room);
	count = list_children(ancestor, list, room);
	for (size_t i = 0; i < count; i++)
		count += list_children(list[i], list + count, room - count);
	return count;
}

/*
 * The pidfd stands for whoever has the id when it is opened. If that one descends from the ancestor
 * it is meant; if it ended in between, the signal goes nowhere.
 */
static bool kill_one(pid_t pid, pid_t ancestor)
{
	struct process_stat stat;
	int pidfd = pidfd_open(pid, 0);
	bool alive = false;

	if (pidfd < 0)
		return false;
	if (process_stat(pid, &stat) == 0 &&
	    (stat.parent == ancestor || process_descends(stat.parent, ancestor))) {
		/* A zombie may have threads that live: it gets the signal too. */
		pidfd_send_signal(pidfd, SIGKILL, NULL, 0);
		alive = stat.state != 'Z';
	}
	close(pidfd);
	return alive;
}

size_t process_kill_descendants(pid_t ancestor)
{
	pid_t list[PASS_MAX];
	size_t count = process_descendants(ancestor, list, PASS_MAX), alive = 0;

	for (size_t i = 0; i < count; i++)
		alive += kill_one(list[i], ancestor) ? 1 : 0;
	return alive;
}
