/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORE_ROOM_H
#define STORE_ROOM_H

#include <stdbool.h>
#include <stdint.h>

#include "store/env.h"

/* How full the filesystem under STATE is, seen from one environment. */
struct room {
	int directory; /* STATE, borrowed */
	struct env *env;
};

/*
 * Is there room to write `bytes`? Deploys leave a reserve of an eighth of the filesystem, at most
 * 2 GiB, so that `reserved` work (rows, unloading) still runs when they no longer do.
 * Returns -ENOSPC if not, -EIO.
 */
int room_check(const struct room *room, uint64_t bytes, bool reserved);

/* Is the filesystem so full that writing `bytes` more must fail? */
bool room_is_full(const struct room *room, uint64_t bytes);

struct room_space {
	uint64_t total_bytes;
	uint64_t free_bytes;    /* to this user */
	uint64_t reserve_bytes; /* of those, what deploys may not take */
};

/* Returns -EIO. */
int room_space(int directory, struct room_space *ret_space);

#endif
