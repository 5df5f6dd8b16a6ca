/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ENGINE_RUN_LOG_H
#define ENGINE_RUN_LOG_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/*
 * What a run's attempts wrote to stderr: two files under STATE/logs that the holder writes in
 * turns, "NUMBER" and, older, "NUMBER.1" (engine/attempt.h). Read as one, the older first.
 */
#define RUN_LOG_NAME 32

/* The name of a run's log under `directory`. Returns `name`. */
char *run_log_name(uint64_t run, char name[RUN_LOG_NAME]);

/* Returns -EIO. A run that wrote nothing has 0 bytes. */
int run_log_size(int directory, uint64_t run, uint64_t *ret_size);

/* Returns the number of bytes, 0 at the end, -EIO. */
ssize_t run_log_read(int directory, uint64_t run, uint64_t offset, char *buffer, size_t size);

/* The last line, without its newline, cut in front to fit; "" when there is none. */
void run_log_last_line(int directory, uint64_t run, char *line, size_t room);

/* Removes both files; absent ones are fine. */
void run_log_remove(int directory, uint64_t run);

/*
 * Removes the logs of all runs but those whose numbers are given, sorted: of runs that were removed
 * when the machine stopped. Returns -EIO.
 */
int run_log_sweep(int directory, const uint64_t *runs, size_t count);

/* Removes the log when there is nothing in it. */
void run_log_tidy(int directory, uint64_t run);

#endif
