/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FS_LISTING_H
#define FS_LISTING_H

#include <stddef.h>

#include "fs/call.h"

/* The names of a directory as they were when it was read from its start. */
struct listing {
	char **names;
	size_t count, room;
};

/* Adds a copy of a name. Returns -ENOMEM. */
int listing_add(struct listing *listing, const char *name);

/* Sorts bytewise and drops doubles. */
void listing_sort(struct listing *listing);

void listing_clear(struct listing *listing);

/* Runners for OPENDIR, READDIR and READDIRPLUS: `node`, `file`, `size`, `offset`. */
int listing_open(struct call *call);
int listing_read(struct call *call);
int listing_read_plus(struct call *call);

#endif
