/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FS_STARTBOX_H
#define FS_STARTBOX_H

#include "fs/call.h"
#include "fs/listing.h"

/*
 * Names of start/: its types, the versions in each, and in both the inputs that start runs. IDs are
 * found by their name and not listed: the runs themselves are in runs/.
 */

/* Whether a node is start/ or in it. */
bool startbox_owns(const struct node *node);

/* As entry_child, entry_describe and entry_list, for nodes that are startbox_owns'. */
int startbox_child(struct call *call, const struct node *parent, const char *name,
		   struct node *ret_child);
int startbox_describe(struct call *call, const struct node *node,
		      struct fuse_entry_param *ret_entry);
int startbox_list(struct call *call, const struct node *node, struct listing *ret_listing);

#endif
