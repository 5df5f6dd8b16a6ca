/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FS_XATTR_H
#define FS_XATTR_H

#include "fs/call.h"

/*
 * Runners for GETXATTR (`name`, `size`), LISTXATTR (`size`) and SETXATTR (`name`, `data`, `size`).
 * A version's directory has user.aionfs.type, user.aionfs.version and, where the manifest has one,
 * user.aionfs.label; a run's directory type, version and user.aionfs.status; a recorded step
 * user.aionfs.command. That one alone can be set, on steps/.NAME, by the run's attempt.
 */
int xattr_get(struct call *call);
int xattr_list(struct call *call);
int xattr_set(struct call *call);

#endif
