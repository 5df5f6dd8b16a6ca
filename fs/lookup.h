/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FS_LOOKUP_H
#define FS_LOOKUP_H

#include "fs/call.h"

/* Runners for LOOKUP, GETATTR without a file handle, ACCESS (`flags`), READLINK. */
int lookup_run(struct call *call);
int lookup_attr(struct call *call);
int lookup_access(struct call *call);
int lookup_readlink(struct call *call);

/*
 * Runner for SETATTR of drop boxes and routes/ themselves: accepted from whoever may write
 * there and not kept, because `tar x` and `rsync -a` set times and owners of the directory that
 * they fill.
 */
int lookup_setattr(struct call *call);

#endif
