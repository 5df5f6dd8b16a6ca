/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ENGINE_FSCK_H
#define ENGINE_FSCK_H

#include <stdint.h>

#include "store/reason.h"

struct fsck_totals {
	uint64_t versions, routes, receipts, contents, bytes, findings;
};

/* Told about each finding, and, between findings, how far it is (`done` of `total` contents). */
struct fsck_watcher {
	void (*finding)(void *context, const struct reason *reason);
	void (*progress)(void *context, uint64_t done, uint64_t total);
	void *context;
};

/*
 * Reads everything in a state without mounting or changing it: every row and its checksum, every
 * index against its version, every manifest, every content against its digest, every reference count.
 * Works beside a mount. Returns 0 (findings are in `ret_totals`), or store_open's errors.
 */
int fsck_state(const char *path, const struct fsck_watcher *watcher,
	       struct fsck_totals *ret_totals, struct reason *reason);

#endif
