/* SPDX-License-Identifier: Apache-2.0 */
/* Owns the questions to /proc about the task behind a request. */
#include "fs/task.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FIELD_STATE 3
#define FIELD_FLAGS 9
#define FIELD_EXIT_CODE 52
#define EXITING 0x4ul
#define SIGNAL_MASK 0x7ful

static bool read_file(pid_t task, const char *name, char *text, size_t size)
{
	char path[64];
	ssize_t length;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/%s", (int)task, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	length = read(fd, text, size - 1);
	close(fd);
	text[length > 0 ? length : 0] = '\0';
	return length > 0;
}

/* `at` is behind the command's name, field 2, which may have blanks and parentheses in it. */
static const char *find_field(const char *at, int field)
{
	for (int i = 2; at && i < field; i++) {
		at = strchr(at, ' ');
		at = at ? at + 1 : NULL;
	}
	return at ? at : "";
}

bool task_is_dying(pid_t task)
{
	char text[2048];
	const char *at;

	if (task <= 0 || !read_file(task, "stat", text, sizeof(text)))
		return false;
	at = strrchr(text, ')');
	return at && (strtoul(find_field(at, FIELD_FLAGS), NULL, 10) & EXITING) &&
	       (strtoul(find_field(at, FIELD_EXIT_CODE), NULL, 10) & SIGNAL_MASK);
}

pid_t task_process(pid_t task)
{
	char text[2048];
	const char *at;

	if (task <= 0 || !read_file(task, "status", text, sizeof(text)))
		return 0;
	at = strstr(text, "\nTgid:");
	return at ? (pid_t)strtol(at + strlen("\nTgid:"), NULL, 10) : 0;
}

bool task_is_running(pid_t process)
{
	char text[2048];
	const char *at;

	if (process <= 0 || !read_file(process, "stat", text, sizeof(text)))
		return false;
	at = strrchr(text, ')');
	return at && !strchr("ZX", find_field(at, FIELD_STATE)[0]) &&
	       !(strtoul(find_field(at, FIELD_FLAGS), NULL, 10) & EXITING);
}
