/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FS_ATTR_H
#define FS_ATTR_H

#include "fs/call.h"

/* Attributes, filled in the same way everywhere. Everything belongs to the owner of the mount. */

void attr_directory(const struct fs *fs, struct stat *attr, uint64_t inode, int64_t time_ns);
void attr_file(const struct fs *fs, struct stat *attr, uint64_t inode, mode_t permissions,
	       uint64_t size, int64_t time_ns);
void attr_link(const struct fs *fs, struct stat *attr, uint64_t inode, uint64_t target_length,
	       int64_t time_ns);

/* All three times. */
void attr_set_time(struct stat *attr, int64_t time_ns);

/*
 * Whether the caller may do what ACCESS asks for (R_OK, W_OK, X_OK), by the mode's bits; root may
 * do all but execute what nobody may. Returns -EACCES.
 */
int attr_access(fuse_req_t request, const struct stat *attr, int mask);

#endif
