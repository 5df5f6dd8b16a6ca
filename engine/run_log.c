/* SPDX-License-Identifier: Apache-2.0 */
/* Reading a run's log while its holder writes it: the files are opened for each look. */
#include "engine/run_log.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define LINE_LOOK 1024

char *run_log_name(uint64_t run, char name[RUN_LOG_NAME])
{
	snprintf(name, RUN_LOG_NAME, "%" PRIu64, run);
	return name;
}

/* Both parts, the older first; -1 for one that is not there. */
struct parts {
	int fds[2];
	uint64_t sizes[2];
};

static int open_part(int directory, const char *name, int *ret_fd, uint64_t *ret_size)
{
	struct stat attributes;

	*ret_size = 0;
	*ret_fd = openat(directory, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (*ret_fd < 0)
		return errno == ENOENT ? 0 : -EIO;
	if (fstat(*ret_fd, &attributes) < 0)
		return -EIO;
	*ret_size = (uint64_t)attributes.st_size;
	return 0;
}

static int open_parts(int directory, uint64_t run, struct parts *parts)
{
	char name[RUN_LOG_NAME], older[RUN_LOG_NAME + 2];
	int error;

	parts->fds[1] = -1;
	snprintf(older, sizeof(older), "%s.1", run_log_name(run, name));
	error = open_part(directory, older, &parts->fds[0], &parts->sizes[0]);
	return error ? error : open_part(directory, name, &parts->fds[1], &parts->sizes[1]);
}

static void close_parts(struct parts *parts)
{
	for (int i = 0; i < 2; i++) {
		if (parts->fds[i] >= 0)
			close(parts->fds[i]);
	}
}

int run_log_size(int directory, uint64_t run, uint64_t *ret_size)
{
	struct parts parts;
	int error = open_parts(directory, run, &parts);

	if (!error)
		*ret_size = parts.sizes[0] + parts.sizes[1];
	close_parts(&parts);
	return error;
}

static ssize_t read_part(const struct parts *parts, int i, uint64_t offset, char *buffer,
			 size_t size)
{
	ssize_t got;

	if (offset >= parts->sizes[i])
		return 0;
	if (size > parts->sizes[i] - offset)
		size = (size_t)(parts->sizes[i] - offset);
	do
		got = pread(parts->fds[i], buffer, size, (off_t)offset);
	while (got < 0 && errno == EINTR);
	return got < 0 ? -EIO : got;
}

static ssize_t read_parts(const struct parts *parts, uint64_t offset, char *buffer, size_t size)
{
	ssize_t first = read_part(parts, 0, offset, buffer, size), second;

	if (first < 0 || (size_t)first == size)
		return first;
	offset = offset > parts->sizes[0] ? offset - parts->sizes[0] : 0;
	second = read_part(parts, 1, offset, buffer + first, size - (size_t)first);
	return second < 0 ? second : first + second;
}

ssize_t run_log_read(int directory, uint64_t run, uint64_t offset, char *buffer, size_t size)
{
	struct parts parts;
	ssize_t result = open_parts(directory, run, &parts);

	if (result == 0)
		result = read_parts(&parts, offset, buffer, size);
	close_parts(&parts);
	return result;
}

void run_log_last_line(int directory, uint64_t run, char *line, size_t room)
{
	char tail[LINE_LOOK + 1], *begin;
	uint64_t size = 0;
	ssize_t got = -1;

	line[0] = '\0';
	if (run_log_size(directory, run, &size) == 0 && size)
		got = run_log_read(directory, run, size > LINE_LOOK ? size - LINE_LOOK : 0, tail,
				   LINE_LOOK);
	while (got > 0 && tail[got - 1] == '\n')
		got--;
	if (got <= 0)
		return;
	tail[got] = '\0';
	begin = memrchr(tail, '\n', (size_t)got);
	begin = begin ? begin + 1 : tail;
	if (strlen(begin) >= room)
		begin += strlen(begin) - room + 1;
	strcpy(line, begin);
}

void run_log_remove(int directory, uint64_t run)
{
	char name[RUN_LOG_NAME], older[RUN_LOG_NAME + 2];

	snprintf(older, sizeof(older), "%s.1", run_log_name(run, name));
	unlinkat(directory, older, 0);
	unlinkat(directory, name, 0);
}

static int compare_numbers(const void *left, const void *right)
{
	uint64_t a = *(const uint64_t *)left, b = *(const uint64_t *)right;

	return (a > b) - (a < b);
}

/* Whose log a file is; 0 for one that is no log. */
static uint64_t run_of(const char *name)
{
	char *end;
	uint64_t run;

	if (name[0] < '1' || name[0] > '9')
		return 0;
	run = strtoull(name, &end, 10);
	return *end == '\0' || strcmp(end, ".1") == 0 ? run : 0;
}

int run_log_sweep(int directory, const uint64_t *runs, size_t count)
{
	int copy = fcntl(directory, F_DUPFD_CLOEXEC, 0);
	DIR *logs = copy < 0 ? NULL : fdopendir(copy);
	struct dirent *entry;

	if (!logs) {
		if (copy >= 0)
			close(copy);
		return -EIO;
	}
	rewinddir(logs);
	while ((entry = readdir(logs))) {
		uint64_t run = run_of(entry->d_name);

		if (run && !(count && bsearch(&run, runs, count, sizeof(run), compare_numbers)))
			unlinkat(directory, entry->d_name, 0);
	}
	closedir(logs);
	return 0;
}

void run_log_tidy(int directory, uint64_t run)
{
	uint64_t size;

	if (run_log_size(directory, run, &size) == 0 && size == 0)
		run_log_remove(directory, run);
}
