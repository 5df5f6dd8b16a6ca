/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORE_REASON_H
#define STORE_REASON_H

#include <stddef.h>

/*
 * Why something was refused: a stable code for programs, a message for people, and the entry of
 * the archive that it is about. The same text reaches the receipt, the log and stderr.
 *
 * A struct reason lives on the caller's stack, begins zeroed (`struct reason reason = {0};`) and
 * owns nothing. Functions that take one accept NULL when the caller has nobody to tell.
 */
struct reason {
	int error;         /* positive errno, 0 while nothing went wrong */
	char code[32];     /* "archive_corrupt": part of the contract, never reworded */
	char message[640]; /* names the file, the entry and the limit; UTF-8, no newline */
	char entry[256];   /* the entry at fault, unprintable bytes escaped; "" when there is none */
};

/*
 * Fills in a reason; an earlier one is overwritten. `error` is a positive errno.
 * Returns -error, so that a caller can write `return reason_set(reason, EBADMSG, ...)`.
 */
int reason_set(struct reason *reason, int error, const char *code, const char *format, ...)
	__attribute__((format(printf, 4, 5)));

/*
 * Names the entry at fault. `path` is raw bytes; what is not printable ASCII is written \ooo, and
 * a long path is cut in its middle. Does nothing for a NULL reason.
 */
void reason_name_entry(struct reason *reason, const char *path, size_t length);

/* Puts "prefix: " before the message, for a caller that knows which file it is about. */
void reason_prefix(struct reason *reason, const char *prefix);

#endif
