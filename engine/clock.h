/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ENGINE_CLOCK_H
#define ENGINE_CLOCK_H

#include <stdint.h>

#define CLOCK_TEXT 32

/* Nanoseconds since 1970, as the machine's wall clock has it. */
int64_t clock_wall_ns(void);

/* Nanoseconds of a clock that is never set; for durations only. */
int64_t clock_monotonic_ns(void);

/* Writes "2026-11-24T17:56:32.123Z" (RFC 3339, UTC). Returns `text`. */
char *clock_format(int64_t wall_ns, char text[CLOCK_TEXT]);

/* Reads what clock_format wrote; anything else is 0. */
int64_t clock_parse(const char *text);

#endif
