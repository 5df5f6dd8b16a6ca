/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FS_NODE_H
#define FS_NODE_H

#include <stddef.h>
#include <stdint.h>

#include "store/digest.h"

/*
 * Two numbers for everything in the tree.
 *
 * The node id is what the kernel names a thing by while it knows it. For what belongs to a loaded
 * version it is computed, from the version's slot and the entry's number in its index, and needs no
 * memory; a slot is never used again, so an id outlives the version harmlessly. For names that come
 * and go (types, receipts, spools, links, quarantine, runs) it is taken from a table that counts
 * what the kernel holds.
 *
 * The inode number is what people see. It is a hash of what it names, the same after every remount.
 */
enum node_kind {
	NODE_FIXED,   /* one of enum node_fixed */
	NODE_ENTRY,   /* an entry of a version; entry 0 is the version's own directory */
	NODE_ARCHIVE, /* archives/TYPE/VERSION.tar */
	NODE_INDEX,   /* indexes/TYPE/VERSION.mtree */
	NODE_NAMED,   /* a name in the table */
	NODE_INVALID,
};

enum node_fixed {
	FIXED_ROOT = 1, /* FUSE_ROOT_ID */
	FIXED_README,
	FIXED_DEPLOY,
	FIXED_STAGE,
	FIXED_PACKAGES,
	FIXED_ARCHIVES,
	FIXED_INDEXES,
	FIXED_ROUTES,
	FIXED_QUARANTINE,
	FIXED_LOG,
	FIXED_STATUS,
	FIXED_METRICS,
	FIXED_START,
	FIXED_RUNS,
	FIXED_BY_STATUS,
	FIXED_ECHO, /* the link that a plain `ln -sf` gets to see, and that is nowhere */
	FIXED_END,
};

/* Where names come and go; behind each what its text is, when that is more than the name. */
enum place {
	PLACE_PACKAGES,	  /* packages/TYPE */
	PLACE_ARCHIVES,	  /* archives/TYPE */
	PLACE_INDEXES,	  /* indexes/TYPE */
	PLACE_QUARANTINE, /* quarantine/TYPE */
	PLACE_DAMAGE,	  /* quarantine/TYPE/VERSION: "TYPE/VERSION" */
	PLACE_DEPLOY,
	PLACE_STAGE,
	PLACE_ROUTES,

	PLACE_START_TYPE,    /* start/TYPE */
	PLACE_START_VERSION, /* start/TYPE/VERSION: "TYPE/VERSION" */
	PLACE_START,	     /* the files in both: "TYPE/ID", "TYPE/VERSION/ID" */

	PLACE_STATUS,	  /* by-status/STATUS */
	PLACE_STATUS_RUN, /* by-status/STATUS/ID: "STATUS/ID" */

	PLACE_RUN, /* runs/ID; from here to PLACE_WAIT_SIGNALS the text is "ID" */
	PLACE_RUN_PACKAGE,
	PLACE_RUN_INPUT,
	PLACE_RUN_RESULT,
	PLACE_RUN_ERROR,
	PLACE_RUN_LOG,
	PLACE_RUN_STATUS,
	PLACE_RUN_HISTORY,
	PLACE_RUN_CTL,
	PLACE_STEPS,
	PLACE_TIMERS,
	PLACE_SIGNALS,
	PLACE_WAIT,
	PLACE_WAIT_RESULT,
	PLACE_WAIT_TIMERS,
	PLACE_WAIT_SIGNALS,
	PLACE_STEP, /* from here on "ID/NAME" */
	PLACE_TIMER,
	PLACE_SIGNAL,
	PLACE_WAIT_TIMER,
	PLACE_WAIT_SIGNAL,
	PLACES,
};

#define NODE_NAME_MAX 255 /* of one name */
#define NODE_TEXT_MAX 511 /* of a text in the table: "TYPE/VERSION/NAME" has 449 at most */

struct node {
	enum node_kind kind;
	enum node_fixed fixed;
	uint32_t slot;
	uint32_t entry;
	enum place place;
	char name[NODE_TEXT_MAX + 1];
};

struct node_table;

struct node_table *node_table_new(void); /* NULL without memory */
void node_table_free(struct node_table *table);

uint64_t node_of_entry(uint32_t slot, uint32_t entry);
uint64_t node_of_archive(uint32_t slot);
uint64_t node_of_index(uint32_t slot);

/* The id of a name (NODE_TEXT_MAX at most), with one more look-up counted; 0 without memory. */
uint64_t node_get(struct node_table *table, enum place place, const char *name);

/*
 * What had this name was removed: what gets it next has an id of its own, for the kernel keeps a removed
 * directory dead for as long as somebody is in it.
 */
void node_retire(struct node_table *table, enum place place, const char *name);

/* The kernel forgets `count` look-ups; ids that are computed are accepted and need nothing. */
void node_forget(struct node_table *table, uint64_t id, uint64_t count);

/* What an id names. Unknown ids (a hostile or confused kernel) give NODE_INVALID. */
void node_resolve(struct node_table *table, uint64_t id, struct node *ret_node);

/* How many names the table holds, for tests. */
size_t node_table_count(struct node_table *table);

/* Inode numbers: never 0, and 1 for the root alone. */
uint64_t inode_of_entry(const struct digest *version, uint32_t entry);
uint64_t inode_of_archive(const struct digest *version);
uint64_t inode_of_index(const struct digest *version);
uint64_t inode_of_fixed(enum node_fixed fixed);
uint64_t inode_of_name(enum place place, const char *name);

#endif
