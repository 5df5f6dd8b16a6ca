/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FS_ROUTES_H
#define FS_ROUTES_H

#include "fs/call.h"
#include "fs/links.h"

/*
 * routes/: a link for each routed type, and the links that tools make under a temporary name first.
 * Whatever makes a link with a type's name routes the type; whatever has another name is staged in
 * memory, and judged when it is renamed to a type.
 */

/* Returns -ENOENT. A live route comes before what is staged under the same name. */
int routes_describe(struct fs *fs, const char *name, struct stat *ret_attr);
int routes_list(struct fs *fs, struct listing *listing);

/* Answers READLINK. Returns -ENOENT, -EINVAL (the empty file that stands where a link will be). */
int routes_readlink(struct call *call, const char *name);

/* Runners; `node` is the directory, `name` the name in it, `text` the target or the new name. */
int routes_symlink(struct call *call);
int routes_create(struct call *call); /* CREATE and MKNOD; `has_file` for the former */
int routes_rename(struct call *call);
int routes_unlink(struct call *call);
int routes_setattr(struct call *call); /* `node` is the link */
int routes_open(struct call *call);    /* `node` is the empty file */
int routes_write(struct call *call);   /* refuses, and takes the file away: it will be no link */

/*
 * SYMLINK in a version's own directory: what a plain `ln -sf TARGET routes/TYPE` asks for, because
 * it follows the link. Taken as a re-route when that version is the one that is routed and the new
 * name designates a version; everything else there is -EROFS.
 */
int routes_symlink_inside(struct call *call);

#endif
