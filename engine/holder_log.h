/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ENGINE_HOLDER_LOG_H
#define ENGINE_HOLDER_LOG_H

#include <stddef.h>
#include <stdint.h>

/* When a log is so large, it becomes NAME.1 and a new one begins: a run keeps at most twice that.
 */
#define HOLDER_LOG_BYTES (UINT64_C(1) << 20)

/*
 * The ring that holds what all attempts of a run wrote to stderr. Nobody is told of an error: a
 * full disk must not stop a workflow, so bytes that cannot be written are dropped, and the next
 * ones are tried again.
 */
struct holder_log {
	int directory;	  /* borrowed */
	const char *name; /* borrowed */
	int file;	  /* -1: none is open */
	uint64_t size;
};

/* Opens nothing yet: a run that says nothing has no log. */
void holder_log_init(struct holder_log *log, int directory, const char *name);

/* Appends bytes. */
void holder_log_write(struct holder_log *log, const char *bytes, size_t length);

#endif
