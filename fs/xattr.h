/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FS_XATTR_H
#define FS_XATTR_H

#include "fs/call.h"

/*
 * Runners for GETXATTR (`name`, `size`) and LISTXATTR (`size`). A version's directory has
 * user.aionfs.type, user.aionfs.version and, where the manifest has one, user.aionfs.label.
 */
int xattr_get(struct call *call);
int xattr_list(struct call *call);

#endif
