/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owns the translation of a version's index into entries and attributes. Invariant: what it says
 * about an entry is the same for as long as the version's slot exists, because the index is its
 * name.
 */
#include "fs/package.h"

#include <errno.h>
#include <string.h>

#include "engine/forest.h"
#include "fs/attr.h"
#include "fs/handle.h"

struct version *package_version(struct call *call, uint32_t slot, bool even_unloaded)
{
	struct version *version = catalog_find_slot(call->fs->engine->catalog, slot);

	if (!version && even_unloaded)
		version = handles_find_version(call->fs, slot);
	return version;
}

int package_open(struct call *call, const struct node *node, bool even_unloaded,
		 struct package *ret_package)
{
	struct package package = {.number = node->entry};
	struct reason reason = {0};
	int r;

	package.version = package_version(call, node->slot, even_unloaded);
	if (!package.version)
		return -ESTALE;
	r = forest_get(call->fs->engine, package.version, !call->may_block, &package.tree, &reason);
	if (r < 0) {
		version_put(package.version);
		return r;
	}
	if (node->entry >= tree_count(package.tree)) {
		package_close(call, &package);
		return -ESTALE;
	}
	package.node = tree_node(package.tree, node->entry);
	*ret_package = package;
	return 0;
}

void package_close(struct call *call, struct package *package)
{
	forest_put(call->fs->engine, package->version, package->tree);
	version_put(package->version);
}

void package_describe_root(struct fs *fs, const struct version *version,
			   struct fuse_entry_param *ret_entry)
{
	memset(ret_entry, 0, sizeof(*ret_entry));
	ret_entry->ino = node_of_entry(version->slot, 0);
	ret_entry->generation = version->slot;
	ret_entry->entry_timeout = TIMEOUT_FOREVER;
	ret_entry->attr_timeout = TIMEOUT_NEVER;
	attr_directory(fs, &ret_entry->attr, inode_of_entry(&version->digest, 0),
		       version->first_ns);
	attr_set_time(&ret_entry->attr, atomic_load(&version->last_ns));
}

void package_describe(struct fs *fs, const struct package *package, uint32_t number,
		      struct fuse_entry_param *ret_entry)
{
	const struct version *version = package->version;
	const struct tree_node *node = tree_node(package->tree, number);
	uint64_t inode = inode_of_entry(&version->digest, number);
	struct stat *attr = &ret_entry->attr;

	if (number == 0) {
		package_describe_root(fs, version, ret_entry);
		return;
	}
	memset(ret_entry, 0, sizeof(*ret_entry));
	ret_entry->ino = node_of_entry(version->slot, number);
	ret_entry->generation = version->slot;
	ret_entry->entry_timeout = TIMEOUT_FOREVER;
	ret_entry->attr_timeout = TIMEOUT_FOREVER;
	switch ((enum index_kind)node->kind) {
	case INDEX_DIR:
		attr_directory(fs, attr, inode, version->first_ns);
		attr->st_nlink = 2 + node->directories;
		break;
	case INDEX_FILE:
		attr_file(fs, attr, inode, node->executable ? 0755 : 0644, node->size,
			  version->first_ns);
		break;
	case INDEX_LINK:
		attr_link(fs, attr, inode, node->target_length, version->first_ns);
		break;
	}
}

int package_readlink(struct call *call, const struct node *node)
{
	char target[INDEX_PATH_MAX + 1];
	struct package package;
	size_t length;
	int r = package_open(call, node, false, &package);

	if (r < 0)
		return r;
	length = package.node->target_length;
	if (package.node->kind != INDEX_LINK || length > INDEX_PATH_MAX) {
		package_close(call, &package);
		return -EINVAL;
	}
	memcpy(target, package.node->target, length);
	target[length] = '\0';
	package_close(call, &package);
	fuse_reply_readlink(call->request, target);
	return 0;
}
