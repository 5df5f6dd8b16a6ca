/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_FUZZ_FUZZ_H
#define TESTS_FUZZ_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

/*
 * What a fuzzer consists of. The same file is built twice: with replay.c as a test that runs always, and
 * with libFuzzer for whoever wants to search longer (tests/fuzz/meson.build).
 */

/* One input. Aborts when something that must hold for every input does not. Returns 0. */
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

/* An input to begin with: NULL behind the last. */
const char *fuzz_seed(size_t number, size_t *ret_length);

/* assert for the properties that are checked, also in builds without assertions. */
#define fuzz_check(condition)                                                                      \
	do {                                                                                       \
		if (!(condition)) {                                                                \
			fprintf(stderr, "%s:%d: %s does not hold\n", __FILE__, __LINE__,           \
				#condition);                                                       \
			abort();                                                                   \
		}                                                                                  \
	} while (0)

#endif
