/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FS_CLIENT_H
#define FS_CLIENT_H

#include <stdbool.h>
#include <stddef.h>

/*
 * What `aionfs step`, `sleep` and `wait` have in common: they are clients of a mount, and use the
 * files of a run's directory as any other program would. One thread.
 */

struct client {
	const char *command; /* for messages: "step" */
	const char *run;     /* the run's directory */
};

/*
 * Finds the run: `run`, or when that is NULL what AION_RUN says. Returns false when there is none,
 * which is told already.
 */
bool client_open(struct client *client, const char *command, const char *run);

/* Whether a step, timer or signal can be called so as far as paths go; if not, that is told. */
bool client_check_name(const struct client *client, const char *name);

/*
 * The path of RUN/DIRECTORY/NAME, with `mark` ("" or ".") before the name. Ownership: the caller
 * frees it. Returns NULL when there is no memory, which is told.
 */
char *client_path(const struct client *client, const char *directory, const char *mark,
		  const char *name);

/* Writes all of it. Returns -errno. */
int client_write(int fd, const char *bytes, size_t length);

/*
 * Copies `fd` to stdout until its end; blocks as long as the file does. Nothing is written before
 * something was read. Returns 0, or -errno of reading; when it is stdout that failed, that is told
 * and *ret_is_told true.
 */
int client_print(const struct client *client, int fd, bool *ret_is_told);

/* The run's `error` without its newline; "" when it has none, or we may not read it. Returns
 * `text`. */
#define CLIENT_ERROR_ROOM 4096
const char *client_error(const struct client *client, char text[CLIENT_ERROR_ROOM]);

#endif
