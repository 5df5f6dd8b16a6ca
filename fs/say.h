/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FS_SAY_H
#define FS_SAY_H

#include <stdbool.h>
#include <stdint.h>

#include "store/reason.h"

/* What the commands tell a person on stderr. One thread. */

/* Prints "aionfs: message" and a newline. */
void say(const char *format, ...) __attribute__((format(printf, 1, 2)));

/*
 * Prints a reason as "aionfs: subject: message (code)", with the entry at fault where there is one.
 * `subject` may be NULL. `error` (0 or a negative errno) speaks for a reason that was left empty.
 */
void say_reason(const char *subject, const struct reason *reason, int error);

/*
 * How far long work is, on one line that is overwritten; only when stderr is a terminal, and only
 * once it takes longer than a second. `total` 0: not known. `unit` is a word for what is counted.
 */
void say_progress(const char *what, uint64_t done, uint64_t total, const char *unit);

/* Wipes the progress line; called by say too. */
void say_progress_end(void);

/* Writes bytes as "1.4 GiB" into a buffer of SAY_BYTES. Returns `text`. */
#define SAY_BYTES 32
char *say_bytes(uint64_t bytes, char text[SAY_BYTES]);

/*
 * Flushes stdout and tells when what was printed could not be written (a full disk, a closed
 * pipe). Returns `code`, or EXIT_FAILED.
 */
int say_finish(int code);

#endif
