/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FS_COMMIT_H
#define FS_COMMIT_H

#include "fs/call.h"
#include "fs/spool.h"

/*
 * When a spool is judged. Runners for FLUSH, FSYNC and RELEASE (`file`) and RENAME within a box
 * (`node`, `name`, `text` is the new name, `flags`).
 */
int commit_flush(struct call *call);
int commit_fsync(struct call *call);
int commit_release(struct call *call);
int commit_rename(struct call *call);

/* Commits a new file that has no bytes, and needs none, for its maker. In a worker. */
int commit_empty(struct call *call, struct spool *spool);

/*
 * Waits for a file of that kind and name that was closed empty just now, and whose commit is under
 * way, so that what it made is there. Returns 0 (look again), -EAGAIN (only in a worker), or as
 * spool_turn_begin.
 */
int commit_await(struct call *call, const struct box_kind *kind, const char *leaf);

#endif
