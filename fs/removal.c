/* SPDX-License-Identifier: Apache-2.0 */
/* Owns rmdir(2): the unload of a version, and nothing else. */
#include "fs/removal.h"

#include <errno.h>
#include <string.h>

#include "engine/unload.h"
#include "fs/archive.h"
#include "fs/entry.h"

static int unload(struct call *call, const struct node *parent)
{
	struct catalog *catalog = call->fs->engine->catalog;
	struct reason reason = {0};
	struct version *version;
	struct digest digest;
	uint32_t slot;
	int r;

	if (digest_parse(call->name, strlen(call->name), &digest) < 0)
		return -ENOENT;
	version = catalog_find(catalog, parent->name, &digest);
	if (!version)
		return -ENOENT;
	slot = version->slot;
	version_put(version);
	r = unload_version(call->fs->engine, &call->caller, parent->name, &digest, &reason);
	if (r == 0)
		archives_drop(call->fs, slot);
	return r;
}

static bool is_in_box(const struct node *parent)
{
	return parent->kind == NODE_FIXED &&
	       (parent->fixed == FIXED_DEPLOY || parent->fixed == FIXED_STAGE ||
		parent->fixed == FIXED_ROUTES || parent->fixed == FIXED_ROOT);
}

int removal_rmdir(struct call *call)
{
	struct node parent;
	int r;

	node_resolve(call->fs->nodes, call->node, &parent);
	if (parent.kind == NODE_FIXED && parent.fixed == FIXED_PACKAGES)
		return catalog_has_type(call->fs->engine->catalog, call->name) ? -ENOTEMPTY
									       : -ENOENT;
	if (is_in_box(&parent))
		return -EPERM;
	if (parent.kind != NODE_NAMED || parent.place != PLACE_PACKAGES)
		return -EROFS;
	if (!call->may_block)
		return -EAGAIN;
	r = unload(call, &parent);
	if (r == 0)
		fuse_reply_err(call->request, 0);
	return r;
}
