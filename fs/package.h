/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FS_PACKAGE_H
#define FS_PACKAGE_H

#include "engine/tree.h"
#include "fs/call.h"

/*
 * What is under packages/TYPE/VERSION. Nothing of it ever changes, so the kernel may keep entries,
 * attributes and pages for good. The version's own directory has attributes that are always asked
 * for anew: its time is that of the latest deploy. Its name the kernel may keep, since a version is
 * only ever unloaded by rmdir(2) in this mount, which drops the name in the kernel as well.
 */
struct package {
	struct version *version;
	const struct tree *tree;
	const struct tree_node *node;
	uint32_t number;
};

/*
 * Finds what a node of kind NODE_ENTRY stands for. `even_unloaded`: also when only an open file
 * keeps the version. Ownership: package_close. Returns -ESTALE (unloaded), -EAGAIN (the index must
 * be read: only in a worker), -EIO (damaged).
 */
int package_open(struct call *call, const struct node *node, bool even_unloaded,
		 struct package *ret_package);
void package_close(struct call *call, struct package *package);

/* Fills in the whole entry; its node id needs no counting. */
void package_describe(struct fs *fs, const struct package *package, uint32_t number,
		      struct fuse_entry_param *ret_entry);

/* Describes the version's own directory, without its index. */
void package_describe_root(struct fs *fs, const struct version *version,
			   struct fuse_entry_param *ret_entry);

/* The version that a node belongs to, with a reference; NULL when it is unloaded. */
struct version *package_version(struct call *call, uint32_t slot, bool even_unloaded);

/* Answers READLINK of a link inside a version. A runner: `call->node`. */
int package_readlink(struct call *call, const struct node *node);

#endif
