/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FS_ENTRY_H
#define FS_ENTRY_H

#include "fs/call.h"
#include "fs/listing.h"

/* Names and attributes of the whole tree: from a directory and a name to a node, and what it is. */

/*
 * What a name in a directory stands for, as far as the name alone says. Returns -ENOENT, -ENOTDIR,
 * -ENAMETOOLONG, and package_open's errors.
 */
int entry_child(struct call *call, const struct node *parent, const char *name,
		struct node *ret_child);

/*
 * Fills in all of an entry but the id of a node in the table. Returns -ENOENT when nothing of that
 * name is there (any more), -ESTALE, -EAGAIN (only in a worker), -EIO, -ENOMEM.
 */
int entry_describe(struct call *call, const struct node *node, struct fuse_entry_param *ret_entry);

/* As entry_describe, for a node that the kernel knows: one that is gone is -ESTALE. */
int entry_describe_known(struct call *call, const struct node *node,
			 struct fuse_entry_param *ret_entry);

/* Gives a described entry its node id, with a look-up counted. Returns -ENOMEM. */
int entry_count(struct fs *fs, const struct node *node, struct fuse_entry_param *entry);

/* The names in a directory whose names come and go. Returns -ENOTDIR, -ENOENT, -ENOMEM. */
int entry_list(struct call *call, const struct node *node, struct listing *ret_listing);

#endif
