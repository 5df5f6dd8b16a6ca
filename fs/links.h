/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FS_LINKS_H
#define FS_LINKS_H

#include <stdbool.h>
#include <stdint.h>

#include "fs/listing.h"

/* The staged links of routes/: names that are no routes yet, in memory only. */
struct links;

struct staged {
	bool is_link; /* else the empty file that tar leaves where it will put a link */
	char target[4096];
	int64_t made_ns;
};

struct links *links_new(void); /* NULL without memory */
void links_free(struct links *links);

/* Copies one out. Returns -ENOENT. */
int links_get(struct links *links, const char *name, struct staged *ret_staged);

/* Adds one; `target` NULL makes the empty file. Returns -EEXIST, -ENOSPC (too many), -ENOMEM. */
int links_add(struct links *links, const char *name, const char *target);

/* Returns -ENOENT. */
int links_remove(struct links *links, const char *name);

/* Renames; another of the new name gives way, unless `no_replace`: -EEXIST. Returns -ENOENT. */
int links_rename(struct links *links, const char *name, const char *new_name, bool no_replace);

/* Adds the names. Returns -ENOMEM. */
int links_list(struct links *links, struct listing *listing);

#endif
