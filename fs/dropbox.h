/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FS_DROPBOX_H
#define FS_DROPBOX_H

#include "fs/box.h"
#include "fs/handle.h"

/*
 * The drop boxes (box.h): files that are written into them, and what is read back. A plain name
 * commits when it is closed or synced, a dot name when it is renamed to a plain one (commit.h).
 */

/*
 * What stat(2) shows: a dot name its spool; a plain name the spool to the thread that writes it, to
 * everybody else what the kind has under the name (a receipt, a value), and without that the spool
 * again. Returns -ENOENT.
 */
int dropbox_describe(struct call *call, const struct box_kind *kind, const char *text,
		     struct stat *ret_attr);

/* Adds the names in a box. Returns -ENOMEM, and what the kind's list returns. */
int dropbox_list(struct call *call, const struct node *directory, struct listing *listing);

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

/* A dot name is a user's own: for him and root. Returns -EACCES. */
int dropbox_check_owner(const struct call *call, const struct spool *spool);

#endif
