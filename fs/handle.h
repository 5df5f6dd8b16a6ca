/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FS_HANDLE_H
#define FS_HANDLE_H

#include "fs/call.h"
#include "fs/listing.h"

/*
 * What stands behind the kernel's file handle: one for each open(2) and opendir(3), from the answer
 * until RELEASE. The list of all exists so that a drained mount can free what is still open.
 */
enum handle_kind {
	HANDLE_LISTING, /* a directory whose names come and go: `listing` */
	HANDLE_TREE,	/* a directory of a version; nothing is kept */
	HANDLE_CONTENT, /* bytes of a store: `store`, `digest`, `size`; of a version: `version` */
	HANDLE_ARCHIVE, /* archives/TYPE/VERSION.tar: `version`, `size` */
	HANDLE_TEXT,	/* a text as it was at open: `text`, `size` */
	HANDLE_LOG,	/* the log, growing */
	HANDLE_SPOOL,	/* an archive on its way in, or read back: `spool` */
	HANDLE_NOTHING, /* the empty file that stands where a link will be */
	HANDLE_RUN_LOG, /* a run's log, growing; here and below `node` says whose */
	HANDLE_HISTORY, /* a run's history, growing: `text`, `size`, `sequence` as of the last read
			 */
	HANDLE_TIMER,	/* a timer to be set */
	HANDLE_CTL,	/* commands for a run */
	HANDLE_WAIT, /* what is waited for; once it is there `is_loaded`, as a text or a content */
};

struct spool;

struct handle {
	struct handle *previous, *next;
	atomic_uint references;
	enum handle_kind kind;
	pthread_mutex_t lock; /* `listing`, and what else says so */
	struct listing listing;
	struct version *version; /* with a reference */
	struct store *store;
	struct digest digest;
	uint64_t size;
	char *text;
	struct spool *spool; /* with a reference; spool.h says how it is given back */
	bool is_writer, appends;
	bool is_fresh; /* made or cut by this open: closed empty, it is an empty file */

	/* Of files in a run. */
	struct node *node;
	uint64_t sequence; /* (lock) */
	bool is_loaded;	   /* (lock) */
};

struct handles;

struct handles *handles_new(void); /* NULL without memory */

/* Frees all that are left. NULL is accepted. */
void handles_free(struct fs *fs, struct handles *handles);

/* Makes one, listed. Returns NULL without memory. */
struct handle *handle_new(struct fs *fs, enum handle_kind kind);

/* Takes one more reference: for who still reads from it when its request is answered. */
struct handle *handle_get(struct handle *handle);

/*
 * Gives a reference back, as RELEASE does; with the last one the handle goes, with what it holds.
 */
void handle_put(struct fs *fs, struct handle *handle);

static inline struct handle *handle_of(const struct fuse_file_info *file)
{
	return (struct handle *)(uintptr_t)file->fh;
}

/* A version that some open file still holds, by its slot, with a reference; or NULL. */
struct version *handles_find_version(struct fs *fs, uint32_t slot);

#endif
