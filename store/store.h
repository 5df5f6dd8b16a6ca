/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORE_STORE_H
#define STORE_STORE_H

#include <stdint.h>

#include "store/reason.h"

/*
 * The state directory: two LMDB environments (rows, contents), a lock and a place for spools.
 *
 *     STATE/lock             flock'ed by the mount, holds its pid
 *     STATE/format           the format number as text; checked before anything else is read
 *     STATE/rows/            versions, routes, receipts, audit, runs    (store/rows.h, journal.h)
 *     STATE/contents/        files by digest in pieces, pending uploads (store/contents.h, upload.h)
 *     STATE/spool/           unlinked files only; emptied when the store is opened
 */
struct store;

/*
 * Format 1 had no runs: it lacks their tables. It is read as it is. Opening it for writing makes the
 * tables, then the file `format` anew, after which an older aionfs refuses it: that one would unload
 * versions that runs are pinned to.
 */
#define STORE_FORMAT 2
#define STORE_FORMAT_OLDEST 1

enum store_mode {
	STORE_WRITE, /* locks the directory, makes it when it is missing, may change it */
	STORE_READ,  /* no lock, no change; works beside a mount: list, fsck */
};

/*
 * Opens the state directory at `path`. In STORE_WRITE a child process first walks the rows and
 * their counts (LMDB trusts its pages: damage may kill the walker, not the mount); then what
 * pending rows of a former mount left behind is collected. Must be called while the process has one
 * thread (it forks); starts the two writer threads.
 *
 * Returns -EBUSY store_in_use (the message names the pid), -EPROTO store_format (a newer or unknown
 * format; the message says which and what to do), -EBADMSG store_damaged (the walk died or
 * disagreed, or a table is unreadable; the message names the remedy), -ENOENT no_store (STORE_READ
 * of a directory without one), -ENOSPC store_full, -EIO store_failed.
 */
int store_open(const char *path, enum store_mode mode, struct store **ret_store,
	       struct reason *reason);

/* Waits for the writers to finish what was handed in, closes, unlocks. NULL is accepted. */
void store_close(struct store *store);

/* The open state directory, for *at() calls; owned by the store. */
int store_directory(const struct store *store);

/* Opens an unlinked read-write file under STATE/spool (O_TMPFILE). Returns -ENOSPC, -EMFILE, -EIO. */
int store_spool(struct store *store, int *ret_fd);

struct store_space {
	uint64_t total_bytes; /* of the filesystem that holds STATE */
	uint64_t free_bytes;  /* what deploys may still fill: reserve taken off, free pages added */
	uint64_t used_bytes;  /* pages in use in both environments */
};

/* Answers df and status. Returns -EIO. Cheap: statistics only. */
int store_space(struct store *store, struct store_space *ret_space);

#endif
