/* SPDX-License-Identifier: Apache-2.0 */
/* Owns the questions to /proc about the task behind a request. */
#include "fs/task.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FIELD_FLAGS 9
#define FIELD_EXIT_CODE 52
#define EXITING 0x4ul
#define SIGNAL_MASK 0x7ful

static bool read_stat(pid_t task, char *text, size_t size)
{
	char path[64];
	ssize_t length;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)task);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	length = read(fd, text, size - 1);
	close(fd);
	text[length > 0 ? length : 0] = '\0';
	return length > 0;
}

/* `at` is behind the command's name, field 2, which may have blanks and parentheses in it. */
static unsigned long read_field(const char *at, int field)
{
	for (int i = 2; at && i < field; i++) {
		at = strchr(at, ' ');
		at = at ? at + 1 : NULL;
	}
	return at ? strtoul(at, NULL, 10) : 0;
}

bool task_is_dying(pid_t task)
{
	char text[2048];
	const char *at;

	if (task <= 0 || !read_stat(task, text, sizeof(text)))
		return false;
	at = strrchr(text, ')');
	return at && (read_field(at, FIELD_FLAGS) & EXITING) &&
	       (read_field(at, FIELD_EXIT_CODE) & SIGNAL_MASK);
}
