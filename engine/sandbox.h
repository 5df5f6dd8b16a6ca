/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ENGINE_SANDBOX_H
#define ENGINE_SANDBOX_H

#include <stdint.h>

/*
 * Gives up, for this process and for good, everything but reading its standard input, writing its
 * standard output, computing and asking for memory within the limits.
 * Returns 0, or -1 with errno set and *ret_step saying what could not be given up: the process
 * must then exit without having read a byte.
 * Context: before any thread, before the first byte of the archive.
 */
int sandbox_enter(unsigned cpu_seconds, uint64_t memory_bytes, const char **ret_step);

#endif
