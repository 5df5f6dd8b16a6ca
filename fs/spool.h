/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FS_SPOOL_H
#define FS_SPOOL_H

#include <stdatomic.h>

#include "engine/deploy.h"
#include "fs/box.h"
#include "fs/call.h"
#include "fs/listing.h"

/*
 * A file on its way in: an unlinked file in the state directory, and what is known about it.
 * Each open of a plain name has a spool of its own. A spool with a dot name belongs to the name: it
 * stays after the close, until it is renamed, removed, or the mount ends.
 *
 * Whatever changes or judges a spool takes its turn, one call after the other, so that a file never
 * changes while it is judged. Fields marked (turn) belong to the call that has it; (lock) to
 * the lock of the boxes; the others never change.
 */
struct spool {
	struct spool *next;	  /* (lock) newest first */
	struct spool *next_swept; /* of the call that took its name away */
	struct fs *fs;
	const struct box_kind *kind;
	bool is_dot;		      /* it was made under a dot name */
	char name[NODE_TEXT_MAX + 1]; /* (lock) of a dot name; a plain one never changes */
	atomic_bool is_kept;	      /* (lock) to change it: a dot name that is in the box */
	unsigned references;	      /* (lock) handles, calls, and the box for a kept one */
	struct caller caller;
	uint32_t attempt; /* of steps: the one that made it */
	int fd;
	_Atomic uint64_t size;
	_Atomic int64_t changed_ns;
	_Atomic unsigned mode;
	pid_t process;		     /* that opened it, where its bytes may be any; 0: not known */
	atomic_bool is_committed;    /* it counts; nothing more may be written */
	atomic_bool is_closed_empty; /* a writer closed it with nothing in it */
	atomic_bool has_verdict;     /* it has had a receipt */
	atomic_bool is_cut_off;	     /* a signal ended who closed it last */
	atomic_bool is_orphaned;     /* a signal ended the process that opened it */
	atomic_bool is_settling;     /* it was closed for good, and is being committed */

	bool is_busy;				   /* (lock) some call has the turn */
	struct call *first_waiting, *last_waiting; /* (lock) */

	uint64_t changes;	      /* (turn) how often it was written or cut */
	uint64_t judged_changes;      /* (turn) `changes` of the last verdict */
	int verdict;		      /* (turn) 0 or a negative errno */
	int write_error;	      /* (turn) a write that failed: the bytes are not all there */
	struct prepared *prepared;    /* (turn) decoded when `changes` was prepared_changes */
	int prepare_error;	      /* (turn) or why not */
	struct reason prepare_reason; /* (turn) */
	uint64_t prepared_changes;    /* (turn) */
	struct work discarding;
};

struct boxes;

struct boxes *boxes_new(void); /* NULL without memory */

/* Frees what dot names still hold. After the handles; NULL is accepted. */
void boxes_free(struct boxes *boxes);

/*
 * Makes an empty spool with one reference, for the call's caller, with its mode. A dot name is
 * kept: it holds one more. Returns -ENFILE (too many), -ENOSPC (too many dot names, or the disk is
 * full), -ENOMEM, -EIO.
 */
int spool_open(struct call *call, const struct box_kind *kind, const char *text,
	       struct spool **ret_spool);

/* Takes one more reference. */
struct spool *spool_get(struct fs *fs, struct spool *spool);

/* Gives a reference back; with the last one everything goes, in a worker. */
void spool_close(struct fs *fs, struct spool *spool);

/* The spool of a dot name, with a reference; or NULL. One that is stale is taken away first. */
struct spool *spool_find_kept(struct fs *fs, const struct box_kind *kind, const char *name);

/*
 * The newest open spool of a plain name that had no verdict yet, with a reference; or NULL.
 * `caller`, where given, must be the one (the same thread) that opened it.
 */
struct spool *spool_find_open(struct fs *fs, const struct box_kind *kind, const char *name,
			      const struct caller *caller);

/*
 * An open spool of a plain name that ends in "/LEAF", that was closed with nothing in it, and of
 * which is not known yet whether that was its last close; or NULL.
 */
struct spool *spool_find_closing(struct fs *fs, const struct box_kind *kind, const char *leaf);

/* Gives a kept spool another name; a kept spool of that name gives way. */
void spool_rename(struct fs *fs, struct spool *spool, const char *name);

/* Takes a kept spool's name away, and the reference that the box had. */
void spool_unlink(struct fs *fs, struct spool *spool);

/* Takes all dot names away whose text begins with `prefix` ("": all) and that are stale. */
void spool_sweep(struct fs *fs, const struct box_kind *kind, const char *prefix);

/*
 * Adds the names of kept spools, and of open ones without a verdict, whose text begins with
 * `prefix`. Returns -ENOMEM.
 */
int spool_list(struct fs *fs, const struct box_kind *kind, const char *prefix,
	       struct listing *listing);

/*
 * Takes the turn for a call, which is given a reference to the spool. Returns 0, or CALL_HELD when
 * another call has it (then the call runs again, in a worker of its group, with the turn), -ENOMEM,
 * or -ESTALE (it waited for another spool, which lost its name meanwhile).
 */
int spool_turn_begin(struct call *call, struct spool *spool);

/* Passes the turn on, and gives the reference back. Nothing happens to a call without it. */
void spool_turn_end(struct call *call);

/*
 * Writes, with the turn. Returns -EFBIG, -ENOSPC, -EIO; then the spool is spoiled until it is cut.
 */
int spool_write(struct spool *spool, const void *data, size_t size, uint64_t offset);

/* Changes the size, with the turn. Returns as spool_write. */
int spool_truncate(struct spool *spool, uint64_t size);

/* Forgets what was decoded, with the turn. */
void spool_forget_prepared(struct spool *spool);

#endif
