/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FS_ARCHIVE_H
#define FS_ARCHIVE_H

#include "fs/call.h"

/* archives/TYPE/VERSION.tar: laid out when somebody asks, read straight out of the store. */
struct archives;

struct archives *archives_new(void); /* NULL without memory */
void archives_free(struct fs *fs, struct archives *archives);

/*
 * The size of a version's archive; remembered, so the index is read once at most.
 * Returns -EAGAIN (only in a worker), -EIO, -ENOMEM.
 */
int archive_size(struct call *call, struct version *version, uint64_t *ret_size);

/* Answers READ of a HANDLE_ARCHIVE: `file`, `offset`, `size`. */
int archive_read(struct call *call);

/* The version is unloaded: drops its layout, so that its contents can be freed. */
void archives_drop(struct fs *fs, uint32_t slot);

#endif
