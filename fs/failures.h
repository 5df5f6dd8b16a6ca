/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FS_FAILURES_H
#define FS_FAILURES_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/*
 * What start/ shows that no run can tell, by the text of the file: the receipts of failed starts,
 * and that somebody removed the receipt of a run. In memory until the unmount, the newest 1,000. A
 * success under the same name makes it void.
 */
struct failures;

struct failure {
	char *text; /* JSON and a newline; NULL: the receipt was removed. The caller's: free() */
	size_t length;
	int64_t at_ns;
	uid_t uid;
};

struct failures *failures_new(void); /* NULL without memory */
void failures_free(struct failures *failures);

/* Takes over `failure->text`; an older one of the name gives way. Without memory nothing is kept.
 */
void failures_add(struct failures *failures, const char *name, const struct failure *failure);

/* Copies one out. Returns -ENOENT, -ENOMEM. */
int failures_get(struct failures *failures, const char *name, struct failure *ret_failure);

/* Returns -ENOENT. */
int failures_remove(struct failures *failures, const char *name);

#endif
