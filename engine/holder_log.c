/* SPDX-License-Identifier: Apache-2.0 */
/* The ring of a run's log: NAME, and the older NAME.1. One holder writes it at a time. */
#include "engine/holder_log.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

void holder_log_init(struct holder_log *log, int directory, const char *name)
{
	*log = (struct holder_log){.directory = directory, .name = name, .file = -1};
}

static void open_file(struct holder_log *log)
{
	struct stat info;

	log->file = openat(log->directory, log->name,
			   O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW | O_CLOEXEC | O_NOCTTY, 0600);
	log->size = log->file >= 0 && fstat(log->file, &info) == 0 ? (uint64_t)info.st_size : 0;
}

static void rotate(struct holder_log *log)
{
	char older[NAME_MAX + 3];

	snprintf(older, sizeof(older), "%s.1", log->name);
	/* Where the old part cannot be kept it is given up: the ring stays bounded. */
	if (renameat(log->directory, log->name, log->directory, older) < 0)
		(void)!ftruncate(log->file, 0);
	close(log->file);
	open_file(log);
}

/* Writes as much as fits into the file. Returns how much, 0 when it cannot be written. */
static size_t write_part(struct holder_log *log, const char *bytes, size_t length)
{
	ssize_t written;

	if (log->size >= HOLDER_LOG_BYTES)
		rotate(log);
	if (log->file < 0 || log->size >= HOLDER_LOG_BYTES)
		return 0;
	if (length > HOLDER_LOG_BYTES - log->size)
		length = HOLDER_LOG_BYTES - log->size;
	do
		written = write(log->file, bytes, length);
	while (written < 0 && errno == EINTR);
	if (written <= 0)
		return 0;
	log->size += (uint64_t)written;
	return (size_t)written;
}

void holder_log_write(struct holder_log *log, const char *bytes, size_t length)
{
	if (log->file < 0)
		open_file(log);
	while (length > 0) {
		size_t written = write_part(log, bytes, length);

		if (written == 0)
			return;
		bytes += written;
		length -= written;
	}
}
