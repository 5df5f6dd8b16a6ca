/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FS_MOUNTPOINT_H
#define FS_MOUNTPOINT_H

#include <limits.h>

#include "store/reason.h"

/*
 * Where to mount, and on which state. All paths that come out are absolute and without links, as
 * mountinfo has them.
 */

/*
 * Resolves the state directory; its last component need not exist yet.
 * Returns -ENOENT, -ENOTDIR, -EACCES and the like, with a reason.
 */
int mountpoint_resolve_state(const char *path, char ret_path[PATH_MAX], struct reason *reason);

/*
 * Resolves a mountpoint, also one whose daemon is dead (that is why this is not realpath(3)).
 * Returns -errno with a reason.
 */
int mountpoint_resolve(const char *path, char ret_path[PATH_MAX], struct reason *reason);

/*
 * Checks that a resolved mountpoint may be mounted on: a directory, empty, no aionfs there
 * yet, neither inside the state nor around it. A dead mount of the same state is unmounted first.
 * Returns -ENOENT, -ENOTDIR, -ENOTEMPTY, -EBUSY, -EINVAL (inside each other), -ENOTCONN (a dead
 * mount of something else, or one that can't be unmounted), with a reason.
 */
int mountpoint_check(const char *mountpoint, const char *state, struct reason *reason);

#endif
