/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ENGINE_ADMIT_TABLE_H
#define ENGINE_ADMIT_TABLE_H

#include "engine/admit.h"

/*
 * The entries of an archive while they are judged: what engine/admit.c collects,
 * engine/admit_links.c resolves and engine/admit_index.c writes. Private to them.
 */
struct admit_item {
	const char *path; /* normalised, in the arena */
	const char *target;
	uint64_t size;
	struct digest digest;
	uint32_t set; /* hard links: the parent in the union of sets */
	uint16_t path_length, target_length;
	uint8_t kind; /* enum admit_kind */
	bool executable, has_body;
};

struct admit_table {
	struct admit_item *items;
	uint32_t count, room;
	uint32_t *slots; /* open addressing by path; UINT32_MAX is free */
	uint32_t slot_count;
	uint64_t seed; /* nobody can choose names that collide */
};

/*
 * Writes the path without "./", doubled and trailing slashes to `out` (INDEX_PATH_MAX + 1 bytes);
 * the root becomes "". `is_target` words the message for a hard link's target.
 * Returns -EINVAL name_invalid or entry_unsafe.
 */
int admit_normalise(const char *path, size_t length, bool is_target, char *out,
		    size_t *ret_length, struct reason *reason);

/* Empties the slots and makes room for `count` items and as many more. Returns -ENOMEM. */
int admit_table_make_slots(struct admit_table *table, uint32_t count);

/* The slot that holds the path, or the free one where it belongs. */
uint32_t admit_table_slot(const struct admit_table *table, const char *path, size_t length);

/* Finds by path. Returns UINT32_MAX when there is none. */
uint32_t admit_table_find(const struct admit_table *table, const char *path, size_t length);

/* A refusal that names the entry. Returns -error. */
int admit_refuse(struct reason *reason, int error, const char *code, const char *path,
		 size_t length, const char *what);

/*
 * Turns each hard link into a file (or a link) with its set's data.
 * Returns -EINVAL entry_unsafe: to nothing, in a circle, to a directory, or bodies that disagree.
 */
int admit_hard_links(struct admit_table *table, struct reason *reason);

/*
 * Checks that no symbolic link leads out of the package, through the package's own links too.
 * Returns -EINVAL entry_unsafe, -ENOMEM.
 */
int admit_symbolic_links(struct admit_table *table, struct reason *reason);

/*
 * Writes the index of all items but those without a path, and counts them into `admitted`.
 * Returns -ENOMEM.
 */
int admit_build_index(const struct admit_table *table, struct admitted *admitted);

/* Follows a path from the root. Returns the item it ends at, or UINT32_MAX. */
uint32_t admit_resolve(struct admit_table *table, const char *path, size_t length);

#endif
