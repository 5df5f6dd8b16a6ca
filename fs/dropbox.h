/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FS_DROPBOX_H
#define FS_DROPBOX_H

#include "engine/deploy.h"
#include "fs/call.h"
#include "fs/handle.h"

/*
 * deploy/ and stage/: files that are written into them, and the receipts that are read back. A
 * plain name commits when it is closed or synced, a dot name when it is renamed to a plain one
 * (commit.h).
 */

/* The box that a directory's or a name's node is of. Returns whether it is one. */
bool dropbox_of(const struct node *node, enum box *ret_box);

/*
 * What stat(2) shows: a dot name its spool; a plain name the spool to the thread that writes it, to
 * everybody else the receipt, and without one the spool again. Returns -ENOENT.
 */
int dropbox_describe(struct call *call, enum box box, const char *name, struct stat *ret_attr);
int dropbox_list(struct fs *fs, enum box box, struct listing *listing);

/*
 * Runners. OPEN and SETATTR: `node` is the file's; CREATE, MKNOD, UNLINK: the box's, with `name`.
 */
int dropbox_open(struct call *call);
int dropbox_create(struct call *call);
int dropbox_mknod(struct call *call);
int dropbox_read(struct call *call);
int dropbox_write(struct call *call);
int dropbox_setattr(struct call *call);
int dropbox_getattr(struct call *call); /* by `file` */
int dropbox_unlink(struct call *call);

/* After RELEASE was answered: an archive into which nothing was written gets its receipt. */
void dropbox_release(struct fs *fs, struct handle *handle);

/* A dot name is a user's own: for him and root. Returns -EACCES. */
int dropbox_check_owner(const struct call *call, const struct spool *spool);

#endif
