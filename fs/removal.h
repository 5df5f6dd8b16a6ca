/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FS_REMOVAL_H
#define FS_REMOVAL_H

#include "fs/call.h"

/*
 * Runner for RMDIR: `node` is the parent. Removing runs/ID removes a finished run, whole, although its
 * directory is not empty; -EBUSY while it is not finished. Removing packages/TYPE/VERSION unloads the version,
 * whole, although it is not empty. Answers -EBUSY while it is routed, -EPERM for an operator
 * package, -ENOTEMPTY for a type (it goes with its last version), -EROFS and -EPERM elsewhere.
 */
int removal_rmdir(struct call *call);

#endif
