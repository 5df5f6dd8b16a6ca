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

/* Commits a new plain file as it is, for its maker. In a worker. Returns the verdict. */
int commit_now(struct call *call, struct spool *spool);

/*
 * Where an empty file counts, it is committed after the last close has returned, which the kernel
 * tells late. For who looks in vain for what such a file made, named `leaf`: waits a little for
 * that. Returns 0 (look again), -ENOENT (there is no such file), or as spool_turn_begin: then the
 * call runs again, and this function says -ENOENT.
 */
int commit_await(struct call *call, const struct box_kind *kind, const char *leaf);

#endif
